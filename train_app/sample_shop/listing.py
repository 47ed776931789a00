"""What merchants and customers write about a product: descriptions and reviews from listing.yaml. Knows no reason and no user."""

import random
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import cast

from common.config import read_yaml
from common.domain.product import Product
from train_app.sample_shop.grammar.classes import price_class, rating_class
from train_app.sample_shop.grammar.prices import Amount, fitting_amounts
from train_app.sample_shop.grammar.relations import load_relations
from train_app.sample_shop.people import EMOTIONS

SLOT = re.compile(r"\{(\w+)\}")
MADE_OF = re.compile("用了|选用|采用|用的是|摸着")
"""Not said of a flavour, the material of a drink."""
MOODS = {"good": "positive", "fair": "neutral", "bad": "negative"}
Patterns = Mapping[str, Mapping[str, list[str]]]


@cache
def _patterns() -> Patterns:
    return cast(Patterns, read_yaml(Path(__file__).with_name("listing.yaml")))


@cache
def _free_words() -> Mapping[str, list[str]]:
    return cast(Patterns, read_yaml(Path(__file__).parent / "grammar" / "grammar.yaml"))["free"]


def describe(product: Product, rng: random.Random, *, series: str) -> str:
    """Two to six clauses, every fact of which is the product's."""
    patterns = _patterns()["description"]
    slots = _slots(product, rng) | {"series": series}
    told: set[str] = set()
    clauses = _pick(patterns["opening"], slots, rng, 1, told) + _pick(patterns["body"], slots, rng, rng.choice((2, 3, 3, 4)), told)
    clauses += _pick(patterns["closing"], slots, rng, rng.choice((0, 1, 1)), told)
    return _joined(clauses, rng)


@cache
def told_codes() -> Mapping[str, Mapping[str, str]]:
    """Control -> word -> the value that the word tells: turns of praise tell a topic, words of feeling an emotion."""
    feelings = {word: key.split(" ")[0] for key, words in load_relations().cells["feeling"].items() for word in words}
    ends = {word: name.removesuffix("_end") for name, words in _free_words().items() if name.endswith("_end") for word in words}
    return {"topic": ends, "emotion": feelings}


def review(product: Product, rng: random.Random, *, stars: int) -> str:
    """One to four clauses of the mood that `stars` says."""
    patterns = _patterns()["review"]
    mood = "good" if stars >= 4 else "bad" if stars <= 2 else "fair"
    verdict = rng.choice(load_relations().fitting("verdict", MOODS[mood]))
    slots = _slots(product, rng) | {"stars": str(stars), "verdict": verdict}
    told: set[str] = set()
    opening = _pick(patterns["opening"], slots, rng, rng.choice((0, 1, 1, 1)), told)
    return _joined(opening + _pick(patterns[mood], slots, rng, rng.choice((1, 2, 2, 3)), told), rng)


def _slots(product: Product, rng: random.Random) -> dict[str, str]:
    """One reading of the product, the same facts for a whole text. What the product lacks has no slot."""
    relations = load_relations()
    chosen = [a for a in product.attributes if a.key != "品牌"]
    materials = [a for a in chosen if a.value in relations.materials]
    looks = [a for a in chosen if any(a.value.endswith(family) for family in relations.cells["look"])]
    quantities = [a for a in chosen if a.value[0].isdigit()]
    features = [a for a in chosen if a not in materials + looks + quantities]

    def fitting(relation: str, key: str) -> str:
        return rng.choice(relations.fitting(relation, key))

    slots = {"noun": product.category, "clf": fitting("classifier", product.category), "bridge": rng.choice(relations.words("bridge"))}
    slots |= {relation: fitting(relation, product.category) for relation in ("verb", "craft", "fit", "scene")}
    slots["time"] = fitting("time", slots["scene"])
    slots["feeling"] = fitting("feeling", f"{rng.choice(EMOTIONS)} {relations.kinds[product.category]}")
    slots |= {name: rng.choice(words) for name, words in _free_words().items()}
    slots["first"], seconds = rng.choice(list(relations.cells["second"].items()))
    slots["second"] = rng.choice(seconds)
    if product.brand:
        slots["brand"] = product.brand
    for name, attributes in (("material", materials), ("feature", features), ("look", looks), ("quantity", quantities)):
        if attributes:
            attribute = rng.choice(attributes)
            slots |= {name: attribute.value, f"{name}_key": attribute.key}
    if features and (effects := relations.fitting("effect", slots["feature_key"])):
        slots["effect"] = rng.choice(effects)
    if quantities and (benefits := relations.fitting("benefit", slots["quantity_key"])):
        slots["benefit"] = rng.choice(benefits)
    if looks:
        family = next(family for family in relations.cells["look"] if slots["look"].endswith(family))
        slots["shade"] = fitting("look", family)
    if materials:
        slots["touch"] = fitting("touch", relations.materials[slots["material"]])
    others = [a for a in quantities if a.value != slots["quantity"]]
    if others:
        other = rng.choice(others)
        slots |= {"quantity2": other.value, "quantity2_key": other.key}
    if product.price:
        price = price_class(product.price.amount())
        slots |= {"audience": fitting("audience", price), "concession": fitting("concession", price)}
        amounts = fitting_amounts(product.price.amount())
        slots["price"] = rng.choice([Amount.write(amount) for amount in amounts])
    if product.rating is not None:
        slots |= {"rating": f"{product.rating:g}", "reputation": fitting("reputation", rating_class(product.rating))}
    if product.rating_count is not None and product.rating_count >= 100:
        slots["count"] = str(product.rating_count // 100 * 100)
    return slots


def _pick(patterns: list[str], slots: Mapping[str, str], rng: random.Random, num: int, told: set[str]) -> list[str]:
    """`num` different clauses whose slots the product can fill; no fact in `told` is told twice."""
    flavour = slots.get("material_key") == "风味"
    usable = [p for p in patterns if all(name in slots for name in SLOT.findall(p)) and not (flavour and MADE_OF.search(p))]
    rng.shuffle(usable)
    clauses: list[str] = []
    for pattern in usable:
        facts = {"stars" if name == "rating" else name for name in SLOT.findall(pattern)} - {"noun", "clf", "brand", "verb"}
        if len(clauses) < num and not facts & told:
            told |= facts
            clauses.append(SLOT.sub(lambda match: slots[match[1]], pattern))
    return clauses


def _joined(clauses: list[str], rng: random.Random) -> str:
    text = clauses[0]
    for clause in clauses[1:]:
        text += ("。" if rng.random() < 0.25 else "，") + clause
    return text + rng.choice(("。", "。", "。", "！"))
