"""What makes a public text unfit to learn from, and the length classes that its pack defines."""

import re

from common.artifacts.digest import sha256_bytes
from common.errors import ConfigError
from common.packs.schema import Pack
from common.text.normalise import normalise

CLAUSE_ENDS = re.compile(r"[，。！？；：、,.!?;:\s]+")
REPEATED_CHARS = 6
"""A clause of so many characters that stands twice in one text is a copying accident of the source."""
PLACEHOLDERS = ("<UNK>", "BRAND")


def unfit(text: str) -> str | None:
    """Why a text is dropped; None when it is fit."""
    if (placeholder := placeholder_in(text)) is not None:
        return f"placeholder {placeholder}"
    clauses = [clause for clause in CLAUSE_ENDS.split(text) if len(clause) >= REPEATED_CHARS]
    return "repeated clause" if len(clauses) != len(set(clauses)) else None


def placeholder_in(text: str) -> str | None:
    return next((placeholder for placeholder in PLACEHOLDERS if placeholder in text), None)


def without_placeholders(text: str) -> str:
    """Without the clauses that hold a placeholder, which the set's publishers put where a brand or a rare character stood. What is left
    begins with a word and ends a sentence."""
    if placeholder_in(text) is None:
        return text
    parts = re.split(rf"({CLAUSE_ENDS.pattern})", text)
    ends = [*parts[1::2], ""]
    kept = [clause + end for clause, end in zip(parts[::2], ends, strict=True) if placeholder_in(clause) is None]
    return re.sub(r"[，、：；,:;\s]+$", "。", "".join(kept))


def content_key(text: str) -> str:
    """Equal for texts that differ in form, spaces or punctuation only."""
    return re.sub(r"\W+", "", normalise(text)).casefold()


def short_id(prefix: str, content: str) -> str:
    return f"{prefix}-{sha256_bytes(content.encode())[:12]}"


def length_class(text: str, pack: Pack, *, control: str = "style") -> str | None:
    """The first value of a length control whose bounds hold the text; None when none does."""
    measured = next((one for one in pack.controls.controls if one.name == control and one.measured_by == "length"), None)
    if measured is None:
        raise ConfigError(f"pack {pack.name}: no control {control!r} measured by length; the importer labels texts with it")
    length = len(text)
    return next((value.name for value in measured.values if value.chars and value.chars[0] <= length <= value.chars[1]), None)
