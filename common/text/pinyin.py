"""How Chinese characters sound, without tones. Knows one sound a character, no words: 行 is xing, also in 银行.

A sound is written as one private character, so that a text that is partly spelled in letters can be searched like any other.
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path

FIRST = 0xE000
"""Of the private characters; `fold` takes those out of every text, so that no text holds one of its own."""
_FILE = Path(__file__).with_name("pinyin.txt")
_LONGEST_SYLLABLE = 6
_LONGEST_SPELLING = 40
"""Letters in a row that are still read as syllables: ten characters and more, which no banned phrase has."""


@cache
def _read() -> tuple[dict[str, str], dict[int, str]]:
    syllables: dict[str, str] = {}
    characters: dict[int, str] = {}
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            syllable, _, written = line.partition(" ")
            syllables[syllable] = chr(FIRST + len(syllables))
            characters |= dict.fromkeys(map(ord, written), syllables[syllable])
    return syllables, characters


def sounds() -> Mapping[int, str]:
    """Code of a Chinese character -> its sound."""
    return _read()[1]


def sound(character: str) -> str | None:
    """Of a Chinese character; None for one that has none here, and for all else."""
    return sounds().get(ord(character))


def heard(text: str) -> str:
    """Every Chinese character as its sound; of the same length."""
    return text.translate(sounds())


@lru_cache(maxsize=4096)
def spelled(letters: str) -> str | None:
    """Small letters without tones as sounds, the fewest possible (xian is one); None when they do not all belong to some syllable."""
    if len(letters) > _LONGEST_SPELLING:
        return None
    syllables = _read()[0]
    best: list[str | None] = ["", *(None for _ in letters)]
    for end in range(1, len(letters) + 1):
        for start in range(max(0, end - _LONGEST_SYLLABLE), end):
            before, last = best[start], syllables.get(letters[start:end])
            if before is not None and last is not None:
                known = best[end]
                if known is None or len(before) + 1 < len(known):
                    best[end] = before + last
    return best[-1]


@cache
def everyday() -> frozenset[str]:
    """The 3,755 characters of the first level of GB 2312, which hold nearly all that is written in a shop."""
    return frozenset(chr(code) for code in sounds() if _level(chr(code)) == 1)


def _level(character: str) -> int:
    try:
        return 1 if 0xB0 <= character.encode("gb2312")[0] <= 0xD7 else 2
    except UnicodeEncodeError:
        return 3
