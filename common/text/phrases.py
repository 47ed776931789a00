"""Finds many fixed phrases in a text at once. Knows nothing of what they mean; ASCII phrases match whole words only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Found:
    start: int
    end: int
    phrase: str


class PhraseSet:
    """Phrases by their first two characters, longest first."""

    def __init__(self, phrases: Iterable[str]) -> None:
        by_head: dict[str, list[str]] = {}
        for phrase in sorted({p for p in phrases if p}, key=lambda p: (-len(p), p)):
            by_head.setdefault(phrase[:2], []).append(phrase)
        self._by_head = by_head

    def at(self, text: str, start: int) -> str | None:
        """The longest phrase that begins at `start`."""
        for head in (text[start : start + 2], text[start : start + 1]):
            for phrase in self._by_head.get(head, ()):
                if text.startswith(phrase, start) and _whole(text, start, start + len(phrase)):
                    return phrase
        return None

    def find(self, text: str) -> list[Found]:
        """From left to right, the longest at each place, none overlapping another."""
        heads = _heads(text)
        found: list[Found] = []
        end = 0
        for position in sorted(position for head in self._by_head.keys() & heads.keys() for position in heads[head]):
            if position < end:
                continue
            phrase = self.at(text, position)
            if phrase is not None:
                end = position + len(phrase)
                found.append(Found(position, end, phrase))
        return found


@lru_cache(maxsize=64)
def _heads(text: str) -> Mapping[str, tuple[int, ...]]:
    """Each character and pair of a text -> where it stands. Many sets look at one text, and most find nothing there."""
    heads: dict[str, tuple[int, ...]] = {}
    for start in range(len(text)):
        for head in (text[start], text[start : start + 2]) if start + 1 < len(text) else (text[start],):
            heads[head] = (*heads.get(head, ()), start)
    return heads


def _whole(text: str, start: int, end: int) -> bool:
    """No ASCII letter or digit is cut off: `anc` is not in `dance`."""
    before = start > 0 and _word(text[start]) and _word(text[start - 1])
    after = end < len(text) and _word(text[end - 1]) and _word(text[end])
    return not before and not after


def _word(character: str) -> bool:
    return character.isascii() and character.isalnum()
