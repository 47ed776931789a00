"""The users of a simulated shop and their tastes, which nobody but the simulator sees: behaviour and evidence follow from them."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from common.config import Frozen, parse, read_yaml
from train_app.sample_shop.grammar.facts import shop_facts

TOPICS = ("quality", "value", "look", "use")
EMOTIONS = ("warm", "excited", "calm")
STYLES = ("concise", "detailed")
LABELLED_SHARE = 0.7
"""Share of the users whose persona the shop knows."""


class Persona(Frozen):
    interests: tuple[str, ...]
    price_weight: float
    topics: dict[str, float]


class Personas(Frozen):
    """people.yaml."""

    personas: dict[str, Persona]


@dataclass(frozen=True, slots=True)
class Shopper:
    user_id: str
    persona: str | None
    """As far as the shop knows it."""
    interests: Mapping[str, float]
    """Category -> share of the visits; sums to 1."""
    price_weight: float
    """0: the price does not matter, 1: it decides."""
    tastes: Mapping[str, Mapping[str, float]]
    """Control -> value -> probability that this value is what the user wants."""


@cache
def _personas() -> Mapping[str, Persona]:
    path = Path(__file__).with_name("people.yaml")
    return parse(read_yaml(path), Personas, source=str(path)).personas


def make_people(*, seed: int, num_users: int) -> list[Shopper]:
    return [_shopper(random.Random(f"people/{seed}/{i}"), f"u{i:05d}") for i in range(num_users)]


def _shopper(rng: random.Random, user_id: str) -> Shopper:
    name, persona = rng.choice(list(_personas().items()))
    interests = {category.name: 0.02 + rng.random() * 0.05 for category in shop_facts().categories}
    for category in persona.interests:
        interests[category] += rng.gammavariate(2.0, 0.4)
    total = sum(interests.values())
    emotion = rng.choice(EMOTIONS)
    concise = rng.betavariate(1.2, 1.2)
    return Shopper(
        user_id=user_id,
        persona=name if rng.random() < LABELLED_SHARE else None,
        interests={category: weight / total for category, weight in interests.items()},
        price_weight=min(1.0, max(0.0, rng.gauss(persona.price_weight, 0.15))),
        tastes={
            "topic": _distribution({topic: rng.gammavariate(0.3 + persona.topics.get(topic, 0.0), 1.0) for topic in TOPICS}),
            "emotion": _distribution({value: rng.gammavariate(3.0 if value == emotion else 0.6, 1.0) for value in EMOTIONS}),
            "style": {"concise": concise, "detailed": 1.0 - concise},
        },
    )


def _distribution(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values()) + 1e-9 * len(weights)
    return {value: (weight + 1e-9) / total for value, weight in weights.items()}
