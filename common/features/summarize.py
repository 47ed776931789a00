"""Events up to a moment -> what a prompt may tell of a user. Knows no user and no clock; nothing at or after the moment is seen."""

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta, timezone

from common.domain.context import BehaviorSummary, Dealing, Emotion, PastDealing, ProductMention
from common.domain.event import Event, EventKind
from common.domain.product import Product

NUM_FAVOURITES = 3
NUM_DEALINGS = 24
NUM_DAYS = 6
"""Of one dealing."""
SHOP_TIME = timezone(timedelta(hours=8))
DEALINGS: Mapping[EventKind, Dealing] = {
    EventKind.VIEW: "viewed",
    EventKind.CLICK: "clicked",
    EventKind.CART: "carted",
    EventKind.PURCHASE: "purchased",
    EventKind.REVIEW: "reviewed",
}

POSITIVE = re.compile(
    "不错|很好|超好|真好|好用|好吃|好看|好听|满意|喜欢|优秀|实惠|流畅|舒服|舒适|漂亮|大方|推荐|值得|惊喜|赞|棒|精致|方便|"
    "划算|性价比高|清晰|耐用|结实|给力|回购|开心|完美|放心|新鲜|香"
)
NEGATIVE = re.compile(
    "差|坏|失望|后悔|垃圾|难用|难吃|难看|难闻|难受|退货|退款|卡顿|破损|异味|掉色|起球|噪音大|太贵|不值|漏|发霉|粗糙|劣质|"
    "敷衍|糟|假货|生气|一般般|不行|没用|褪色|变形|开裂|断了|松动"
)
NEGATIONS = ("不", "没", "没有", "不太", "不怎么", "不算", "不是很", "并不", "毫无", "无")


def summarize(events: Iterable[Event], *, at: datetime | None, products: Mapping[str, Product]) -> BehaviorSummary:
    """One user's events strictly before `at` (None: all of them), in any order; equal times are ordered by event id.

    An event whose product is not in `products` cannot be named in a sentence: it is left out, and `num_events` counts without it.
    """
    past = sorted(
        (event for event in events if (at is None or event.at < at) and event.product_id in products),
        key=lambda event: (event.at, event.event_id),
        reverse=True,
    )
    last: dict[EventKind, Event] = {}
    for event in past:
        last.setdefault(event.kind, event)

    def mention(kind: EventKind) -> ProductMention | None:
        return mention_of(products[last[kind].product_id]) if kind in last else None

    seen = [products[event.product_id] for event in past]
    review = last.get(EventKind.REVIEW)
    return BehaviorSummary(
        last_viewed=mention(EventKind.VIEW),
        last_clicked=mention(EventKind.CLICK),
        last_carted=mention(EventKind.CART),
        last_purchased=mention(EventKind.PURCHASE),
        last_reviewed=mention(EventKind.REVIEW),
        last_review_emotion=review_emotion(review) if review else None,
        last_review_content=review.text or None if review else None,
        favourite_categories=_most_frequent(product.category for product in seen),
        favourite_brands=_most_frequent(product.brand for product in seen),
        num_events=len(past),
        past=_dealings(past, products),
    )


def shop_day(at: datetime) -> date:
    """The day that a moment is in, for the shop and its customers."""
    return at.astimezone(SHOP_TIME).date()


def _dealings(past: Iterable[Event], products: Mapping[str, Product]) -> tuple[PastDealing, ...]:
    """`past` comes latest first, and so do the dealings."""
    grouped: dict[tuple[EventKind, str], list[Event]] = {}
    for event in past:
        grouped.setdefault((event.kind, event.product_id), []).append(event)
    return tuple(
        PastDealing(
            kind=DEALINGS[kind],
            product=mention_of(products[product_id]),
            days=tuple(dict.fromkeys(shop_day(event.at) for event in events))[:NUM_DAYS],
            times=len(events),
            rating=events[0].rating,
        )
        for (kind, product_id), events in list(grouped.items())[:NUM_DEALINGS]
    )


def mention_of(product: Product) -> ProductMention:
    return ProductMention(product_id=product.product_id, title=product.title, category=product.category, brand=product.brand)


def review_emotion(review: Event) -> Emotion | None:
    """By the rating (from 4 positive, up to 2 negative, between them neutral); without one by words; None when there is neither."""
    if review.rating is not None:
        return "positive" if review.rating >= 4 else "negative" if review.rating <= 2 else "neutral"
    return text_emotion(review.text) if review.text else None


def text_emotion(text: str) -> Emotion:
    """By counting words; a negation right before a positive word turns it around, one before a negative word cancels it."""
    balance = 0
    for words, sign, negated_sign in ((POSITIVE, 1, -1), (NEGATIVE, -1, 0)):
        for match in words.finditer(text):
            balance += negated_sign if text[: match.start()].endswith(NEGATIONS) else sign
    return "positive" if balance > 0 else "negative" if balance < 0 else "neutral"


def _most_frequent(names: Iterable[str | None]) -> tuple[str, ...]:
    """`names` come latest first, and a dict keeps that order: of equally frequent ones the latest wins."""
    counts: dict[str, int] = {}
    for name in names:
        if name is not None:
            counts[name] = counts.get(name, 0) + 1
    return tuple(sorted(counts, key=lambda name: -counts[name])[:NUM_FAVOURITES])
