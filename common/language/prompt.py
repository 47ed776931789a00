"""The one text a reason is written from: a context as user, product and code blocks. Knows words and their bounds; no tokens, no model.

    【用户】看过:声海 蓝牙耳机｜买过:跑鞋｜评过:手表〔好评〕质量超好！｜常看:蓝牙耳机、跑鞋
    【商品】星野真无线蓝牙耳机｜类目:蓝牙耳机｜品牌:星野｜续航:30小时｜价格:299元｜评分:4.8｜评价:1280人
    【要求】主题:品质｜情绪:不限｜风格:简洁
    【理由】

The user comes first because a page shares it; the codes come last, after all text that a merchant or a user wrote, and that text has
lost the delimiters 【】｜〔〕 and line breaks on its way in (`common.text.normalise.plain`): a title cannot open a block, add a field or
set a code. Not told, by design: description, image, the titles and times of past products, the channel. A click stands in for a missing
view, a cart for a missing purchase.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from common.domain.context import BehaviorSummary, Context, ProductMention
from common.domain.controls import ControlVocabulary
from common.domain.money import Money
from common.domain.product import BRAND, Attribute, Product
from common.text.normalise import plain
from common.text.personal import masked

PROMPT_VERSION = 1
"""Goes up with every change of a golden prompt: a bundle runs only under the version that it was trained with."""

USER, PRODUCT, CODES, CUE = "【用户】", "【商品】", "【要求】", "【理由】"
FIELD = "｜"
NEW_USER = "新客"
FREE = "不限"
"""The word of a control that is left to the model."""
EMOTIONS = {"positive": "好评", "neutral": "中评", "negative": "差评", None: "评价"}

# Bounds in characters, after normalisation. What a bound cuts or leaves out is counted in `Prompt.dropped`.
TITLE_CHARS = 60
NAME_CHARS = 20  # a category, a brand or a persona
KEY_CHARS = 12
VALUE_CHARS = 30
REVIEW_CHARS = 50
ATTRIBUTES_CHARS = 200  # all attributes but the brand
USER_CHARS = 200  # the user block


@dataclass(frozen=True, slots=True)
class Prompt:
    """Three blocks that are encoded apart. Equal `user` means a shared prefix. `codes` ends with the cue after which the answer starts."""

    user: str
    product: str
    codes: str
    free_codes: str
    """The block with every control left free; equal to `codes` when no code was asked."""
    dropped: int
    """Pieces that a bound cut short or left out: titles, names, attributes, parts of the history."""
    masked: int = 0
    """Numbers and addresses of persons that a merchant or a user wrote; the model is not told them."""

    @property
    def text(self) -> str:
        return self.user + self.product + self.codes


def build_prompt(context: Context, *, vocabulary: ControlVocabulary) -> Prompt:
    """Raises BadControl for a code that the vocabulary does not have."""
    bounded = _Bounded()
    user = _user_block(context.behavior, context.persona, bounded)
    product = _product_block(context.product, bounded)
    codes = vocabulary.check(context.controls)
    return Prompt(
        user=f"{user}\n",
        product=f"{product}\n",
        codes=_codes_block(vocabulary, codes),
        free_codes=_codes_block(vocabulary, {}),
        dropped=bounded.dropped,
        masked=bounded.masked,
    )


def without_codes(prompt: Prompt) -> Prompt:
    """The same user and product with every control left free: what guidance steers away from."""
    return replace(prompt, codes=prompt.free_codes)


class _Bounded:
    """Cuts untrusted text to its bound, masks a person's data in it, and counts both."""

    def __init__(self) -> None:
        self.dropped = self.masked = 0

    def text(self, raw: str, max_chars: int) -> str:
        whole, found = masked(plain(raw))
        self.masked += found
        if len(whole) <= max_chars:
            return whole
        self.dropped += 1
        return plain(whole, max_chars=max_chars)

    def name(self, raw: str | None) -> str:
        return self.text(raw, NAME_CHARS) if raw else ""


def _codes_block(vocabulary: ControlVocabulary, codes: dict[str, str]) -> str:
    words = [f"{c.word}:{vocabulary.word(c.name, codes[c.name]) if c.name in codes else FREE}" for c in vocabulary.controls]
    return f"{CODES}{FIELD.join(words) or FREE}\n{CUE}"


