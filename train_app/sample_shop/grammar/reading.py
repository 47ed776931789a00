"""What a request offers to a sentence: its facts by slot, and the key under which each relation is looked up."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from common.domain.context import Context, ProductMention
from common.domain.product import BRAND
from train_app.sample_shop.grammar.classes import price_class, rating_class
from train_app.sample_shop.grammar.clauses import effect_keys, look_family
from train_app.sample_shop.grammar.facts import shop_facts
from train_app.sample_shop.grammar.relations import load_relations

MENTIONS = {"bought": "purchased", "reviewed": "reviewed", "viewed": "viewed"}
MIN_COUNT = 100
"""Fewer ratings are not boasted of."""


@dataclass(frozen=True, slots=True)
class Reading:
    category: str
    brand: str | None
    materials: tuple[str, ...]
    features: tuple[str, ...]
    colours: tuple[str, ...]
    quantities: tuple[str, ...]
    """Key, number and unit, as a sentence has them: 续航30小时."""
    price_yuan: Decimal | None
    rating: float | None
    rating_count: int | None
    mentions: Mapping[str, ProductMention]
    """bought, reviewed, viewed -> the product."""
    keys: Mapping[str, str]
    """Relation -> key, for relations whose key the request alone decides."""
    lacks: frozenset[str]
    """Slots that nothing true can be put into."""


def read(context: Context) -> Reading:
    product, behavior = context.product, context.behavior
    relations = load_relations()
    attributes = [a for a in product.attributes if a.key != BRAND]
    known = behavior.mentions()
    mentions = {slot: known[kind] for slot, kind in MENTIONS.items() if kind in known}
    price = product.price.amount() if product.price else None
    keys = {relation: product.category for relation in ("classifier", "verb", "scene", "craft")}
    if price is not None:
        keys["audience"] = keys["concession"] = price_class(price)
    if product.rating is not None:
        keys["reputation"] = rating_class(product.rating)
    if "bought" in mentions:
        keys["fit"] = mentions["bought"].category
    if "viewed" in mentions:
        keys["bridge"] = kinship(mentions["viewed"], category=product.category, brand=product.brand)
    if behavior.last_review_emotion is not None:
        keys["verdict"] = behavior.last_review_emotion
    materials = tuple(a.value for a in attributes if a.value in relations.materials)
    features = tuple(a.value for a in attributes if a.value in effect_keys())
    colours = tuple(a.value for a in attributes if look_family(a.value))
    quantities = tuple(a.key + a.value for a in attributes if a.key in relations.cells["benefit"])
    present = {
        "brand": product.brand is not None,
        "material": bool(materials),
        "feature": bool(features),
        "colour": bool(colours),
        "quantity": bool(quantities),
        "price": price is not None,
        "audience": price is not None,
        "concession": price is not None,
        "rating": product.rating is not None,
        "reputation": product.rating is not None,
        "rating_count": (product.rating_count or 0) >= MIN_COUNT,
    }
    return Reading(
        category=product.category,
        brand=product.brand,
        materials=materials,
        features=features,
        colours=colours,
        quantities=quantities,
        price_yuan=price,
        rating=product.rating,
        rating_count=product.rating_count,
        mentions=mentions,
        keys=keys,
        lacks=frozenset(slot for slot, there in present.items() if not there),
    )


def kinship(mention: ProductMention, *, category: str, brand: str | None) -> str:
    """How what the user viewed relates to a product: the closest of the four."""
    parents = {facts.name: facts.parent for facts in shop_facts().categories}
    if mention.category == category:
        return "same_category"
    if brand is not None and mention.brand == brand:
        return "same_brand"
    return "same_parent" if parents.get(mention.category) == parents.get(category) else "other"


def quantity_key(quantity: str) -> str:
    """续航30小时 -> 续航."""
    return quantity[: next(place for place, sign in enumerate(quantity) if sign.isdigit())]
