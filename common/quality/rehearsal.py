"""What a policy would do before it counts: whether each rule does what its own examples say, and which texts it would judge otherwise.

Knows neither registry nor bundle.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from common.config import Frozen
from common.domain.context import Context
from common.domain.product import Attribute, Product
from common.packs.knowledge import Breach, CheckableWords, Contradiction, Implication
from common.packs.schema import Pack
from common.quality.compliance import ANYWHERE, Law
from common.quality.lexicon.rule import or_heard
from common.quality.verdict import Checker

_SLOT = re.compile(r"\{.*?\}")


def broken_examples(pack: Pack) -> Iterator[str]:
    """A sentence for each rule that does not do what its examples say, and each template that a rule of its own policy refuses."""
    law, checker = law_of(pack), Checker(pack)
    for rule in pack.lexicon.rules:
        place = f"lexicon: {rule.id}"
        for pattern in (*rule.patterns, *rule.allow):
            try:
                re.compile(or_heard(pattern))
            except re.error as error:
                yield f"{place}: {pattern!r}: cannot be read by sound: {error}"
                return  # nor can any text be looked at as it is heard
        parents = _parents(rule.scope)
        for example in rule.refused:
            if all(hit.id != rule.id for hit, _ in law.hits(example, parents=parents)):
                yield f"{place}: refused: {example!r} is not caught"
        for example in rule.allowed:
            for hit, (start, end) in law.hits(example, parents=parents):
                yield f"{place}: allowed: {example!r} is caught by {hit.id}: {example[start:end]!r}"
    knowledge = pack.knowledge
    claims: tuple[Contradiction | Implication | CheckableWords, ...] = knowledge.contradictions + knowledge.implications
    for claim in claims + knowledge.checkable:
        if claim.breaks and checker.judge(claim.breaks.text, context=_goods(claim.breaks)).checks["facts"].passed:
            yield f"knowledge: {claim.id}: breaks: {claim.breaks.text!r} is taken for true"
    for warning in knowledge.warnings:
        if warning.breaks and checker.judge(warning.breaks.text, context=_goods(warning.breaks)).checks["compliance"].passed:
            yield f"knowledge: {warning.id}: breaks: {warning.breaks.text!r} may be said without {warning.text!r}"
    templates = pack.templates
    for piece in (*templates.history, *templates.topics, *templates.facts, *templates.closings, *templates.last_resort):
        for hit, (start, end) in law.hits(said := _SLOT.sub("", piece.text), parents=_parents(piece.scope)):
            yield f"templates: {piece.id}: is caught by {hit.id}: {said[start:end]!r}"


class Effect(Frozen):
    """A text that one policy shows and another does not."""

    text: str
    would_be: Literal["blocked", "let through"]
    findings: tuple[str, ...]
    """of the policy that refuses it"""


def effects(texts: Iterable[str], *, old: Pack, new: Pack, category: str | None = None) -> Iterator[Effect]:
    """By lexicon and required warnings alone; whether a text is true hangs on its product. `category` None: of goods that nobody knows,
    for which every rule counts and no warning is required."""
    laws = [(law_of(pack), () if category is None else pack.parents(category)) for pack in (old, new)]
    for text in texts:
        before, after = (law.check(text, parents=parents) for law, parents in laws)
        if before.passed and not after.passed:
            yield Effect(text=text, would_be="blocked", findings=after.findings)
        if after.passed and not before.passed:
            yield Effect(text=text, would_be="let through", findings=before.findings)


def law_of(pack: Pack) -> Law:
    return Law(pack.lexicon, warnings=pack.knowledge.warnings)


def _parents(scope: tuple[str, ...]) -> tuple[str, ...]:
    return () if ANYWHERE in scope else scope[:1]


def _goods(breaks: Breach) -> Context:
    attributes = tuple(Attribute(key=key, value=value) for key, value in breaks.attributes.items())
    return Context(product=Product(product_id="example", title=breaks.title, category=breaks.category, attributes=attributes))
