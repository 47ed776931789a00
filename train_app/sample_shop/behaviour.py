"""What users do in a simulated shop, in time, and what A/B tests and questionnaires see of their tastes. All follows from people.py."""

import math
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from common.domain.event import Event, EventKind
from common.domain.product import Product
from train_app.sample_shop.listing import review
from train_app.sample_shop.people import Shopper

OPENED = datetime(2026, 1, 5, 8, tzinfo=UTC)
DAYS = 120
SILENT_SHARE = 0.12
"""Share of the users who registered and did nothing yet."""
QUESTIONNAIRE_NOISE = 0.15
AB_TEST_NOISE = 0.2


def simulate(shopper: Shopper, *, shelves: Mapping[str, Sequence[Product]], seed: int) -> list[Event]:
    """One user's events in time. `shelves` are the products by category that there is a history for."""
    rng = random.Random(f"behaviour/{seed}/{shopper.user_id}")
    if rng.random() < SILENT_SHARE:
        return []
    visits = sorted(rng.uniform(0, DAYS) for _ in range(1 + min(14, int(rng.expovariate(1 / 5)))))
    log = _Log(shopper.user_id)
    for day in visits:
        (category,) = rng.choices(list(shopper.interests), list(shopper.interests.values()))
        if shelves.get(category):
            _visit(shopper, shelves[category], OPENED + timedelta(days=day), log, rng)
    return sorted(log.events, key=lambda event: (event.at, event.event_id))


class _Log:
    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.events: list[Event] = []

    def add(self, kind: EventKind, product: Product, at: datetime, *, rating: float | None = None, text: str | None = None) -> None:
        event_id = f"e-{self.user_id}-{len(self.events):04d}"
        event = Event(event_id=event_id, user_id=self.user_id, product_id=product.product_id, kind=kind, at=at, rating=rating, text=text)
        self.events.append(event)


def _visit(shopper: Shopper, shelf: Sequence[Product], at: datetime, log: _Log, rng: random.Random) -> None:
    """Looks at a few products of one category, opens the more attractive ones, may put one into the cart, buy and review it."""
    seen = rng.sample(shelf, min(len(shelf), rng.randint(1, 4)))
    best: tuple[float, Product] | None = None
    for product in seen:
        at += timedelta(seconds=rng.randint(20, 240))
        log.add(EventKind.VIEW, product, at)
        appeal = _appeal(shopper, product, shelf) + rng.gauss(0, 0.5)
        if appeal > 0:
            at += timedelta(seconds=rng.randint(5, 60))
            log.add(EventKind.CLICK, product, at)
            if best is None or appeal > best[0]:
                best = (appeal, product)
    if best is None or rng.random() > _sigmoid(best[0] - 0.3):
        return
    appeal, product = best
    at += timedelta(seconds=rng.randint(30, 600))
    log.add(EventKind.CART, product, at)
    if rng.random() < 0.65:
        at += timedelta(minutes=rng.randint(1, 180))
        log.add(EventKind.PURCHASE, product, at)
        if rng.random() < 0.6:
            at += timedelta(days=rng.uniform(2, 12))
            stars = min(5, max(1, round((product.rating or 4.3) - 0.8 + rng.gauss(0, 1.1) + 0.3 * appeal)))
            log.add(EventKind.REVIEW, product, at, rating=float(stars), text=review(product, rng, stars=stars))


def _appeal(shopper: Shopper, product: Product, shelf: Sequence[Product]) -> float:
    """How much the user is drawn to a product, around 0: its rating, and its price against the shelf's middle by how much prices weigh."""
    assert product.price is not None
    prices = [math.log(other.price.minor) for other in shelf[:40] if other.price is not None]
    dearer = math.log(product.price.minor) - sum(prices) / len(prices)
    return 2.0 * ((product.rating or 4.4) - 4.5) + (0.3 - shopper.price_weight) * 2.0 * dearer + 0.2


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def evidence(shopper: Shopper, *, seed: int) -> list[dict[str, object]]:
    """Preference rows: noisy views of the taste. A/B tests show which of two reasons won; questionnaires and settings name a value."""
    rng = random.Random(f"evidence/{seed}/{shopper.user_id}")
    rows: list[dict[str, object]] = []
    for control, taste in shopper.tastes.items():
        values = list(taste)
        for _ in range(rng.choice((0, 1, 2, 3, 4))):
            winner, loser = rng.sample(values, 2)
            wins = taste[winner] / (taste[winner] + taste[loser])
            if rng.random() > (1 - AB_TEST_NOISE) * wins + AB_TEST_NOISE / 2:
                winner, loser = loser, winner
            rows.append(_row(shopper, rng, "ab_test", winner={"labels": {control: winner}}, loser={"labels": {control: loser}}))
        for source, share, noise in (("questionnaire", 0.4, QUESTIONNAIRE_NOISE), ("explicit", 0.1, 0.0)):
            if rng.random() < share:
                favourite = max(taste, key=lambda value: taste[value])
                value = rng.choice(values) if rng.random() < noise else favourite
                rows.append(_row(shopper, rng, source, control=control, value=value))
    return rows


def _row(shopper: Shopper, rng: random.Random, source: str, **fields: object) -> dict[str, object]:
    at = OPENED + timedelta(seconds=int(rng.uniform(0, DAYS * 86400)))
    return {"user_id": shopper.user_id, "source": source, **fields, "at": at.isoformat()}
