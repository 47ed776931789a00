from collections import Counter

from common.domain.event import EventKind
from common.features.rows import PreferenceRow
from train_app.sample_shop.behaviour import evidence, simulate
from train_app.sample_shop.catalogue import make_catalogue
from train_app.sample_shop.people import make_people


def _shelves():
    shelves = {}
    for product in make_catalogue(seed=1, num_products=300):
        shelves.setdefault(product.category, []).append(product)
    return shelves


def test_a_purchase_follows_cart_click_and_view_of_the_same_product_in_time():
    shelves = _shelves()
    for shopper in make_people(seed=1, num_users=80):
        seen: dict[EventKind, set[str]] = {kind: set() for kind in EventKind}
        before = None
        for event in simulate(shopper, shelves=shelves, seed=1):
            assert before is None or before <= event.at
            before = event.at
            chain = [EventKind.VIEW, EventKind.CLICK, EventKind.CART, EventKind.PURCHASE, EventKind.REVIEW]
            for earlier in chain[: chain.index(event.kind)]:
                assert event.product_id in seen[earlier]
            seen[event.kind].add(event.product_id)


def test_users_look_at_what_interests_them():
    shelves = _shelves()
    by_id = {product.product_id: product.category for shelf in shelves.values() for product in shelf}
    hits = total = 0
    for shopper in make_people(seed=2, num_users=150):
        favourites = sorted(shopper.interests, key=lambda category: -shopper.interests[category])[:4]
        viewed = Counter(by_id[event.product_id] for event in simulate(shopper, shelves=shelves, seed=2))
        hits += sum(viewed[category] for category in favourites)
        total += sum(viewed.values())
    assert hits / total > 0.6  # four of fourteen categories by chance: 0.29


def test_reviews_have_a_rating_and_words_of_the_same_mood():
    shelves = _shelves()
    reviews = [
        event
        for shopper in make_people(seed=3, num_users=200)
        for event in simulate(shopper, shelves=shelves, seed=3)
        if event.kind == EventKind.REVIEW
    ]
    assert len(reviews) > 50
    assert all(event.text and event.rating for event in reviews)
    assert {event.rating for event in reviews} >= {3.0, 4.0, 5.0}
    assert not any("不会再买" in event.text for event in reviews if event.rating >= 4)


def test_evidence_of_taste_is_noisy_but_mostly_right():
    right = total = 0
    for shopper in make_people(seed=4, num_users=300):
        for row in evidence(shopper, seed=4):
            parsed = PreferenceRow.model_validate(row)
            if parsed.winner and parsed.loser:
                ((control, won),), ((_, lost),) = parsed.winner.labels.items(), parsed.loser.labels.items()
                total += 1
                right += shopper.tastes[control][won] > shopper.tastes[control][lost]
    assert 0.65 < right / total < 0.95


def test_the_same_seed_simulates_the_same_events():
    shelves = _shelves()
    shopper = make_people(seed=5, num_users=1)[0]
    assert simulate(shopper, shelves=shelves, seed=5) == simulate(shopper, shelves=shelves, seed=5)
