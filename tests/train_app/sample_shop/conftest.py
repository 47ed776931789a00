"""A small simulated shop in memory: products, the events of its users, and requests over them."""

import random
from collections.abc import Callable
from datetime import timedelta

import pytest

from common.domain.context import Context
from common.features.summarize import summarize
from train_app.sample_shop.behaviour import simulate
from train_app.sample_shop.catalogue import make_catalogue, newcomer_brands
from train_app.sample_shop.people import EMOTIONS, STYLES, TOPICS, make_people

Requests = Callable[..., list[Context]]


@pytest.fixture(scope="session")
def requests() -> Requests:
    """requests(n, seed=…): n contexts, a third of them without history, with all codes asked for."""
    products = make_catalogue(seed=3, num_products=400)
    by_id = {product.product_id: product for product in products}
    shelves: dict[str, list] = {}
    for product in products:
        if product.brand not in newcomer_brands():
            shelves.setdefault(product.category, []).append(product)
    histories = [simulate(shopper, shelves=shelves, seed=3) for shopper in make_people(seed=3, num_users=60)]

    def make(num: int, *, seed: int) -> list[Context]:
        rng = random.Random(seed)
        made = []
        for _ in range(num):
            events = rng.choice(histories)
            at = rng.choice(events).at + timedelta(hours=1) if events and rng.random() < 0.7 else None
            behavior = summarize(events if at else [], at=at, products=by_id)
            codes = {"topic": rng.choice(TOPICS), "emotion": rng.choice(EMOTIONS), "style": rng.choice(STYLES)}
            made.append(Context(product=rng.choice(products), behavior=behavior, controls=codes))
        return made

    return make
