"""Claims in words: brands, kinds of goods, attribute values of the product's own category, and what contradicts what the product is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from common.packs.schema import CategoryFacts, Contradiction, FactPack, Knowledge
from common.quality.claims.known import TITLE, Known, folded
from common.quality.claims.sight import Sight
from common.text.phrases import PhraseSet

MIN_FOREIGN_CHARS = 4
_THIS = re.compile(r"(?:这|此|该|(?<!日)本).?$")
"""With or without its measure word."""
_CHOSEN = re.compile(r"(?:可以|不妨|就|要|认准|首)*(?:选|挑|买|看)?")
"""Between a kind of goods and the brand that is chosen for it: 充电宝可以选云杉."""


@dataclass(frozen=True, slots=True)
class _Schema:
    """The choice values of one category, in all their wordings."""

    phrases: PhraseSet
    canonical: Mapping[str, str]
    keys: Mapping[str, str]
    wordings: Mapping[str, tuple[str, ...]]


class Names:
    def __init__(self, facts: FactPack, *, knowledge: Knowledge | None) -> None:
        self._facts = facts
        self._brands = PhraseSet(folded(brand) for brand in facts.brands)
        self._kinds = PhraseSet(folded(name) for category in facts.categories for name in (category.name, *category.aliases))
        self._schemas = {category.name: _schema(category, facts) for category in facts.categories}
        self._nothing = _Schema(PhraseSet(()), {}, {}, {})
        self._foreign = {name: _foreign(schema, self._schemas) for name, schema in self._schemas.items()}
        self._contradictions: tuple[Contradiction, ...] = knowledge.contradictions if knowledge else ()
        refuted = {folded(word) for c in self._contradictions for word in (*c.refuted, *c.unless)}
        self._refuted = PhraseSet(refuted)

    def synonyms(self, category: str) -> Mapping[str, str]:
        """Folded wording -> folded canonical value."""
        return self._schema(category).canonical

    def find_values(self, sight: Sight, known: Known, *, category: str) -> None:
        schema = self._schema(category)
        found = schema.phrases.find(sight.text) + known.own_values.find(sight.text)
        for hit in sorted(found, key=lambda hit: (hit.start - hit.end, hit.start)):
            if not sight.free(hit.start, hit.end):
                continue
            value = schema.canonical.get(hit.phrase, hit.phrase)
            source = known.values.get(value)
            if source is None and any(wording in known.title for wording in schema.wordings.get(value, (value,))):
                source = TITLE
            reason = None
            if source is None:
                key = schema.keys.get(value)
                there = [known_value for known_value in known.values if schema.keys.get(known_value) == key]
                reason = f"the product's {key} is {', '.join(there)}" if there else f"the product has no {key or 'attribute'} {value}"
            sight.claim("attribute", hit.start, hit.end, source=source, reason=reason)

    def find_foreign_values(self, sight: Sight, known: Known, *, category: str) -> None:
        """What only goods of other categories can be (铝合金外壳 of a book); short words are left alone: they are ordinary ones."""
        own = self._facts.category(category)
        if own is None:
            return
        for hit in self._foreign[own.name].find(sight.text):
            if sight.free(hit.start, hit.end) and hit.phrase not in known.everything:
                sight.claim("attribute", hit.start, hit.end, source=None, reason=f"no {own.name} has {hit.phrase}")

    def find_brands(self, sight: Sight, known: Known) -> None:
        own = PhraseSet(known.brands)
        found = own.find(sight.text) + self._brands.find(sight.text)
        for hit in sorted(found, key=lambda hit: (hit.start - hit.end, hit.start)):
            if not sight.free(hit.start, hit.end):
                continue
            if hit.phrase in known.brands:
                sight.claim("brand", hit.start, hit.end, source=known.brand_source)
            elif hit.phrase in known.title:
                sight.claim("brand", hit.start, hit.end, source=TITLE)
            else:
                reason = f"the product's brand is {'/'.join(sorted(known.brands))}" if known.brands else "the product's brand is not known"
                sight.claim("brand", hit.start, hit.end, source=None, reason=reason)

    def find_kinds(self, sight: Sight, known: Known, *, category: str) -> None:
        """What the text calls the product: the noun behind its brand or 这个, or before the brand that is to be chosen.

        Only what is wrong is a claim; other goods that are named beside it (配跑鞋) say nothing of what it is.
        """
        own = self._facts.category(category)
        names = {folded(name) for name in (own.name, *own.aliases)} if own else set()
        for hit in self._kinds.find(sight.text):
            if hit.phrase in names or hit.phrase in known.everything or not sight.free(hit.start, hit.end):
                continue
            before, after = sight.text[: hit.start], _CHOSEN.match(sight.text, hit.end)
            chosen = after is not None and any(sight.text.startswith(brand, after.end()) for brand in known.brands)
            if chosen or _THIS.search(before) or any(before.endswith(brand) for brand in known.brands):
                sight.claim("category", hit.start, hit.end, source=None, reason=f"the product is a {known.category}")

    def find_contradictions(self, sight: Sight, known: Known) -> None:
        hits = [hit for hit in self._refuted.find(sight.text) if sight.free(hit.start, hit.end)]
        for hit in hits:
            for contradiction in self._contradictions:
                words = {folded(word) for word in contradiction.refuted}
                if hit.phrase not in words or hit.phrase in known.everything or not sight.free(hit.start, hit.end):
                    continue
                fact = next((word for word in contradiction.known if folded(word) in known.everything), None)
                if fact is not None:
                    sight.claim("attribute", hit.start, hit.end, source=None, reason=f"the product is {fact}: {contradiction.why}")

    def _schema(self, category: str) -> _Schema:
        known = self._facts.category(category)
        return self._schemas[known.name] if known else self._nothing


def _foreign(schema: _Schema, schemas: Mapping[str, _Schema]) -> PhraseSet:
    values = {value for other in schemas.values() for value in other.wordings if len(value) >= MIN_FOREIGN_CHARS}
    return PhraseSet(value for value in values if not any(value in wording or wording in value for wording in schema.canonical))


def _schema(category: CategoryFacts, facts: FactPack) -> _Schema:
    canonical: dict[str, str] = {}
    keys: dict[str, str] = {}
    wordings: dict[str, tuple[str, ...]] = {}
    for attribute in category.attributes:
        for value in attribute.values:
            name = folded(value)
            forms = (name, *(folded(synonym) for synonym in facts.synonyms.get(value, ())))
            wordings[name] = forms
            keys[name] = attribute.key
            for form in forms:
                canonical.setdefault(form, name)
    for name in wordings:  # a value's own name outranks another's synonym
        canonical[name] = name
    return _Schema(PhraseSet(canonical), canonical, keys, wordings)
