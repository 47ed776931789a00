"""Whether a text may be shown under advertising law: a pack's rules, and the contexts in which a word is harmless. Knows no fact."""

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache

from common.domain.reason import CheckResult, Span
from common.packs.schema import Lexicon, LexiconRule, RequiredWarning
from common.text.normalise import fold

_SEPARATORS = frozenset(" \t\n\r\f\v.·•*＊_~^`'\"“”‘’|/\\-")
"""What is put between characters to hide a word from a list; besides them whatever Unicode calls a space or a mark upon a character."""

ANYWHERE = "all"


@dataclass(frozen=True, slots=True)
class _Compiled:
    rule: LexiconRule
    patterns: re.Pattern[str]
    allow: re.Pattern[str] | None


class Law:
    """A lexicon and the required warnings, compiled once."""

    def __init__(self, lexicon: Lexicon, *, warnings: tuple[RequiredWarning, ...] = ()) -> None:
        self._rules = [
            _Compiled(rule, re.compile("|".join(f"(?:{p})" for p in rule.patterns)), _allow(rule.allow)) for rule in lexicon.rules
        ]
        self._warnings = warnings

    def check(self, text: str, *, parents: Collection[str]) -> CheckResult:
        """`parents` are the category's; where nobody knows any, every rule counts. A rule for review fails too: nobody has agreed yet."""
        findings = []
        for rule, span in self._hits(text, parents):
            verb = "is refused" if rule.level == "block" else "needs a person's review"
            findings.append(f"“{text[span[0] : span[1]]}” at {span[0]} {verb}: {rule.id}, {rule.basis}, {rule.why}")
        for warning in self.warnings(parents):
            if fold(warning.text)[0] not in fold(text)[0]:
                findings.append(f"“{warning.text}” is missing: {warning.id}, {warning.basis}")
        return CheckResult(name="compliance", passed=not findings, findings=tuple(findings))

    def lawful(self, text: str, *, parents: Collection[str]) -> bool:
        """Whether no rule is hit; for a piece of a text, which need not hold the warnings."""
        return next(self._hits(text, parents), None) is None

    def _hits(self, text: str, parents: Collection[str]) -> Iterator[tuple[LexiconRule, Span]]:
        """At most one a rule, in the lexicon's order."""
        folded, origin = fold(text)
        squeezed = _squeeze(folded, origin)
        for compiled in self._rules:
            if parents and not {ANYWHERE, *parents} & set(compiled.rule.scope):
                continue
            span = _first_hit(compiled, folded, origin) or (squeezed and _first_hit(compiled, *squeezed))
            if span:
                yield compiled.rule, span

    def warnings(self, parents: Collection[str]) -> tuple[RequiredWarning, ...]:
        """What must stand in every text about such goods."""
        return tuple(warning for warning in self._warnings if set(parents) & set(warning.scope))


def check_compliance(text: str, *, parents: Collection[str], lexicon: Lexicon) -> CheckResult:
    """One text; for many keep a `Law`."""
    return Law(lexicon).check(text, parents=parents)


def _allow(patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns)) if patterns else None


def _squeeze(folded: str, origin: tuple[int, ...]) -> tuple[str, tuple[int, ...]] | None:
    """The text without separators, where it has any."""
    kept = [i for i, character in enumerate(folded) if not _separates(character)]
    return ("".join(folded[i] for i in kept), (*(origin[i] for i in kept), origin[-1])) if len(kept) < len(folded) else None


@lru_cache(maxsize=16384)
def _separates(character: str) -> bool:
    return character in _SEPARATORS or character.isspace() or unicodedata.category(character).startswith("M")


def _first_hit(compiled: _Compiled, folded: str, origin: tuple[int, ...]) -> tuple[int, int] | None:
    """Span, in the text as shown, of the first match that no allowed context covers."""
    for match in compiled.patterns.finditer(folded):
        start, end = match.span()
        if compiled.allow is None or not _covered(compiled.allow, folded, start, end):
            return origin[start], origin[end - 1] + 1
    return None


def _covered(allow: re.Pattern[str], folded: str, start: int, end: int) -> bool:
    """Whether an allowed context begins at or before `start` and reaches `end`; each place before it is tried, for matches may overlap."""
    for position in range(max(0, start - 16), start + 1):
        match = allow.match(folded, position)
        if match and match.end() >= end:
            return True
    return False
