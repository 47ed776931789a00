"""The clauses of a reason, their wordings and what a slot may hold. The writer fills them, the judge reads them back."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from common.config import read_yaml
from train_app.sample_shop.catalogue import all_brands
from train_app.sample_shop.grammar.facts import shop_facts
from train_app.sample_shop.grammar.prices import price_pattern
from train_app.sample_shop.grammar.relations import load_relations

SLOT = re.compile(r"\{(\w+)\}")

SAME_NAMED = (
    *("verb", "scene", "time", "touch", "effect", "benefit", "look", "craft", "audience", "feeling", "fit", "bridge", "verdict"),
    *("reputation", "concession"),
)
"""Slots whose relation and agreement bear their own name."""
HIDDEN = ("classifier", *SAME_NAMED, "connective", "structure")
"""Agreements that only the judge sees: what fits what, and the order of clauses."""
VISIBLE = ("brand", "category", "price", "number", "attribute", "rating", "history", "topic", "emotion", "style")
"""Agreements that the quality checks can see as well."""

SLOT_AGREEMENT = {name: name for name in SAME_NAMED} | {
    "clf": "classifier", "noun": "category", "first": "connective", "second": "connective",
    "brand": "brand", "price": "price", "quantity": "number", "material": "attribute", "feature": "attribute", "colour": "attribute",
    "rating": "rating", "rating_count": "rating", "bought": "history", "reviewed": "history", "viewed": "history",
}  # fmt: skip
"""Slot -> the agreement it has to keep; a free word keeps none."""

RELATION_SLOTS = {name: name for name in SAME_NAMED} | {"clf": "classifier", "second": "second"}
"""Slot -> the relation its word comes from."""

FIRST_WORDS = {
    "cause_feature": ("因为", "由于", "多亏"),
    "cause_material": ("因为", "由于", "多亏"),
    "progress": ("不仅", "不但", "不光"),
    "admit": ("虽然", "尽管", "别看"),
}
"""First half of a pair -> the connectives that fit its argument."""
SECOND_HALVES = {
    "cause_feature": ("then_effect",),
    "cause_material": ("then_touch",),
    "progress": ("then_feature",),
    "admit": ("then_material", "then_craft"),
}
OPENINGS = ("open_bought", "open_reviewed", "open_viewed", "open_moment")
TOPIC_CLAUSES = {f"topic_{topic}": topic for topic in ("quality", "value", "look", "use")}


@dataclass(frozen=True, slots=True)
class Grammar:
    clauses: Mapping[str, tuple[str, ...]]
    """kind -> wordings, the most frequent first."""
    free: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Wording:
    kind: str
    pattern: str
    expression: re.Pattern[str]
    """Matches the whole clause; one group a slot."""


@cache
def load_grammar() -> Grammar:
    data = cast(dict[str, dict[str, list[str]]], read_yaml(Path(__file__).with_name("grammar.yaml")))
    return Grammar(
        clauses={kind: tuple(patterns) for kind, patterns in data["clauses"].items()},
        free={name: tuple(words) for name, words in data["free"].items()},
    )


@cache
def slots_of(pattern: str) -> tuple[str, ...]:
    return tuple(SLOT.findall(pattern))


@cache
def look_family(value: str) -> str | None:
    """The key of `look` that the name of a colour, case or drawing ends in."""
    return next((family for family in load_relations().cells["look"] if value.endswith(family)), None)


@cache
def effect_keys() -> Mapping[str, str]:
    """Feature -> the attribute's key, for attributes that have an effect."""
    keys = load_relations().cells["effect"]
    attributes = [attribute for category in shop_facts().categories for attribute in category.attributes]
    return {value: attribute.key for attribute in attributes if attribute.key in keys for value in attribute.values}


@cache
def nouns() -> Mapping[str, str]:
    """Category or alias -> category."""
    categories = shop_facts().categories
    return {name: category.name for category in categories for name in (category.name, *category.aliases)}


@cache
def _slot_expressions() -> Mapping[str, str]:
    relations, grammar = load_relations(), load_grammar()
    choices = [value for category in shop_facts().categories for attribute in category.attributes for value in attribute.values]
    units = "|".join(shop_facts().units)
    thing = f"(?:{_any(all_brands())})?(?:{_any(nouns())})"
    found = {slot: _any(relations.words(relation)) for slot, relation in RELATION_SLOTS.items()}
    found |= {name: _any(words) for name, words in grammar.free.items()}
    return found | {
        "first": _any(relations.cells["second"]),
        "brand": _any(all_brands()),
        "noun": _any(category.name for category in shop_facts().categories),
        "material": _any(relations.materials),
        "feature": _any(effect_keys()),
        "colour": _any(value for value in choices if look_family(value)),
        "quantity": rf"(?:{_any(relations.cells['benefit'])})\d+(?:\.\d+)?(?:{units})",
        "price": price_pattern(),
        "rating": r"\d(?:\.\d)?",
        "rating_count": r"\d+",
        "bought": thing,
        "reviewed": thing,
        "viewed": thing,
    }


def _any(words: object) -> str:
    return "|".join(sorted({re.escape(word) for word in cast("list[str]", words)}, key=len, reverse=True))


@cache
def wordings() -> tuple[Wording, ...]:
    """All wordings of all clauses, compiled."""
    slots = _slot_expressions()
    return tuple(
        Wording(kind, pattern, re.compile(SLOT.sub(lambda match: f"(?P<{match[1]}>{slots[match[1]]})", pattern)))
        for kind, patterns in load_grammar().clauses.items()
        for pattern in patterns
    )
