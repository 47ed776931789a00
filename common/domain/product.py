"""A product as the catalogue knows it: the only source of facts that a reason may state."""

import hashlib
from datetime import datetime

import orjson
from pydantic import Field

from common.config import Frozen
from common.domain.money import Money

BRAND = "品牌"


class Attribute(Frozen):
    key: str = Field(min_length=1, max_length=40)
    value: str = Field(min_length=1, max_length=200)


class Product(Frozen):
    """Text fields are untrusted: a merchant wrote them."""

    product_id: str = Field(min_length=1, max_length=128)
    title: str = Field(min_length=1, max_length=300)
    category: str = Field(min_length=1, max_length=80, description="leaf category, as a noun that stands in a sentence (蓝牙耳机)")
    attributes: tuple[Attribute, ...] = Field((), max_length=64, description="in catalogue order; keys may repeat")
    price: Money | None = None
    rating: float | None = Field(None, ge=0, le=5, description="mean of customer ratings")
    rating_count: int | None = Field(None, ge=0)
    description: str | None = Field(None, max_length=5000)
    image: str | None = Field(None, max_length=500)
    updated_at: datetime | None = None

    def values(self, key: str) -> tuple[str, ...]:
        """All values of an attribute, in catalogue order."""
        return tuple(attribute.value for attribute in self.attributes if attribute.key == key)

    @property
    def brand(self) -> str | None:
        return next(iter(self.values(BRAND)), None)

    @property
    def revision(self) -> str:
        """16 hex digits that name this state of the product: any field that changes changes them."""
        return hashlib.sha256(orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
