"""What a context knows, in the form in which claims are compared with it: folded words, amounts, dates, what is denied, the user's past."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache

from common.domain.context import Context, Dealing, PastDealing, ProductMention
from common.domain.product import BRAND, Product
from common.packs.graph import Graph
from common.packs.schema import FactPack
from common.quality.claims.units import Units
from common.text.normalise import fold
from common.text.phrases import PhraseSet

TITLE, CATEGORY = "product.title", "product.category"
_DENIAL = re.compile(
    r"(?:不含|不添加|未添加|无添加|零添加|0添加|没有|不支持|不具备|不带|不可|不能|并非|非|不(?=防)|无(?!线|绳|级|缝|叶|损|极)|零(?!食|售|件)|(?<![\d.])0)(?P<what>[^，。；、,;\s\d/]{1,8})"
)
_NO = re.compile(
    r"(?:无|否|不含有?|不支持|没有|不可用?|不能|不带|不配|不附|不具备|不需要|不包含|不适用|未添加|不添加|无添加|未使用|未检出|未配备?|免|×|✗|no|none|false|0|零)(?:[%gk毫克卡]*(?:/100(?:ml|g|克|毫升))?|添加)?"
)
_ASKED = re.compile(r"^(?:是否|有无|能否)(?:含有?|可以?|支持|添加)?|^含(?=.)|(?:含量|量)$")
"""是否含糖, 酒精含量 -> 糖, 酒精."""
_YES = re.compile(r"(?:有|是|支持|含|可以?|能|√|✓|yes|true)")
_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)(?:[年\-./](?:(1[0-2]|0?[1-9])(?:[月\-./](?:(3[01]|[12]\d|0?[1-9])(?!\d))?)?)?)?(?![\d])")


@lru_cache(maxsize=8192)
def folded(text: str) -> str:
    return fold(text)[0].strip()


@dataclass(frozen=True, slots=True)
class Rest:
    """What a claim rests on, as the catalogue or the log has it."""

    value: str
    product_id: str | None = None
    """Of the user's past."""


@dataclass(frozen=True, slots=True)
class Fact:
    """An amount or a range of amounts, in the smallest unit of its scale."""

    low: Decimal
    high: Decimal
    unit: str
    scale: str
    source: str
    key: str
    shown: str


@dataclass(frozen=True, slots=True)
class KnownMention:
    product_id: str
    title: str
    brand: str | None
    names: frozenset[str]
    """Category and its aliases."""
    category: str


@dataclass(frozen=True, slots=True)
class KnownDealing:
    kind: str
    mention: KnownMention
    source: str
    days: tuple[date, ...] | None
    """None: no day is known, only that it was the last of its kind."""
    times: int | None
    rating: float | None = None


@dataclass(frozen=True, slots=True)
class Known:
    product_id: str
    title: str
    category: str
    everything: str
    """Title, category and attribute values in one folded string, separated by line breaks."""
    texts: tuple[tuple[str, str], ...]
    """(source, what it affirms): values with the words that they deny left out, and the keys of values that say yes."""
    written: tuple[tuple[str, str], ...]
    """(source, key and value as they stand), by which rules are looked up: 无糖 rules sugar out."""
    denied: tuple[tuple[str, str], ...]
    """(source, what it denies): 酒精 of 不含酒精."""
    entailed: Mapping[str, str]
    """Folded word that follows from a fact -> the fact's source."""
    brands: frozenset[str]
    brand_source: str
    values: Mapping[str, str]
    """Folded attribute value -> its source; schema values under their canonical name."""
    own_values: PhraseSet
    deniable: PhraseSet
    """Its own values and keys, and what its facts deny."""
    amounts: tuple[Fact, ...]
    dates: tuple[tuple[str, str, int, int | None, int | None], ...]
    """(source, key, year, month, day)."""
    price: Decimal | None
    currency: str | None
    rating: float | None
    rating_count: int | None
    past: tuple[KnownDealing, ...]
    nouns: tuple[str, ...]
    """What the product and all of the user's past are called: categories and brands, longest first."""
    favourites: frozenset[str]
    review: str
    emotion: str | None
    num_events: int
    on: date | None
    rests: Mapping[str, Rest]
    """Source -> what it holds: every source that a claim may name."""

    def affirms(self, word: str) -> str | None:
        """The source of what says so."""
        return self.entailed.get(word) or next((source for source, text in self.texts if word in text), None)

    def denies(self, word: str) -> str | None:
        return next((source for source, text in self.denied if text.startswith(word) or _within(word, text)), None)


