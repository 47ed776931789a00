"""Everything a reason is written from: the product, what is known of the user, the codes. A prompt is made of this and nothing else."""

from typing import Literal

from pydantic import Field

from common.config import Frozen
from common.domain.controls import Controls
from common.domain.product import Product

Emotion = Literal["positive", "neutral", "negative"]


class ProductMention(Frozen):
    """A product of the user's past, as far as a sentence can name it."""

    product_id: str
    title: str
    category: str
    brand: str | None = None


class BehaviorSummary(Frozen):
    """A user's events up to a moment, as the prompt tells them. All fields None or empty: a user with no history."""

    last_viewed: ProductMention | None = None
    last_clicked: ProductMention | None = None
    last_carted: ProductMention | None = None
    last_purchased: ProductMention | None = None
    last_reviewed: ProductMention | None = None
    last_review_emotion: Emotion | None = Field(None, description="of the review's rating, or of its text where it has none")
    last_review_content: str | None = Field(None, max_length=5000, description="untrusted")
    favourite_categories: tuple[str, ...] = Field((), description="most frequent first, at most 3")
    favourite_brands: tuple[str, ...] = Field((), description="most frequent first, at most 3")
    num_events: int = Field(0, ge=0, description="events the summary was made from")

    def mentions(self) -> dict[str, ProductMention]:
        """viewed|clicked|carted|purchased|reviewed -> the product, where there is one."""
        found = {kind: getattr(self, f"last_{kind}") for kind in ("viewed", "clicked", "carted", "purchased", "reviewed")}
        return {kind: mention for kind, mention in found.items() if mention is not None}


class Context(Frozen):
    product: Product
    behavior: BehaviorSummary = BehaviorSummary()
    controls: Controls = Field(default_factory=dict)
    persona: str | None = Field(None, max_length=80)
    channel: str | None = Field(None, max_length=32)
