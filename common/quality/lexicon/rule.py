"""One rule of a lexicon, compiled: where it hits a reading of a text, and which contexts make that harmless."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property

from common.packs.lexicon import Context, LexiconRule
from common.quality.lexicon.reading import Reading
from common.text.pinyin import sound

_LOOKED_BACK = 24
"""Characters before a match in which an allowed context may begin."""
_FLUSH = r"(?:{})\Z"


class Compiled:
    """The expressions for a text as it is written, and those in which every character may also be its sound, when one is asked for."""

    def __init__(self, rule: LexiconRule, *, contexts: Mapping[str, Context]) -> None:
        self.rule = rule
        self._contexts = [contexts[name] for name in rule.contexts]

    def hit(self, reading: Reading, patterns: Sequence[int], *, as_heard: bool) -> tuple[int, int] | None:
        """A match of one of the `patterns` in the reading that no context makes harmless: the first of the first."""
        matcher = self._heard if as_heard else self._written
        for number in patterns:
            for match in matcher.pattern(number).finditer(reading.text):
                start, end = match.span()
                if reading.holds_itself(start, end) and not matcher.harmless(reading.text, start, end):
                    return start, end
        return None

    @cached_property
    def _written(self) -> "_Matcher":
        return _Matcher(self.rule, self._contexts, heard=False)

    @cached_property
    def _heard(self) -> "_Matcher":
        return _Matcher(self.rule, self._contexts, heard=True)


class _Matcher:
    def __init__(self, rule: LexiconRule, contexts: Sequence[Context], *, heard: bool) -> None:
        def compiled(*patterns: str) -> re.Pattern[str]:
            joined = "|".join(f"(?:{pattern})" for pattern in patterns)
            return re.compile(or_heard(joined) if heard else joined)

        self._rule, self._compiled = rule, compiled
        self._patterns: dict[int, re.Pattern[str]] = {}
        self._allow = compiled(*rule.allow) if rule.allow else None
        self._around = [
            (
                compiled(_FLUSH.format(context.before)) if context.before else None,
                compiled(context.after) if context.after else None,
            )
            for context in contexts
        ]

    def pattern(self, number: int) -> re.Pattern[str]:
        """Compiled when it is first asked for: most of a lexicon never is."""
        found = self._patterns.get(number)
        if found is None:
            found = self._patterns[number] = self._compiled(self._rule.patterns[number])
        return found

    def harmless(self, text: str, start: int, end: int) -> bool:
        if any(
            (before is None or before.search(text, max(0, start - _LOOKED_BACK), start)) and (after is None or after.match(text, end))
            for before, after in self._around
        ):
            return True
        return self._allow is not None and self._covered(self._allow, text, start, end)

    @staticmethod
    def _covered(allow: re.Pattern[str], text: str, start: int, end: int) -> bool:
        """Whether an allowed context begins at or before `start` and reaches `end`; each place is tried, for matches may overlap."""
        for position in range(max(0, start - _LOOKED_BACK), start + 1):
            match = allow.match(text, position)
            if match and match.end() >= end:
                return True
        return False


def or_heard(pattern: str) -> str:
    """The expression in which each Chinese character may also be its sound; ends of a range (一-龥) stay as they are."""
    parts: list[str] = []
    inside = False
    for place, character in enumerate(pattern):
        escaped = place > 0 and pattern[place - 1] == "\\" and (place < 2 or pattern[place - 2] != "\\")
        if not escaped and character in "[]":
            inside = character == "["
        heard = None if "-" in (pattern[place - 1 : place], pattern[place + 1 : place + 2]) and inside else sound(character)
        parts.append(character if heard is None else f"{character}{heard}" if inside else f"[{character}{heard}]")
    return "".join(parts)
