"""One way of writing for each text: Unicode form, script, spaces. `plain` is what untrusted text must pass before a prompt holds it."""

import re
import unicodedata
from functools import lru_cache

from common.text.script import simplified

DELIMITERS = "【】｜〔〕\n\r\t"
"""What structures a prompt; untrusted text never holds one of them."""

_LOOKALIKES = "|"
"""What NFKC makes of ｜: no delimiter, but a model might take it for one."""

KEPT = "，！？：；（）～…—“”‘’《》"
"""Punctuation of Chinese text that NFKC would turn into ASCII; a reader would see the difference. ｜ is not among them."""

INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters of other categories than Cf that show nothing."""

_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n[ \n]*")
_PIECES = re.compile(f"([{KEPT}]+)")
_SIMPLE = re.compile(r"[\u4e00-\u9fa5A-Za-z0-9，。！？：；（）、~%+\-./]*")
_MAX_PASSES = 8


def normalise(text: str) -> str:
    """NFKC but for Chinese punctuation, without control, zero-width, bidi, private and unassigned characters, simplified, spaces collapsed.

    Line breaks stay, one at most in a row. Applying it twice changes nothing.
    """
    for _ in range(_MAX_PASSES):
        new = _once(text)
        if new == text:
            return new
        text = new
    return text


def plain(text: str, *, max_chars: int | None = None) -> str:
    """Untrusted text as one line without the prompt's delimiters; `max_chars` cuts what is longer, never inside a grapheme."""
    text = normalise(text)
    for _ in range(_MAX_PASSES):
        new = normalise("".join(" " if c in DELIMITERS or c in _LOOKALIKES else c for c in text))
        if new == text:
            break
        text = new
    if max_chars is not None and len(text) > max_chars:
        while max_chars > 0 and unicodedata.combining(text[max_chars]):
            max_chars -= 1
        text = text[:max_chars].strip()
    return text


def visible(character: str) -> bool:
    """Not control, format, surrogate, private, unassigned, filler or variation selector; a line break counts as visible."""
    if character in INVISIBLE or "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef":
        return False
    return character == "\n" or unicodedata.category(character)[0] != "C"


def _once(text: str) -> str:
    if not _SIMPLE.fullmatch(text):
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n").replace("\t", " ")
        text = "".join(c for c in text if visible(c))
        text = "".join(piece if i % 2 else unicodedata.normalize("NFKC", piece) for i, piece in enumerate(_PIECES.split(text)))
        text = _LINES.sub("\n", _SPACES.sub(" ", text)).strip()
    return simplified(text)


@lru_cache(maxsize=16384)
def _folded(character: str) -> str:
    return simplified("".join(c for c in unicodedata.normalize("NFKC", character) if visible(c))).casefold()


@lru_cache(maxsize=512)
def fold(text: str) -> tuple[str, tuple[int, ...]]:
    """A form to search in, and for each of its characters the index of the character of `text` it came from, with `len(text)` at the end.

    NFKC, simplified and lower case, character by character and without what shows nothing, so that a finding can be shown where it stands.
    """
    parts: list[str] = []
    origin: list[int] = []
    for index, character in enumerate(text):
        folded = _folded(character)
        parts.append(folded)
        origin.extend([index] * len(folded))
    origin.append(len(text))
    return "".join(parts), tuple(origin)


def squeezed(text: str) -> str:
    """A form to look for one text in another with: folded, without spaces, marks upon the letters that they belong to."""
    return unicodedata.normalize("NFC", "".join(fold(text)[0].split()))
