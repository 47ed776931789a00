"""Whether what a text claims is known: claimed ⊆ known, for the product and for the user's past. Knows nothing of style, law or fluency."""

from collections import OrderedDict

from common.domain.context import BehaviorSummary, Context
from common.domain.product import Product
from common.domain.reason import CheckResult, Claim
from common.packs.schema import FactPack, Knowledge
from common.quality.claims.amounts import Amounts
from common.quality.claims.history import History
from common.quality.claims.known import Known, know
from common.quality.claims.names import Names
from common.quality.claims.sight import Sight
from common.quality.claims.units import Units

REMEMBERED = 256
"""Contexts whose facts are kept ready: the candidates of a page ask for the same ones again and again."""


class FactFinder:
    """The fact data of a pack, compiled once."""

    def __init__(self, facts: FactPack, *, knowledge: Knowledge | None = None) -> None:
        self._facts = facts
        self._units = Units(facts)
        self._amounts = Amounts(facts, units=self._units)
        self._history = History(facts)
        self._names = Names(facts, knowledge=knowledge)
        self._remembered: OrderedDict[tuple[Product, BehaviorSummary], Known] = OrderedDict()

    def find(self, text: str, *, context: Context) -> tuple[Claim, ...]:
        """All claims in the order in which they stand in the text."""
        known = self._known(context)
        sight = Sight(text)
        if not sight.text:
            return ()
        self._history.find(sight, known)
        self._amounts.find(sight, known)
        self._names.find_values(sight, known, category=context.product.category)
        self._amounts.find_quantities(sight, known)
        self._names.find_brands(sight, known)
        self._names.find_kinds(sight, known, category=context.product.category)
        self._names.find_contradictions(sight, known)
        self._names.find_foreign_values(sight, known, category=context.product.category)
        return tuple(sorted(sight.claims, key=lambda claim: claim.span))

    def _known(self, context: Context) -> Known:
        key = (context.product, context.behavior)
        known = self._remembered.get(key)
        if known is None:
            synonyms = self._names.synonyms(context.product.category)
            known = know(context, facts=self._facts, units=self._units, synonyms=synonyms)
            self._remembered[key] = known
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        return known


def find_claims(text: str, *, context: Context, facts: FactPack) -> tuple[Claim, ...]:
    """One text; for many keep a `FactFinder`."""
    return FactFinder(facts).find(text, context=context)


def check_facts(claims: tuple[Claim, ...]) -> CheckResult:
    """Passes when every claim is supported."""
    findings = tuple(
        f"{claim.kind} “{claim.text}” at {claim.span[0]} is not known: {claim.reason}" for claim in claims if not claim.supported
    )
    return CheckResult(name="facts", passed=not findings, findings=findings)
