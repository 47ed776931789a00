from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.domain.context import BehaviorSummary
from common.domain.event import Event, EventKind
from common.domain.product import BRAND, Attribute, Product
from common.features.summarize import summarize, text_emotion

START = datetime(2026, 1, 1, tzinfo=UTC)
PHONE, EARPHONES, WATCH = (
    Product(product_id=identifier, title=f"云杉{noun}", category=noun, attributes=(Attribute(key=BRAND, value=brand),))
    for identifier, noun, brand in (("p-phone", "手机", "云杉"), ("p-ear", "耳机", "白鹭"), ("p-watch", "手表", "云杉"))
)
CATALOGUE = {product.product_id: product for product in (PHONE, EARPHONES, WATCH)}


def event(number: int, kind: str, product: Product, *, minutes: int | None = None, user: str = "U1", **more: object) -> Event:
    at = START + timedelta(minutes=number if minutes is None else minutes)
    return Event(event_id=f"e{number:03d}", user_id=user, product_id=product.product_id, kind=EventKind(kind), at=at, **more)


# The table of section 4.3 of the brief, and raw logs from which it has to follow.
TABLE = {
    "U1": ("手机", "耳机", "手表", "positive", "这款手表时尚大方，质量超好！"),
    "U2": ("耳机", "耳机", "耳机", "positive", "这款耳机音质优秀，价格实惠！"),
    "U3": ("手机", "手机", "手机", "positive", "这款手机性价比高，运行流畅！"),
}
LOGS = {
    "U1": [
        event(1, "view", WATCH),
        event(2, "purchase", WATCH),
        event(3, "purchase", EARPHONES),
        event(4, "review", WATCH, text="这款手表时尚大方，质量超好！"),
        event(5, "view", PHONE),
    ],
    "U2": [
        event(1, "view", EARPHONES),
        event(2, "purchase", EARPHONES),
        event(3, "review", EARPHONES, rating=5, text="这款耳机音质优秀，价格实惠！"),
    ],
    "U3": [
        event(1, "view", EARPHONES),
        event(2, "view", PHONE),
        event(3, "cart", PHONE),
        event(4, "purchase", PHONE),
        event(5, "review", PHONE, rating=4, text="这款手机性价比高，运行流畅！"),
    ],
}


@pytest.mark.parametrize("user", TABLE)
def test_reproduces_the_table_of_the_brief(user: str) -> None:
    summary = summarize(reversed(LOGS[user]), at=START + timedelta(days=1), products=CATALOGUE)
    assert TABLE[user] == (
        summary.last_viewed.category,
        summary.last_purchased.category,
        summary.last_reviewed.category,
        summary.last_review_emotion,
        summary.last_review_content,
    )


def test_an_event_at_the_moment_itself_is_not_seen() -> None:
    events = [event(1, "view", WATCH), event(2, "view", PHONE)]
    assert summarize(events, at=events[1].at, products=CATALOGUE).last_viewed.title == "云杉手表"
    assert summarize(events, at=events[0].at, products=CATALOGUE) == BehaviorSummary()


def test_without_a_moment_all_events_count() -> None:
    assert summarize(LOGS["U3"], at=None, products=CATALOGUE).num_events == 5


def test_events_at_the_same_time_are_ordered_by_id_whatever_order_they_come_in() -> None:
    tied = [event(1, "view", WATCH, minutes=9), event(2, "view", PHONE, minutes=9)]
    assert summarize(tied, at=None, products=CATALOGUE).last_viewed.category == "手机"
    assert summarize(tied[::-1], at=None, products=CATALOGUE).last_viewed.category == "手机"


def test_emotion_and_content_belong_to_the_last_review_even_when_it_has_no_text() -> None:
    events = [event(1, "review", WATCH, rating=5, text="很好"), event(2, "review", PHONE, rating=2)]
    summary = summarize(events, at=None, products=CATALOGUE)
    assert (summary.last_reviewed.category, summary.last_review_emotion, summary.last_review_content) == ("手机", "negative", None)


@pytest.mark.parametrize(
    ("rating", "emotion"), [(5, "positive"), (4, "positive"), (3.5, "neutral"), (3, "neutral"), (2, "negative"), (1, "negative")]
)
def test_the_rating_beats_the_words(rating: float, emotion: str) -> None:
    assert (
        summarize([event(1, "review", PHONE, rating=rating, text="很好，但是太差")], at=None, products=CATALOGUE).last_review_emotion
        == emotion
    )


def test_a_review_with_neither_rating_nor_text_has_no_emotion() -> None:
    assert summarize([event(1, "review", PHONE)], at=None, products=CATALOGUE).last_review_emotion is None


@pytest.mark.parametrize(
    ("text", "emotion"),
    [
        ("音质不错，很喜欢", "positive"),
        ("一点都不好用", "negative"),
        ("用了两天就坏了，失望", "negative"),
        ("昨天收到的", "neutral"),
        ("质量不差", "neutral"),
    ],
)
def test_words_tell_the_emotion_where_no_rating_does(text: str, emotion: str) -> None:
    assert text_emotion(text) == emotion


def test_a_product_the_catalogue_does_not_know_is_never_named() -> None:
    gone = event(9, "view", Product(product_id="gone", title="x", category="x"))
    summary = summarize([event(1, "view", WATCH), gone], at=None, products=CATALOGUE)
    assert summary.last_viewed.category == "手表"
    assert summary.num_events == 1


def test_favourites_are_the_most_frequent_and_of_equals_the_latest() -> None:
    events = [event(1, "view", WATCH), event(2, "view", WATCH), event(3, "view", PHONE), event(4, "view", EARPHONES)]
    summary = summarize(events, at=None, products=CATALOGUE)
    assert summary.favourite_categories == ("手表", "耳机", "手机")
    assert summary.favourite_brands == ("云杉", "白鹭")


rows = st.lists(st.tuples(st.sampled_from(list(EventKind)), st.sampled_from(list(CATALOGUE)), st.integers(0, 8)), max_size=12)


@given(rows, st.randoms(use_true_random=False), st.integers(0, 9))
def test_neither_the_order_of_events_nor_the_future_changes_a_summary(
    rows: list[tuple[EventKind, str, int]], random: object, cut: int
) -> None:
    events = [event(index, kind, CATALOGUE[product], minutes=minute) for index, (kind, product, minute) in enumerate(rows)]
    at = START + timedelta(minutes=cut)
    expected = summarize([one for one in events if one.at < at], at=None, products=CATALOGUE)
    shuffled = list(events)
    random.shuffle(shuffled)
    assert summarize(shuffled, at=at, products=CATALOGUE) == expected
