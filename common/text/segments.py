"""Clauses and n-grams of a text, with where they stand. Knows no words: Chinese is not written in them."""

import re

_CLAUSE = re.compile(r"[^，。！？；：、,!?;:…\n]+")
_SENTENCE_END = re.compile(r"[。！？!?…]+[”’」』）)]*")


def clauses(text: str) -> list[tuple[str, tuple[int, int]]]:
    """What stands between punctuation marks, in order, without surrounding spaces; spans index `text`."""
    found = []
    for match in _CLAUSE.finditer(text):
        piece = match.group().strip()
        if piece:
            start = match.start() + match.group().index(piece)
            found.append((piece, (start, start + len(piece))))
    return found


def sentences(text: str) -> list[str]:
    """Pieces that end with a full stop, question or exclamation mark; the last one may lack it. Joined they are `text`."""
    found, position = [], 0
    for match in _SENTENCE_END.finditer(text):
        found.append(text[position : match.end()])
        position = match.end()
    return [*found, text[position:]] if position < len(text) else found


def ngrams(text: str, n: int) -> list[str]:
    """All runs of n characters, left to right; none when the text is shorter."""
    return [text[i : i + n] for i in range(len(text) - n + 1)]


def is_han(character: str) -> bool:
    """Whether it is a Chinese character (unified ideographs and their extensions)."""
    return "\u4e00" <= character <= "\u9fff" or "\u3400" <= character <= "\u4dbf" or "\U00020000" <= character <= "\U0003ffff"


def share_of_han(text: str) -> float:
    """Chinese characters among letters and ideographs, in [0, 1]; digits, punctuation and spaces do not count. 1.0 where neither occurs."""
    letters = [c for c in text if c.isalpha()]
    return sum(map(is_han, letters)) / len(letters) if letters else 1.0
