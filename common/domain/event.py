"""What a user did with a product, and when."""

from enum import StrEnum

from pydantic import AwareDatetime, Field

from common.config import Frozen


class EventKind(StrEnum):
    VIEW = "view"
    CLICK = "click"
    CART = "cart"
    PURCHASE = "purchase"
    REVIEW = "review"


class Event(Frozen):
    event_id: str = Field(min_length=1, max_length=128)
    user_id: str = Field(min_length=1, max_length=128)
    product_id: str = Field(min_length=1, max_length=128)
    kind: EventKind
    at: AwareDatetime
    rating: float | None = Field(None, ge=1, le=5, description="of a review")
    text: str | None = Field(None, max_length=5000, description="of a review; untrusted")