def _user_block(behavior: BehaviorSummary, persona: str | None, bounded: _Bounded) -> str:
    """Viewed, purchased, reviewed, as in the brief's table, then tastes; over USER_CHARS the least specific goes first."""
    fields = {"persona": _labelled("身份", bounded.name(persona))}
    fields |= _history(behavior, bounded)
    if not any(text for key, text in fields.items() if key != "persona"):
        fields["new"] = NEW_USER
    for key in ("", "brands", "categories", "persona"):
        bounded.dropped += bool(fields.pop(key, ""))
        block = USER + FIELD.join(text for text in fields.values() if text)
        if len(block) <= USER_CHARS:
            break
    return block


def _history(behavior: BehaviorSummary, bounded: _Bounded) -> dict[str, str]:
    viewed = ("看过", behavior.last_viewed) if behavior.last_viewed else ("点过", behavior.last_clicked)
    purchased = ("买过", behavior.last_purchased) if behavior.last_purchased else ("加购", behavior.last_carted)
    return {
        "viewed": _labelled(viewed[0], _mention(viewed[1], bounded)),
        "purchased": _labelled(purchased[0], _mention(purchased[1], bounded)),
        "review": _review(behavior, bounded),
        "categories": _labelled("常看", _listed(behavior.favourite_categories, bounded)),
        "brands": _labelled("偏爱", _listed(behavior.favourite_brands, bounded)),
    }


def _review(behavior: BehaviorSummary, bounded: _Bounded) -> str:
    """评过:手表〔好评〕质量超好！; the bracket tells the rating from what the user wrote."""
    content = bounded.text(behavior.last_review_content or "", REVIEW_CHARS)
    thing = _mention(behavior.last_reviewed, bounded)
    rated = f"〔{EMOTIONS[behavior.last_review_emotion]}〕" if content or behavior.last_review_emotion else ""
    return _labelled("评过", f"{thing}{rated}{content}")


def _mention(mention: ProductMention | None, bounded: _Bounded) -> str:
    """Brand and category: the words by which a sentence can name a past product."""
    if mention is None:
        return ""
    brand, category = bounded.name(mention.brand), bounded.name(mention.category)
    return " ".join(word for word in (brand, category) if word) or bounded.text(mention.title, NAME_CHARS)


def _listed(names: Iterable[str], bounded: _Bounded) -> str:
    return "、".join(word for word in map(bounded.name, names) if word)


def _labelled(label: str, text: str) -> str:
    return f"{label}:{text}" if text else ""


def _product_block(product: Product, bounded: _Bounded) -> str:
    brand = _listed(product.values(BRAND), bounded)
    fields = [
        bounded.text(product.title, TITLE_CHARS),
        _labelled("类目", bounded.name(product.category)),
        _labelled(BRAND, brand),
        *_attributes((a for a in product.attributes if a.key != BRAND), bounded),
        _labelled("价格", _price(product.price)),
        _labelled("评分", "" if product.rating is None else _number(Decimal(str(round(product.rating, 2))))),
        _labelled("评价", f"{product.rating_count}人" if product.rating_count else ""),
    ]
    return PRODUCT + FIELD.join(field for field in fields if field)


def _attributes(attributes: Iterable[Attribute], bounded: _Bounded) -> list[str]:
    """In catalogue order, values of a repeated key together; what no longer fits ATTRIBUTES_CHARS is left out and counted."""
    values: dict[str, list[str]] = {}
    room = ATTRIBUTES_CHARS
    for attribute in attributes:
        key, value = bounded.text(attribute.key, KEY_CHARS), bounded.text(attribute.value, VALUE_CHARS)
        cost = len(value) + 1 + (0 if key in values else len(key) + 1)
        if not key or not value or cost > room:
            bounded.dropped += 1
            continue
        room -= cost
        values.setdefault(key, []).append(value)
    return [f"{key}:{'、'.join(found)}" for key, found in values.items()]


def _price(price: Money | None) -> str:
    """299元, 39.9元, 299USD: digits, without zeros that say nothing."""
    if price is None:
        return ""
    return _number(price.amount()) + ("元" if price.currency == "CNY" else price.currency)


def _number(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
