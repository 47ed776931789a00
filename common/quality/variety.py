"""Whether two reasons on one page read as one: a page on which every product opens alike reads as written by a machine. Pure."""

from collections.abc import Iterable

from common.text.normalise import fold
from common.text.segments import clauses, ngrams

OPENING_CHARS = 4
"""Of an opening at least: the first clause, or as many as make up so much."""
GRAM = 4
MAX_SHARED = 0.6
"""Of the 4-grams of the shorter text. Of 20 reasons that people wrote one in 300 opens like an earlier one, one in 4,000 shares more than
this (the sample shop)."""


class Shown:
    """The reasons that a page shows so far."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._openings: set[str] = set()
        self._grams: list[frozenset[str]] = []
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        self._openings.add(opening(text))
        self._grams.append(grams(text))

    def has_like(self, text: str) -> bool:
        """Whether one of them opens as `text` does, or shares more than MAX_SHARED of its 4-grams, or of its own where it is shorter."""
        if opening(text) in self._openings:
            return True
        own = grams(text)
        return any(len(own & other) > MAX_SHARED * min(len(own), len(other)) for other in self._grams)


def opening(text: str) -> str:
    found = ""
    for clause, _ in clauses(fold(text)[0]):
        found += clause
        if len(found) >= OPENING_CHARS:
            break
    return found


def grams(text: str) -> frozenset[str]:
    return frozenset(ngrams(fold(text)[0], GRAM))
