"""What must not be shown any more, and who said so: a product, a seller's goods, a phrase, or one content. Pure.

Orders are numbered and only ever added; what lifts an order is one too.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, TypeAdapter, model_validator

from common.config import Frozen
from common.domain.product import Product
from common.text.normalise import fold

SELLER_KEYS = ("卖家", "商家", "店铺", "seller")
"""Attributes of a product that name who sells it."""
Kind = Literal["product", "seller", "phrase", "content"]


class _Order(Frozen):
    by: str = Field(min_length=1, max_length=100, description="who ordered it")
    at: AwareDatetime
    why: str = Field("", max_length=500)


class Takedown(_Order):
    order: Literal["takedown"] = "takedown"
    kind: Kind = Field(
        description="product: its id; seller: as an attribute of products names it; phrase: in any text; content: a produce_id"
    )
    value: str = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def _can_match(self) -> "Takedown":
        if self.kind == "phrase" and len(_bare(self.value)) < 2:
            raise ValueError(f"value: got {self.value!r}; a phrase of fewer than two letters or characters would be in half of all texts")
        return self


class Lift(_Order):
    order: Literal["lift"] = "lift"
    number: int = Field(ge=1, description="of the takedown that is over")


Order = Takedown | Lift
_ORDER: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="order")])


def read_order(data: bytes) -> Order:
    """Raises pydantic's ValidationError."""
    return _ORDER.validate_json(data)


@dataclass(frozen=True, slots=True)
class Standing:
    """The orders up to a number, as they stand: what was lifted is not in it."""

    last: int = 0
    takedowns: dict[int, Takedown] = field(default_factory=dict)
    _by_value: dict[tuple[Kind, str], int] = field(default_factory=dict)
    _phrases: tuple[tuple[str, int], ...] = ()
    """found once an order, not once a text"""

    def after(self, orders: Iterable[Order | None]) -> "Standing":
        """With further orders, numbered on from `last`. None: one that could not be read; it changes nothing."""
        takedowns, last = dict(self.takedowns), self.last
        for last, order in enumerate(orders, self.last + 1):
            if isinstance(order, Takedown):
                takedowns[last] = order
            elif order is not None:
                takedowns.pop(order.number, None)
        by_value: dict[tuple[Kind, str], int] = {(one.kind, _matched(one)): number for number, one in takedowns.items()}
        phrases = tuple((value, number) for (kind, value), number in by_value.items() if kind == "phrase")
        return Standing(last, takedowns, by_value, phrases)

    def of_product(self, product: Product) -> int | None:
        """Number of the order by which nothing is said of this product, or None."""
        sellers = (attribute.value.strip() for attribute in product.attributes if attribute.key in SELLER_KEYS)
        asked: list[tuple[Kind, str]] = [("product", product.product_id), *(("seller", seller) for seller in sellers)]
        return next((self._by_value[one] for one in asked if one in self._by_value), None)

    def of_product_id(self, product_id: str) -> int | None:
        """Of a product of which nothing but its id is known."""
        return self._by_value.get(("product", product_id))

    def of_shown(self, *, product_id: str, text: str, produce_id: str) -> int | None:
        """Of what was shown once, by all that is still known of it then."""
        asked: list[tuple[Kind, str]] = [("product", product_id), ("content", produce_id)]
        return next((self._by_value[one] for one in asked if one in self._by_value), None) or self.of_text(text)

    def of_text(self, text: str) -> int | None:
        """Number of the order against a phrase of this text, or None; spaces, signs and what shows nothing are looked through."""
        if not self._phrases:
            return None
        bare = _bare(text)
        return next((number for value, number in self._phrases if value in bare), None)

    def of_content(self, produce_id: str) -> int | None:
        return self._by_value.get(("content", produce_id))

    def has(self, kind: Kind) -> bool:
        return any(one.kind == kind for one in self.takedowns.values())


def _matched(order: Takedown) -> str:
    return _bare(order.value) if order.kind == "phrase" else order.value.strip()


def _bare(text: str) -> str:
    return "".join(character for character in fold(text)[0] if character.isalnum())
