"""What a context knows, in the form in which claims are compared with it: folded words, exact quantities, the user's past."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from common.domain.context import Context, ProductMention
from common.domain.product import BRAND, Product
from common.packs.schema import FactPack
from common.quality.claims.units import Units
from common.text.normalise import fold
from common.text.phrases import PhraseSet

TITLE = "product.title"


def folded(text: str) -> str:
    return fold(text)[0].strip()


@dataclass(frozen=True, slots=True)
class KnownMention:
    product_id: str
    title: str
    brand: str | None
    names: frozenset[str]
    """Category and its aliases."""


@dataclass(frozen=True, slots=True)
class Known:
    product_id: str
    title: str
    category: str
    everything: str
    """Title, category and attribute values in one folded string, separated by line breaks."""
    brands: frozenset[str]
    brand_source: str
    values: Mapping[str, str]
    """Folded attribute value -> its source; schema values under their canonical name."""
    own_values: PhraseSet
    quantities: Mapping[tuple[Decimal, str], str]
    """(value, canonical unit) -> source."""
    price: Decimal | None
    currency: str | None
    rating: float | None
    rating_count: int | None
    mentions: Mapping[str, KnownMention]
    num_events: int


def brand_forms(brand: str) -> frozenset[str]:
    """A brand as it may be written: 云栖/YUNQI is known by either half."""
    parts = [folded(part) for part in re.split(r"[/|()（）·]", brand)]
    return frozenset(part for part in [folded(brand), *parts] if part)


def know(context: Context, *, facts: FactPack, units: Units, synonyms: Mapping[str, str]) -> Known:
    """`synonyms`: folded wording -> folded canonical value, for the product's category."""
    product = context.product
    title = folded(product.title)
    values: dict[str, str] = {}
    own: set[str] = set()
    quantities: dict[tuple[Decimal, str], str] = {}
    units_of_keys = _units_of_keys(product, facts)
    for attribute in product.attributes:
        value, source = folded(attribute.value), f"product.attributes.{attribute.key}"
        if attribute.key == BRAND:
            continue
        measured = units.quantities(value) or units.bare(value, unit=units_of_keys.get(attribute.key))
        for quantity in measured:
            quantities.setdefault(quantity, source)
        if not units.is_quantity(value) and not value.replace(".", "").isdigit():
            values.setdefault(synonyms.get(value, value), source)
            if 2 <= len(value) <= 40:
                own.add(value)
    for quantity in units.quantities(title):
        quantities.setdefault(quantity, TITLE)
    everything = "\n".join([title, folded(product.category), *(folded(attribute.value) for attribute in product.attributes)])
    return Known(
        product_id=product.product_id,
        title=title,
        category=folded(product.category),
        everything=everything,
        brands=brand_forms(product.brand) if product.brand else frozenset(),
        brand_source=f"product.attributes.{BRAND}",
        values=values,
        own_values=PhraseSet(own),
        quantities=quantities,
        price=product.price.amount() if product.price else None,
        currency=product.price.currency if product.price else None,
        rating=product.rating,
        rating_count=product.rating_count,
        mentions={kind: _mention(mention, facts) for kind, mention in context.behavior.mentions().items()},
        num_events=context.behavior.num_events,
    )


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
    )
