"""Traditional characters to simplified ones, with OpenCC's tables. Knows no vocabulary of regions (軟體 becomes 软体, not 软件)."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import opencc


@dataclass(frozen=True, slots=True)
class ScriptTables:
    characters: dict[str, str]
    """One character to one character; chains are followed to their end, so applying it twice changes nothing."""
    phrases: dict[str, str]
    """Where a character by itself would become the wrong one (乾隆 keeps its 乾)."""
    pattern: re.Pattern[str]


@cache
def tables() -> ScriptTables:
    folder = Path(opencc.__file__).parent / "dictionary"
    raw = _read(folder / "TSCharacters.txt")
    characters: dict[str, str] = {}
    for source in raw:
        target, seen = raw[source], {source}
        while target in raw and target not in seen:
            seen.add(target)
            target = raw[target]
        if target != source and len(source) == 1 and len(target) == 1:
            characters[source] = target
    phrases = _read(folder / "TSPhrases.txt")
    by_length = sorted(phrases, key=len, reverse=True)
    return ScriptTables(characters, phrases, re.compile("|".join(map(re.escape, by_length))))


def _read(path: Path) -> dict[str, str]:
    """Key -> the first of its readings, which OpenCC orders by frequency."""
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if "\t" in line)
    return {source: targets.split(" ")[0] for source, targets in rows}


def simplified(text: str) -> str:
    """`text` with traditional characters replaced; length may change only where a phrase's does."""
    known = tables()
    if known.characters.keys().isdisjoint(text):
        return text
    characters = known.characters
    parts: list[str] = []
    position = 0
    for match in known.pattern.finditer(text):
        parts.append("".join(characters.get(c, c) for c in text[position : match.start()]))
        parts.append(known.phrases[match.group()])
        position = match.end()
    parts.append("".join(characters.get(c, c) for c in text[position:]))
    return "".join(parts)


def simplified_character(character: str) -> str:
    return tables().characters.get(character, character)
