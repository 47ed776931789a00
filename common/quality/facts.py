"""Whether what a text claims is known: claimed ⊆ known, for the product and for the user's past. Knows nothing of style, law or fluency."""

from collections import OrderedDict
from collections.abc import Iterable

from common.domain.context import BehaviorSummary, Context
from common.domain.product import BRAND, Product
from common.domain.reason import CheckResult, Claim
from common.packs.graph import Graph
from common.packs.knowledge import Knowledge
from common.packs.schema import FactPack
from common.quality.claims.amounts import Amounts
from common.quality.claims.comparisons import Comparisons
from common.quality.claims.customer import Customer
from common.quality.claims.dates import Dates
from common.quality.claims.history import History
from common.quality.claims.known import CATEGORY, TITLE, Known, aliases_of, folded, know
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

    def wishes(self, query: str, product: Product) -> tuple[str, ...]:
        """Facts of the product that a query asks for: those that it would truly claim as a text, and attributes that it names.

        A fact is its place (product.price, product.attributes.续航), with the value where several stand there
        (product.attributes.颜色=奶油白). Of two spellings of a query the facts are the same.
        """
        asked = folded(query)
        keys = {attribute.key for attribute in product.attributes if attribute.key != BRAND and len(attribute.key) > 1}
        named = {f"product.attributes.{key}" for key in keys if folded(key) in asked}
        claims = self.find(query, context=Context(product=product))
        return tuple(sorted(named | self._spoken_of(query, claims, product)))

    def met(self, text: str, *, context: Context, claims: tuple[Claim, ...] | None = None) -> tuple[str, ...]:
        """Of the context's wishes, those of which a text truly speaks; `claims` are the text's, where they were found already."""
        if not context.wished:
            return ()
        spoken = self._spoken_of(text, self.find(text, context=context) if claims is None else claims, context.product)
        return tuple(fact for fact in context.wished if any(other == fact or other.startswith(f"{fact}=") for other in spoken))

    def _spoken_of(self, text: str, claims: Iterable[Claim], product: Product) -> set[str]:
        canonical, category = self._names.synonyms(product.category), self._facts.category(product.category)
        names = {product.category, *((category.name, *category.aliases) if category else ())}
        found = {CATEGORY} if any(folded(name) in folded(text) for name in names) else set()
        for claim in claims:
            if claim.supported and claim.source and claim.source.startswith("product."):
                word, values = folded(claim.text), product.values(claim.source.removeprefix("product.attributes."))
                several = claim.source == TITLE or len(values) > 1
                found.add(f"{claim.source}={canonical.get(word, word)}" if several else claim.source)
        return found

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
