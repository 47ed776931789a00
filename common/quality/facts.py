"""Whether what a text claims is known: claimed ⊆ known, for the product and for the user's past. Knows nothing of style, law or fluency."""

from collections import OrderedDict

from common.domain.context import BehaviorSummary, Context
from common.domain.product import Product
from common.domain.reason import CheckResult, Claim
from common.packs.graph import Graph
from common.packs.knowledge import Knowledge
from common.packs.schema import FactPack
from common.quality.claims.amounts import Amounts
from common.quality.claims.comparisons import Comparisons
from common.quality.claims.customer import Customer
from common.quality.claims.dates import Dates
from common.quality.claims.history import History
from common.quality.claims.known import Known, aliases_of, know
from common.quality.claims.names import Names
from common.quality.claims.ratings import Ratings
from common.quality.claims.sight import Sight
from common.quality.claims.units import Units
from common.quality.claims.words import Words

REMEMBERED = 256
"""Contexts whose facts are kept ready: the candidates of a page ask for the same ones again and again."""


class FactFinder:
    """The fact data of a pack, compiled once."""

    def __init__(self, facts: FactPack, *, knowledge: Knowledge | None = None) -> None:
        knowledge = knowledge or Knowledge(version="", taxonomy={})
        self._facts, speech = facts, knowledge.speech
        self._aliases = aliases_of(knowledge.brands)
        self._graph = Graph(facts, knowledge=knowledge)
        self._units = Units(facts, speech=speech)
        self._dates = Dates(speech)
        self._customer = Customer(facts)
        self._history = History(facts, speech=speech, dates=self._dates)
        self._comparisons = Comparisons(speech, units=self._units)
        self._amounts = Amounts(facts, units=self._units, speech=speech)
        self._ratings = Ratings(facts, units=self._units)
        self._names = Names(facts, graph=self._graph, aliases=self._aliases, open_keys=frozenset(knowledge.open_keys))
        self._words = Words(knowledge, graph=self._graph, names=self._names, units=self._units)
        self._remembered: OrderedDict[tuple[int, int, object], tuple[Product, BehaviorSummary, Known]] = OrderedDict()

    def find(self, text: str, *, context: Context) -> tuple[Claim, ...]:
        """All claims in the order in which they stand in the text. Who comes first says what a place means."""
        known, category = self._known(context), context.product.category
        sight = Sight(text, known.rests)
        if not sight.text:
            return ()
        amounts = self._amounts.read(sight)
        self._customer.find(sight, known)
        self._history.find(sight, known)
        self._customer.find_unknown(sight, known)
        self._comparisons.find(sight, known, amounts)
        self._dates.find(sight, known)
        self._words.find_denials(sight, known, category=category)
        self._words.find_numbered(sight, known)
        self._ratings.find(sight, known, amounts)
        self._amounts.find_prices(sight, known, amounts)
        self._names.find_values(sight, known, category=category)
        self._amounts.find_quantities(sight, known, amounts)
        self._names.find_brands(sight, known)
        self._names.find_kinds(sight, known, category=category)
        self._names.find_contradictions(sight, known)
        self._names.find_foreign_values(sight, known, category=category)
        self._words.find(sight, known, category=category)
        self._words.find_latin(sight, known)
        self._words.find_contents(sight, known)
        return tuple(sorted(sight.claims, key=lambda claim: claim.span))

    def _known(self, context: Context) -> Known:
        key = (id(context.product), id(context.behavior), context.on)
        remembered = self._remembered.get(key)
        if remembered is not None:
            return remembered[2]
        synonyms = self._names.synonyms(context.product.category)
        known = know(context, facts=self._facts, units=self._units, synonyms=synonyms, graph=self._graph, aliases=self._aliases)
        self._remembered[key] = (context.product, context.behavior, known)  # while they are kept, no other object has their id
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return known


def find_claims(text: str, *, context: Context, facts: FactPack) -> tuple[Claim, ...]:
    """One text; for many keep a `FactFinder`."""
    return FactFinder(facts).find(text, context=context)


def check_facts(claims: tuple[Claim, ...]) -> CheckResult:
    """Passes when every claim is supported, and by a fact that the context has."""
    findings = tuple(
        f"{claim.kind} “{claim.text}” at {claim.span[0]} is not known: {claim.reason}" for claim in claims if not claim.supported
    )
    return CheckResult(name="facts", passed=not findings, findings=findings)
