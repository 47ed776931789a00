"""A text as it is written, and as a person reads it who is not taken in: 最 佳, zui佳, 蕞佳 and 日取佳 are 最佳. Knows no rule."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from common.domain.reason import Span
from common.packs.lexicon import Disguises
from common.text.normalise import fold
from common.text.phrases import PhraseSet
from common.text.pinyin import everyday, sounds, spelled

_SEPARATORS = frozenset(" \t\n\r\f\v.·•*＊_~^`'\"“”‘’「」『』()（）[]【】〔〕<>{}|/\\-=#")
"""What is put between characters to hide a word from a list; besides them whatever Unicode calls a space, a mark upon a character or a
picture. No mark that ends a clause: what it parts is two words."""
_ENDS = "，。！？：；、…—～《》%+0123456789"
"""What stands between words and hides none."""
_LETTERS = re.compile("[a-z]+")


@dataclass(frozen=True, slots=True)
class Reading:
    """A form to search in. `first` and `last`: for each of its characters, which characters of the text as shown it was read from."""

    text: str
    first: Sequence[int]
    last: Sequence[int]
    taken: frozenset[int] = frozenset()
    """Characters that may well mean what they are, and were taken for others. A match of nothing else is no match."""

    def shown(self, start: int, end: int) -> Span:
        return self.first[start], self.last[end - 1] + 1

    def holds_itself(self, start: int, end: int) -> bool:
        return not self.taken or any(place not in self.taken for place in range(start, end))


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a stretch of a reading is read as."""

    start: int
    end: int
    read: str


class Reader:
    """Undoes disguises. `alphabet`: what the rules' patterns are written with, which stays as it is."""

    def __init__(self, disguises: Disguises, *, alphabet: frozenset[str]) -> None:
        others = {other: character for character, all_ in disguises.lookalikes.items() for other in all_}
        usual = everyday() | alphabet
        self._symbols = disguises.symbols
        self._taken = others.keys() & usual
        strange = {code: heard for code, heard in sounds().items() if chr(code) not in usual}  # nobody writes them in a shop
        self._sounds = strange | {ord(other): sounds()[ord(character)] for other, character in others.items()}
        self._whole = {parts: character for character, all_ in disguises.splits.items() for parts in all_}
        self._split = disguises.splits.keys()
        self._parts = PhraseSet(self._whole)
        plain = (usual | frozenset(_ENDS)) - disguises.symbols.keys()
        self._strange = re.compile(f"[^a-z{re.escape(''.join(sorted(plain)))}]")
        self._plain = plain - others.keys()

    def readings(self, text: str) -> tuple[Reading, ...]:
        """As written, and undisguised where that is something else."""
        folded, origin = fold(text)
        written = Reading(folded, origin, origin)
        if self._plain.issuperset(folded) and not self._parts.find(folded):
            return (written,)
        squeezed = _replaced(written, [_Piece(m.start(), m.end(), self._read(m.group())) for m in self._strange.finditer(folded)])
        undisguised = self._heard(squeezed)
        return (written,) if undisguised.text == folded else (written, undisguised)

    def _read(self, character: str) -> str:
        return self._symbols.get(character, _bare(character))

    def _heard(self, squeezed: Reading) -> Reading:
        """Letters and parts of characters as what they spell, lookalikes and what nobody writes as their sounds."""
        pieces = [piece for match in _LETTERS.finditer(squeezed.text) for piece in _spelled(squeezed, *match.span())]
        pieces += [_Piece(found.start, found.end, self._whole[found.phrase]) for found in self._parts.find(squeezed.text)]
        read = _replaced(squeezed, sorted(pieces, key=lambda piece: piece.start))
        taken = frozenset(
            place
            for place, character in enumerate(read.text)
            if character in self._taken or (character in self._split and read.first[place] != read.last[place])
        )
        return Reading(read.text.translate(self._sounds), read.first, read.last, taken)


def _replaced(reading: Reading, pieces: Sequence[_Piece]) -> Reading:
    """Each piece, from left to right, as what it is read as; all the rest as it is."""
    if not pieces:
        return reading
    text: list[str] = []
    first: list[int] = []
    last: list[int] = []
    position = 0
    for piece in (*pieces, _Piece(len(reading.text), len(reading.text), "")):
        text += reading.text[position : piece.start], piece.read
        first += reading.first[position : piece.start]
        last += reading.last[position : piece.start]
        if piece.read:
            first += [reading.first[piece.start]] * len(piece.read)
            last += [reading.last[piece.end - 1]] * len(piece.read)
        position = piece.end
    return Reading("".join(text), first, last)


def _spelled(squeezed: Reading, start: int, end: int) -> Iterator[_Piece]:
    """Letters in a row as sounds: all of them, else each word for itself."""
    whole = spelled(squeezed.text[start:end])
    if whole is not None:
        yield _Piece(start, end, whole)
        return
    begun = start
    for place in range(start + 1, end + 1):
        if place == end or squeezed.first[place] != squeezed.last[place - 1] + 1:
            if begun > start or place < end:
                heard = spelled(squeezed.text[begun:place])
                if heard is not None:
                    yield _Piece(begun, place, heard)
            begun = place


@lru_cache(maxsize=16384)
def _bare(character: str) -> str:
    """Nothing for what separates; a letter without the marks upon it."""
    category = unicodedata.category(character)
    if character in _SEPARATORS or character.isspace() or category[0] == "M" or category in ("So", "Sk"):
        return ""
    base = unicodedata.normalize("NFD", character)[0]
    return base if base.isascii() else character