def _within(word: str, text: str) -> bool:
    """Whether a word is a shorter name of what is denied: 糖 of 蔗糖, 荧光剂 of 荧光增白剂."""
    signs = iter(text)
    return text.endswith(word[-1]) and all(sign in signs for sign in word)


def brand_forms(brand: str, aliases: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    """A brand as it may be written: 云栖/YUNQI is known by either half, and by what the pack knows of its writings."""
    parts = [
        folded(part) for part in re.split(r"[/|()（）·]|(?<=[\u4e00-\u9fff])\s*(?=[A-Za-z])|(?<=[A-Za-z])\s*(?=[\u4e00-\u9fff])", brand)
    ]
    own = {part for part in [folded(brand), *parts] if part}
    return frozenset(own | {alias for part in own for alias in aliases.get(part, ())})


def know(
    context: Context,
    *,
    facts: FactPack,
    units: Units,
    synonyms: Mapping[str, str],
    graph: Graph,
    aliases: Mapping[str, tuple[str, ...]],
) -> Known:
    """`synonyms`: folded wording -> folded canonical value, for the product's category; `aliases`: folded writing of a brand -> all."""
    product, behavior = context.product, context.behavior
    title, category = folded(product.title), folded(product.category)
    values: dict[str, str] = {}
    own: set[str] = set()
    keys: set[str] = set()
    amounts: list[Fact] = []
    dates: list[tuple[str, str, int, int | None, int | None]] = []
    texts, denied = [(TITLE, title), (CATEGORY, category)], []
    units_of_keys = _units_of_keys(product, facts)
    for attribute in product.attributes:
        key, value, source = folded(attribute.key), folded(attribute.value), f"product.attributes.{attribute.key}"
        if attribute.key == BRAND:
            continue
        measured = amounts_of(value, units, source, key)
        if not measured and (bare := units.bare(value, unit=units_of_keys.get(attribute.key))):
            measured = [Fact(bare.low, bare.high, bare.unit or "", bare.scale, source, key, value)]
        amounts += measured
        found = _dates(value)
        dates += [(source, key, *parts) for parts in found]
        if _NO.fullmatch(value):
            denied.append((source, _ASKED.sub("", key) or key))
            continue
        keys.update([key] if 2 <= len(key) <= 6 else [])
        affirmed, absent = _told_apart(value)
        texts.append((source, f"{key}{affirmed}{key}" if len(affirmed) <= 8 else f"{key}\n{affirmed}"))
        denied += [(source, what) for what in absent]
        whole = units.find(value)
        if (
            not (len(whole) == 1 and whole[0].unit and (whole[0].start, whole[0].end) == (0, len(value)))
            and not value.replace(".", "").isdigit()
        ):
            values.setdefault(synonyms.get(value, value), source)
            if 2 <= len(value) <= 40 and not _YES.fullmatch(value):
                own.add(value)
    amounts += amounts_of(title, units, TITLE, "")
    affirmed, absent = _told_apart(title, longest=2)
    texts[0] = (TITLE, affirmed)
    denied += [(TITLE, what) for what in absent]
    everything = "\n".join([title, category, *(folded(attribute.value) for attribute in product.attributes)])
    written = ((TITLE, title), *((f"product.attributes.{a.key}", f"{folded(a.key)} {folded(a.value)}") for a in product.attributes))
    mentions = [_mention(one.product, facts) for one in behavior.past] if behavior.past else []
    last = behavior.mentions()
    past = [_dealing(one, mention, last) for one, mention in zip(behavior.past, mentions, strict=True)]
    told = {(dealing.kind, dealing.mention.product_id) for dealing in past}
    past += [
        KnownDealing(kind, _mention(mention, facts), f"user.last_{kind}", None, None)
        for kind, mention in last.items()
        if (kind, mention.product_id) not in told
    ]
    return Known(
        product_id=product.product_id,
        title=title,
        category=category,
        everything=everything,
        texts=tuple(texts),
        denied=tuple(denied),
        written=written,
        entailed=graph.entailed(written),
        brands=brand_forms(product.brand, aliases) if product.brand else frozenset(),
        brand_source=f"product.attributes.{BRAND}",
        values=values,
        own_values=PhraseSet(own),
        deniable=PhraseSet([*own, *keys, *(what for _, what in denied)]),
        amounts=tuple(amounts),
        dates=tuple(dates),
        price=product.price.amount() if product.price else None,
        currency=product.price.currency if product.price else None,
        rating=product.rating,
        rating_count=product.rating_count,
        past=tuple(past),
        nouns=_nouns(category, past),
        favourites=frozenset(map(folded, (*behavior.favourite_categories, *behavior.favourite_brands))),
        review=folded(behavior.last_review_content or ""),
        emotion=behavior.last_review_emotion,
        num_events=behavior.num_events,
        on=context.on,
        rests=_rests(context, past),
    )


def _nouns(category: str, past: list[KnownDealing]) -> tuple[str, ...]:
    names = {category, *(name for one in past for name in (*one.mention.names, one.mention.brand or "") if name)}
    return tuple(sorted(names, key=len, reverse=True))


def aliases_of(brands: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Folded writing of a brand -> all its writings."""
    groups = [tuple(folded(form) for form in (brand, *others)) for brand, others in brands.items()]
    return {form: group for group in groups for form in group}


def _rests(context: Context, past: list[KnownDealing]) -> dict[str, Rest]:
    product, behavior = context.product, context.behavior
    found = {TITLE: Rest(product.title), CATEGORY: Rest(product.category)}
    for attribute in product.attributes:
        source = f"product.attributes.{attribute.key}"
        found[source] = Rest(f"{found[source].value}、{attribute.value}" if source in found else attribute.value)
    if product.price:
        found["product.price"] = Rest(f"{product.price.amount():f} {product.price.currency}")
    if product.rating is not None:
        found["product.rating"] = Rest(f"{product.rating:g}")
    if product.rating_count is not None:
        found["product.rating_count"] = Rest(str(product.rating_count))
    titles = {mention.product_id: mention.title for mention in (*(one.product for one in behavior.past), *behavior.mentions().values())}
    found |= {one.source: Rest(titles[one.mention.product_id], one.mention.product_id) for one in past}
    if favourites := (*behavior.favourite_categories, *behavior.favourite_brands):
        found["user.favourites"] = Rest("、".join(favourites))
    return found


def amounts_of(text: str, units: Units, source: str, key: str) -> list[Fact]:
    return [
        Fact(amount.low, amount.high, amount.unit, amount.scale, source, key, text[amount.start : amount.end])
        for amount in units.find(text)
        if amount.unit
    ]


def _dates(text: str) -> list[tuple[int, int | None, int | None]]:
    return [(int(year), int(month) if month else None, int(day) if day else None) for year, month, day in _DATE.findall(text)]


def _told_apart(value: str, *, longest: int = 8) -> tuple[str, list[str]]:
    """What a value affirms, and what it denies; of a title, whose words follow one another, no more than `longest` characters of either."""
    absent = [part for match in _DENIAL.finditer(value) for part in re.split("[和与及或]", match["what"])]
    return _DENIAL.sub(lambda match: " " + match["what"][longest:], value), absent


def _units_of_keys(product: Product, facts: FactPack) -> dict[str, str]:
    """Key -> unit: of the schema, or in brackets in the key itself (容量(ml))."""
    category = facts.category(product.category)
    schema = {attribute.key: attribute.unit for attribute in category.attributes if attribute.unit} if category else {}
    written = {a.key: match[1] for a in product.attributes if (match := re.search(r"[(（](.{1,6})[)）]$", a.key))}
    return written | schema


def _mention(mention: ProductMention, facts: FactPack) -> KnownMention:
    category = facts.category(mention.category)
    names = {mention.category, *((category.name, *category.aliases) if category else ())}
    return KnownMention(
        product_id=mention.product_id,
        title=folded(mention.title),
        brand=folded(mention.brand) if mention.brand else None,
        names=frozenset(folded(name) for name in names),
        category=folded(mention.category),
    )


def _dealing(one: PastDealing, mention: KnownMention, last: Mapping[Dealing, ProductMention]) -> KnownDealing:
    newest = last.get(one.kind)
    own = newest is not None and newest.product_id == one.product.product_id
    return KnownDealing(
        one.kind, mention, f"user.last_{one.kind}" if own else f"user.{one.kind}.{mention.product_id}", one.days, one.times, one.rating
    )
