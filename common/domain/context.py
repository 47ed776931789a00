"""Everything a reason is written from: the product, what is known of the user, the codes. A prompt is made of this and nothing else."""

from datetime import date
from typing import Literal

from pydantic import Field

from common.config import Frozen
from common.domain.constraints import Constraints
from common.domain.controls import Controls
from common.domain.product import Product

Emotion = Literal["positive", "neutral", "negative"]
Dealing = Literal["viewed", "clicked", "carted", "purchased", "reviewed"]


class ProductMention(Frozen):
    """A product of the user's past, as far as a sentence can name it."""

    product_id: str
    title: str
    category: str
    brand: str | None = None


class PastDealing(Frozen):
    """What the user did with one product: how often, and on which days."""

    kind: Dealing
    product: ProductMention
    days: tuple[date, ...] = Field(min_length=1, description="latest first, those of the shop; the newest few")
    times: int = Field(ge=1)
    rating: float | None = Field(None, description="of the latest review")


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
    past: tuple[PastDealing, ...] = Field(
        (),
        exclude_if=lambda past: not past,  # manifests from before it was there keep their ids
        description="by kind and product, latest first; no prompt tells it, claims are held against it",
    )

    def mentions(self) -> dict[Dealing, ProductMention]:
        """viewed|clicked|carted|purchased|reviewed -> the product, where there is one."""
        found: dict[Dealing, ProductMention | None] = {
            "viewed": self.last_viewed,
            "clicked": self.last_clicked,
            "carted": self.last_carted,
            "purchased": self.last_purchased,
            "reviewed": self.last_reviewed,
        }
        return {kind: mention for kind, mention in found.items() if mention is not None}


class Context(Frozen):
    product: Product
    behavior: BehaviorSummary = BehaviorSummary()
    controls: Controls = Field(default_factory=dict)
    persona: str | None = Field(None, max_length=80)
    channel: str | None = Field(None, max_length=32)
    on: date | None = Field(
        None,
        exclude_if=lambda on: on is None,
        description="day of the shop on which it is shown; None: when something was done (上周看过的) is not checked",
    )
    constraints: Constraints = Field(Constraints(), exclude_if=lambda asked: asked == Constraints(), description="no prompt tells them")
    wished: tuple[str, ...] = Field(
        (),
        exclude_if=lambda wished: not wished,
        description="facts of the product that a query asks for (product.price, product.attributes.颜色=奶油白); no prompt tells them",
    )
