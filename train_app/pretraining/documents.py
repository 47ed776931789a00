"""What the starter base reads before it ever sees a reason: blocks as the prompt writes them, followed by text that copies from them.

Four kinds, from the sample shop's pretraining texts (other seeds, other products, invented brands; never an annotated reason):
a description (or its beginning) under its own cue, or under the prompt's with the codes that can be read off it (Keskar et al. 2019: CTRL);
a review; and `points`, which name fields of the blocks one after another, so that the model learns to look a value up.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from common.domain.context import BehaviorSummary, Context, Emotion, ProductMention
from common.domain.controls import Controls, ControlVocabulary
from common.domain.product import BRAND, Attribute, Product
from common.language.prompt import build_prompt
from train_app.sample_shop.grammar.prices import Amount, fitting_amounts
from train_app.sample_shop.listing import told_codes

DESCRIPTION, REVIEW, POINTS = "【介绍】", "【评论】", "【要点】"
KINDS = {"described": 0.10, "asked": 0.40, "reviewed": 0.25, "points": 0.25}
NEW_USER_SHARE = 0.25
UNHEARD_SHARE = 0.15
"""Products whose brand and one more attribute are made of any common characters: in a shop it never heard of, a base must copy."""
SHORT_SHARE = 0.4
STYLE_CHARS = {"concise": (18, 30), "detailed": (45, 80)}
SECOND_HALVES = ("所以", "因此", "才", "还", "而且", "也", "但", "可")
"""A clause that begins so answers the one before it."""
EMOTIONS: tuple[Emotion, ...] = ("positive", "neutral", "negative")
HISTORY = {"viewed": ("看过的", "看过", "浏览过的"), "purchased": ("买过的", "买过", "入手的"), "reviewed": ("评价过的", "点评过的")}
HISTORY_NAMES = frozenset(name for names in HISTORY.values() for name in names)

Listing = tuple[Product, str, Sequence[str]]
"""A product, its description and its reviews: what `sample_shop.catalogue.pretraining_texts` yields."""


@dataclass(frozen=True, slots=True)
class Document:
    """`blocks` is given, `text` is to be predicted; `copied` are the character spans of `text` that stand in the blocks word for word."""

    blocks: tuple[str, ...]
    text: str
    copied: tuple[tuple[int, int], ...] = ()


def common_characters() -> list[str]:
    """The 3,755 characters of GB 2312 level 1, by the rows of its code table."""
    rows = (bytes([row, cell]) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF))
    return [code.decode("gb2312") for code in rows if code not in UNASSIGNED]


UNASSIGNED = {bytes([0xD7, cell]) for cell in range(0xFA, 0xFF)}


def documents(listings: Iterable[Listing], *, vocabulary: ControlVocabulary, seed: int) -> Iterator[Document]:
    """Two documents a listing, endlessly different users; the same for the same seed."""
    rng = random.Random(f"documents/{seed}")
    signs = common_characters()
    past: list[Listing] = []
    for listing in listings:
        if rng.random() < UNHEARD_SHARE:
            brand, key, value = ("".join(rng.sample(signs, rng.choice((2, 2, 3, 4)))) for _ in range(3))
            listing = _unheard(listing, brand, Attribute(key=key, value=value))
        past = [*past[-63:], listing]
        for kind in rng.choices(list(KINDS), list(KINDS.values()), k=2):
            yield _document(kind, listing, past, vocabulary, rng)


def _document(kind: str, listing: Listing, past: Sequence[Listing], vocabulary: ControlVocabulary, rng: random.Random) -> Document:
    product, description, reviews = listing
    if kind == "asked" and rng.random() < SHORT_SHARE:
        description = _shortened(description, rng)
    behavior = BehaviorSummary() if rng.random() < NEW_USER_SHARE else _behavior(past, rng)
    controls = _codes(description) if kind == "asked" else {}
    known = {(control.name, value.name) for control in vocabulary.controls for value in control.values}
    context = Context(product=product, behavior=behavior, controls=dict(controls.items() & known))
    prompt = build_prompt(context, vocabulary=vocabulary)
    if kind == "asked":
        return Document(blocks=(prompt.user, prompt.product, prompt.codes), text=description)
    blocks = (prompt.user, prompt.product) if rng.random() < 0.8 else (prompt.product,)
    if kind == "points":
        points = _points(product, behavior if len(blocks) == 2 else BehaviorSummary(), rng)
        text, spans = "", []
        for name, value in points:
            free = 1 if name in HISTORY_NAMES else 0  # brand or category, 看过 or 看过的: the first character decides
            spans.append((len(text) + len(name) + free, len(text) + len(name) + len(value)))
            text += f"{name}{value}，"
        return Document(blocks=(*blocks, POINTS), text=text[:-1] + "。", copied=tuple(spans))
    if kind == "reviewed" and reviews:
        return Document(blocks=(*blocks, REVIEW), text=rng.choice(reviews))
    return Document(blocks=(*blocks, DESCRIPTION), text=description)


def _points(product: Product, behavior: BehaviorSummary, rng: random.Random) -> list[tuple[str, str]]:
    """(name, value) of some fields in random order. A product's name of a field decides its value: a wrong one is a failure to copy."""
    fields = [(a.key, a.value) for a in product.attributes if len(product.values(a.key)) == 1]
    fields.append(("类目是", product.category))
    if product.price is not None:
        exact = [amount for amount in fitting_amounts(product.price.amount()) if amount.number.isdigit()]
        fields.append(("价格", Amount.write(exact[0]) if exact else f"{product.price.amount():g}元"))
    if product.rating is not None:
        fields.append(("评分", f"{product.rating:g}分"))
    chosen = rng.sample(fields, min(len(fields), rng.choice((2, 3, 4))))
    for kind, thing in behavior.mentions().items():
        if kind in HISTORY:
            name = rng.choice(HISTORY[kind])
            full = f"{thing.brand or ''}{thing.category}"
            chosen.append((name, rng.choice([thing.category, full, full])))
    rng.shuffle(chosen)
    return chosen


