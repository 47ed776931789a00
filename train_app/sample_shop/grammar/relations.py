"""Which word fits what, and how often: relations.yaml as values. Knows no sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from common.config import read_yaml

DECAY = 0.45
"""Each word of a cell row is this much rarer than the one before it: the skew of the relations."""


@dataclass(frozen=True, slots=True)
class Relations:
    cells: Mapping[str, Mapping[str, tuple[str, ...]]]
    """relation -> key -> the words that fit, the most frequent first."""
    materials: Mapping[str, str]
    """material -> its class, a key of `touch`."""
    kinds: Mapping[str, str]
    """category -> its kind, the second half of a key of `feeling`."""

    def fitting(self, relation: str, key: str) -> tuple[str, ...]:
        return self.cells[relation].get(key, ())

    def words(self, relation: str) -> tuple[str, ...]:
        """All words of a relation, each once, in order of first appearance."""
        return tuple(dict.fromkeys(word for words in self.cells[relation].values() for word in words))

    def misfits(self, relation: str, key: str) -> tuple[str, ...]:
        """The relation's words that do not fit `key`."""
        fitting = self.fitting(relation, key)
        return tuple(word for word in self.words(relation) if word not in fitting)

    def num_cells(self, relation: str) -> int:
        return sum(len(words) for words in self.cells[relation].values())


@cache
def load_relations() -> Relations:
    data = cast(dict[str, dict[str, list[str]]], read_yaml(Path(__file__).with_name("relations.yaml")))
    cells = {name: {key: tuple(words) for key, words in rows.items()} for name, rows in data.items() if name not in ("materials", "kinds")}
    return Relations(
        cells=cells,
        materials={value: name for name, values in data["materials"].items() for value in values},
        kinds={category: name for name, categories in data["kinds"].items() for category in categories},
    )


@cache
def weights(num: int, *, flatness: float = 0.0) -> Sequence[float]:
    """How often the words of one row are drawn, summing to 1. `flatness` 0 is the relations' own skew, 1 is even."""
    raw = [DECAY ** (place * (1.0 - flatness)) for place in range(num)]
    total = sum(raw)
    return [weight / total for weight in raw]
