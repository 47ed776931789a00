"""Whether a text may be shown under advertising law: a pack's lexicon, required warnings, and no person's data. Knows no fact."""

from collections.abc import Collection, Iterator

from common.domain.reason import CheckResult, Span
from common.packs.knowledge import RequiredWarning
from common.packs.lexicon import Lexicon, LexiconRule
from common.quality.lexicon.index import Index
from common.quality.lexicon.reading import Reader
from common.quality.lexicon.rule import Compiled
from common.text.normalise import fold
from common.text.personal import MASK, find
from common.text.pinyin import sound

ANYWHERE = "all"


class Law:
    """A lexicon and the required warnings, compiled once."""

    def __init__(self, lexicon: Lexicon, *, warnings: tuple[RequiredWarning, ...] = ()) -> None:
        contexts = {context.id: context for context in lexicon.contexts}
        self._rules = [Compiled(rule, contexts=contexts) for rule in lexicon.rules]
        self._index = Index(lexicon.rules)
        written = frozenset("".join(pattern for rule in lexicon.rules for pattern in rule.patterns))
        self._reader = Reader(lexicon.disguises, alphabet=frozenset(character for character in written if sound(character)))
        self._warnings = warnings

    def check(self, text: str, *, parents: Collection[str]) -> CheckResult:
        """`parents` are the category's; where nobody knows any, every rule counts. A rule for review fails too: nobody has agreed yet."""
        findings = []
        for rule, span in self.hits(text, parents=parents):
            verb = "is refused" if rule.level == "block" else "needs a person's review"
            findings.append(f"“{text[span[0] : span[1]]}” at {span[0]} {verb}: {rule.id}, {rule.basis}, {rule.why}")
        findings += [f"“{MASK}” at {start} is refused: a person's data, 《个人信息保护法》第十条" for start, _ in find(text)]
        for warning in self.warnings(parents):
            if fold(warning.text)[0] not in fold(text)[0]:
                findings.append(f"“{warning.text}” is missing: {warning.id}, {warning.basis}")
        return CheckResult(name="compliance", passed=not findings, findings=tuple(findings))

    def lawful(self, text: str, *, parents: Collection[str]) -> bool:
        """Whether no rule is hit; for a piece of a text, which need not hold the warnings."""
        return next(self.hits(text, parents=parents), None) is None and not find(text)

    def hits(self, text: str, *, parents: Collection[str]) -> Iterator[tuple[LexiconRule, Span]]:
        """At most one a rule, in the lexicon's order, with its place in the text as shown."""
        readings = self._reader.readings(text)
        may_hit = [self._index.rules(reading.text) for reading in readings]
        for number in sorted(set().union(*may_hit)):
            compiled = self._rules[number]
            if not _applies(compiled.rule, parents):
                continue
            for reading, numbers in zip(readings, may_hit, strict=True):
                if number in numbers and (place := compiled.hit(reading, numbers[number], as_heard=reading is not readings[0])):
                    yield compiled.rule, reading.shown(*place)
                    break

    def warnings(self, parents: Collection[str]) -> tuple[RequiredWarning, ...]:
        """What must stand in every text about such goods."""
        return tuple(warning for warning in self._warnings if set(parents) & set(warning.scope))


def check_compliance(text: str, *, parents: Collection[str], lexicon: Lexicon) -> CheckResult:
    """One text; for many keep a `Law`."""
    return Law(lexicon).check(text, parents=parents)


def _applies(rule: LexiconRule, parents: Collection[str]) -> bool:
    """Goods that may be of two kinds fall under the law of both."""
    return not parents or any(parent not in rule.exempt and (ANYWHERE in rule.scope or parent in rule.scope) for parent in parents)
