"""Claims in words: brands, kinds of goods, attribute values of the product's own category, and what contradicts what the product is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from common.packs.graph import Graph
from common.packs.schema import CategoryFacts, FactPack
from common.quality.claims.known import TITLE, Known, folded
from common.quality.claims.sight import Sight
from common.text.phrases import PhraseSet

MIN_FOREIGN_CHARS = 4
_THIS = re.compile(r"(?:这|此|该|(?<!日)本).?$")
"""With or without its measure word."""
_CHOSEN = re.compile(r"(?:可以|不妨|就|要|认准|首)*(?:选|挑|买|看)?")
"""Between a kind of goods and the brand that is chosen for it: 充电宝可以选云杉."""

_MAKER = re.compile(
    r"(?P<made>[\u4e00-\u9fff]{2,6})(?:出品|官方旗舰|同门)|(?:来自|出自)(?P<from>[\u4e00-\u9fff]{2,6}?)(?=[，。！？；,!?]|$|的)"
)
"""Names a maker, whether or not the pack knows it."""
_NO_MAKER = re.compile(
    r"(?:自然|内心|生活|之手|之心|自家|良心|用心|诚意|匠心|心底|深处|本身|原料|食材|细节|日常|用料|大厂|工厂|一家|匠人|哪里)$"
)
_BRAND_BEFORE = re.compile(r"(?:选|来自|认准|看看|挑了|推荐|选择|入手|买|信赖|爱上)$")
_BRAND_PLACE = re.compile(r"这[款件副台只支本套盒把条瓶罐包辆盏双块袋]|家的|牌的")


@dataclass(frozen=True, slots=True)
class _Schema:
    """The choice values of one category, in all their wordings."""

    phrases: PhraseSet
    canonical: Mapping[str, str]
    keys: Mapping[str, str]
    wordings: Mapping[str, tuple[str, ...]]


class Names:
    def __init__(
        self, facts: FactPack, *, graph: Graph, aliases: Mapping[str, tuple[str, ...]], open_keys: frozenset[str] = frozenset()
    ) -> None:
        self._open = open_keys
        self._facts, self._graph = facts, graph
        self._brands = PhraseSet([*map(folded, facts.brands), *aliases])
        self._kinds = PhraseSet(folded(name) for category in facts.categories for name in (category.name, *category.aliases))
        self._schemas = {category.name: _schema(category, facts) for category in facts.categories}
        self._nothing = _Schema(PhraseSet(()), {}, {}, {})
        self._foreign = {name: _foreign(schema, self._schemas) for name, schema in self._schemas.items()}
        self._refuted = PhraseSet(graph.deniable | graph.unless)

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

        for match in _MAKER.finditer(sight.text):
            start, end = match.span("made") if match["made"] else match.span("from")
            name = sight.text[start:end]
            if not sight.free(start, end) or _NO_MAKER.search(name) or known.affirms(name) or any(name.endswith(b) for b in known.brands):
                continue
            sight.claim("brand", start, end, source=None, reason=f"the product's brand is {'/'.join(sorted(known.brands)) or 'not known'}")
        self._find_misspelt(sight, known)

    def _find_misspelt(self, sight: Sight, known: Known) -> None:
        """What shares all but one of the brand's characters, where a brand stands (云溪这款 for 云栖)."""
        for place in _BRAND_PLACE.finditer(sight.text):
            for brand in known.brands:
                start, name = place.start() - len(brand), sight.text[max(0, place.start() - len(brand)) : place.start()]
                same = sum(one == other for one, other in zip(name, brand, strict=False))
                if len(name) == len(brand) >= 2 and same == len(brand) - 1 and not known.affirms(name) and sight.free(start, place.start()):
                    sight.claim("brand", start, place.start(), source=None, reason=f"the product's brand is {brand}")
        for brand in known.brands:
            if len(brand) < 2 or brand.isascii():
                continue
            for start in _alike(sight.text, brand):
                name, end = sight.text[start : start + len(brand)], start + len(brand)
                placed = not sight.clause_before(start) or _BRAND_BEFORE.search(sight.text, 0, start)
                rest = sight.text[end:]
                follows = rest.removeprefix("的").startswith((known.category, known.category[-2:])) or rest.startswith(("家", "牌", "出品"))
                if (len(brand) > 2 or (placed and follows)) and not known.affirms(name) and sight.free(start, end):
                    sight.claim("brand", start, end, source=None, reason=f"the product's brand is {brand}")

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
        for hit in self._refuted.find(sight.text):
            if not sight.free(hit.start, hit.end) or known.affirms(hit.phrase):
                continue
            if there := self._graph.refuted(hit.phrase, known.written, known.entailed):
                sight.claim("attribute", hit.start, hit.end, source=None, reason=there[1])

    def wordings(self, category: str) -> PhraseSet:
        """All that a choice of this category may be called."""
        return self._schema(category).phrases

    def other_value(self, word: str, known: Known, *, category: str) -> str | None:
        """The source of another value of the attribute that `word` is a value of: what is 奶油白 is not 曜石黑."""
        schema = self._schema(category)
        key = schema.keys.get(schema.canonical.get(word, word))
        if key in self._open:
            return None
        return next((source for value, source in known.values.items() if key is not None and schema.keys.get(value) == key), None)

    def _schema(self, category: str) -> _Schema:
        known = self._facts.category(category)
        return self._schemas[known.name] if known else self._nothing


def _alike(text: str, brand: str) -> list[int]:
    """Where a name begins that has all but one of the brand's characters in their places."""
    counts: dict[int, int] = {}
    for place, sign in enumerate(brand):
        position = text.find(sign)
        while position >= 0:
            counts[position - place] = counts.get(position - place, 0) + 1
            position = text.find(sign, position + 1)
    return [start for start, same in counts.items() if same == len(brand) - 1 and 0 <= start <= len(text) - len(brand)]


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