def _behavior(past: Sequence[Listing], rng: random.Random) -> BehaviorSummary:
    """A user made up from products met before; each part of the history is there four times in five."""
    viewed, purchased, reviewed = (rng.choice(past) if rng.random() < 0.8 else None for _ in range(3))
    favourites = [product for product, _, _ in rng.sample(past, min(len(past), rng.choice((0, 1, 2, 3))))]
    texts = reviewed[2] if reviewed else ()
    return BehaviorSummary(
        last_viewed=_mention(viewed, rng),
        last_purchased=_mention(purchased, rng),
        last_reviewed=_mention(reviewed, rng),
        last_review_emotion=rng.choice(EMOTIONS) if reviewed else None,
        last_review_content=rng.choice(texts) if texts else None,
        favourite_categories=tuple(dict.fromkeys(product.category for product in favourites)),
        favourite_brands=tuple(dict.fromkeys(product.brand for product in favourites if product.brand))[: rng.choice((0, 1, 2, 3))],
    )


def _mention(listing: Listing | None, rng: random.Random) -> ProductMention | None:
    if listing is None:
        return None
    product = listing[0]
    brand = product.brand if rng.random() < 0.85 else None
    return ProductMention(product_id=product.product_id, title=product.title, category=product.category, brand=brand)


def _shortened(text: str, rng: random.Random) -> str:
    """A run of whole clauses that is concise; the text itself where there is none."""
    low, high = STYLE_CHARS["concise"]
    ends = [i + 1 for i, character in enumerate(text) if character in "，。！"]
    starts = [start for start in (0, *ends[:-1]) if not text.startswith(SECOND_HALVES, start)]
    runs = [(start, end) for start in starts for end in ends if low <= end - start <= high]
    if not runs:
        return text
    start, end = rng.choice(runs)
    return f"{text[start : end - 1]}。"


def _codes(text: str) -> Controls:
    """Style by its length; topic and emotion where its words tell one and no other."""
    codes: dict[str, str] = {}
    for name, (low, high) in STYLE_CHARS.items():
        if low <= len(text) <= high:
            codes["style"] = name
    for control, words in told_codes().items():
        told = {value for word, value in words.items() if word in text}
        if len(told) == 1:
            codes[control] = told.pop()
    return codes


def _unheard(listing: Listing, name: str, extra: Attribute) -> Listing:
    """The same listing under another brand, in every text of it, and with one more attribute."""
    product, description, reviews = listing
    if product.brand is None:
        return listing
    old = product.brand
    attributes = tuple(Attribute(key=BRAND, value=name) if a.key == BRAND else a for a in product.attributes)
    renamed = product.model_copy(update={"title": product.title.replace(old, name), "attributes": (*attributes, extra)})
    return renamed, description.replace(old, name), [text.replace(old, name) for text in reviews]
