"""The products of a simulated shop: attributes from the pack, prices by category and class of brand, ratings, descriptions."""

import math
import random
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from common.config import Frozen, parse, read_yaml
from common.domain.money import money
from common.domain.product import BRAND, Attribute, Product
from common.packs.schema import CategoryFacts
from train_app.sample_shop.grammar.facts import shop_facts
from train_app.sample_shop.listing import describe, review

BrandClass = Literal["budget", "middle", "premium"]
NEWCOMER_SHARE = 0.11
"""Share of the products whose brand was just listed: without history, and in the test set only."""
UNRATED_SHARE = 0.06


class CategoryTrade(Frozen):
    median_yuan: float
    quantities: dict[str, tuple[float, ...]]


class ParentBrands(Frozen):
    established: dict[str, BrandClass]
    newcomers: dict[str, BrandClass]


class Trade(Frozen):
    """catalogue.yaml."""

    categories: dict[str, CategoryTrade]
    price_spread: float
    brand_classes: dict[BrandClass, float]
    brands: dict[str, ParentBrands]
    series: tuple[str, ...]
    brand_signs: str


@cache
def trade() -> Trade:
    path = Path(__file__).with_name("catalogue.yaml")
    return parse(read_yaml(path), Trade, source=str(path))


def newcomer_brands() -> frozenset[str]:
    return frozenset(name for brands in trade().brands.values() for name in brands.newcomers)


def all_brands() -> tuple[str, ...]:
    """Established ones, then newcomers, of all parents."""
    parents = trade().brands.values()
    return tuple(name for brands in parents for name in brands.established) + tuple(name for brands in parents for name in brands.newcomers)


def make_catalogue(*, seed: int, num_products: int) -> list[Product]:
    """The same products for the same seed; product i does not depend on how many there are."""
    return [_product(random.Random(f"catalogue/{seed}/{i}"), f"p{i:06d}") for i in range(num_products)]


def pretraining_texts(seed: int, num_products: int) -> Iterator[tuple[Product, str, list[str]]]:
    """(product, description, reviews) of a shop with other products and invented brands, for a base model's pretraining. No reasons."""
    for i in range(num_products):
        rng = random.Random(f"pretraining/{seed}/{i}")
        name = "".join(rng.sample(trade().brand_signs, rng.choice((2, 2, 3))))
        classes: tuple[BrandClass, ...] = ("budget", "middle", "premium")
        product = _product(rng, f"x{seed}-{i:06d}", brand=(name, rng.choice(classes)))
        assert product.description is not None
        texts = [review(product, rng, stars=rng.choices((1, 2, 3, 4, 5), (6, 8, 16, 35, 35))[0]) for _ in range(rng.choice((1, 2, 2, 3)))]
        yield product, product.description, texts


def _product(rng: random.Random, product_id: str, *, brand: tuple[str, BrandClass] | None = None) -> Product:
    facts = rng.choice(shop_facts().categories)
    name, brand_class = brand or _brand(facts.parent, rng)
    series = rng.choice(trade().series)
    attributes = (Attribute(key=BRAND, value=name), *_attributes(facts, rng))
    rated = rng.random() >= UNRATED_SHARE
    product = Product(
        product_id=product_id,
        title=_title(facts, attributes, series, rng),
        category=facts.name,
        attributes=attributes,
        price=money(_price_yuan(facts.name, brand_class, rng)),
        rating=min(4.9, max(3.6, round(rng.gauss(4.5, 0.25), 1))) if rated else None,
        rating_count=int(math.exp(rng.gauss(6.2, 1.1))) + 5 if rated else None,
    )
    return product.model_copy(update={"description": describe(product, rng, series=series)})


def _brand(parent: str, rng: random.Random) -> tuple[str, BrandClass]:
    brands: Mapping[str, BrandClass] = trade().brands[parent].established
    if rng.random() < NEWCOMER_SHARE:
        brands = trade().brands[parent].newcomers
    return rng.choice(list(brands.items()))


def _attributes(facts: CategoryFacts, rng: random.Random) -> Iterator[Attribute]:
    quantities = trade().categories[facts.name].quantities
    for attribute in facts.attributes:
        if attribute.kind == "choice":
            value = rng.choices(attribute.values, [0.75**place for place in range(len(attribute.values))])[0]
        else:
            value = f"{rng.choice(quantities[attribute.key]):g}{attribute.unit}"
        yield Attribute(key=attribute.key, value=value)


def _price_yuan(category: str, brand_class: BrandClass, rng: random.Random) -> int:
    """Prices end as shops end them: in 9, 8 or 5 under a hundred yuan, in 9 or 8 above."""
    raw = trade().categories[category].median_yuan * trade().brand_classes[brand_class] * math.exp(rng.gauss(0, trade().price_spread))
    price = max(15, round(raw))
    return price - price % 10 + rng.choice((9, 9, 8, 5) if price < 100 else (9, 9, 9, 8))


def _title(facts: CategoryFacts, attributes: tuple[Attribute, ...], series: str, rng: random.Random) -> str:
    brand, *others = attributes
    choices = [a.value for a in others if not a.value[0].isdigit()]
    quantities = [a.value for a in others if a.value[0].isdigit()]
    shown = rng.sample(choices, min(len(choices), rng.choice((1, 2, 2, 3)))) + rng.sample(quantities, rng.choice((0, 0, 1)))
    noun = facts.name if rng.random() < 0.8 or not facts.aliases else rng.choice(facts.aliases)
    return " ".join([f"{brand.value}{series}{noun}" if rng.random() < 0.5 else f"{brand.value} {series} {noun}", *shown])
