"""Finds many fixed phrases in a text at once. Knows nothing of what they mean; ASCII phrases match whole words only."""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    start: int
    end: int
    phrase: str


class PhraseSet:
    """Phrases by their first character, longest first."""

    def __init__(self, phrases: Iterable[str]) -> None:
        by_first: dict[str, list[str]] = {}
        for phrase in sorted({p for p in phrases if p}, key=lambda p: (-len(p), p)):
            by_first.setdefault(phrase[0], []).append(phrase)
        self._by_first = by_first
        self._first = re.compile(f"[{re.escape(''.join(by_first))}]") if by_first else None

    def at(self, text: str, start: int) -> str | None:
        """The longest phrase that begins at `start`."""
        if start >= len(text):
            return None
        for phrase in self._by_first.get(text[start], ()):
            if text.startswith(phrase, start) and _whole(text, start, start + len(phrase)):
                return phrase
        return None

    def find(self, text: str) -> list[Found]:
        """From left to right, the longest at each place, none overlapping another."""
        found: list[Found] = []
        position = 0
        while self._first is not None and (candidate := self._first.search(text, position)):
            position = candidate.start()
            phrase = self.at(text, position)
            if phrase is not None:
                found.append(Found(position, position + len(phrase), phrase))
            position += len(phrase or "x")
        return found


def _whole(text: str, start: int, end: int) -> bool:
    """No ASCII letter or digit is cut off: `anc` is not in `dance`."""
    before = start > 0 and _word(text[start]) and _word(text[start - 1])
    after = end < len(text) and _word(text[end - 1]) and _word(text[end])
    return not before and not after


def _word(character: str) -> bool:
    return character.isascii() and character.isalnum()
