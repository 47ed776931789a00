"""Claims in numbers: price, rating, number of ratings, quantities, and any other number in digits. The phrases are a pack's data."""

import re
from dataclasses import dataclass
from decimal import Decimal

from common.domain.reason import ClaimKind
from common.packs.schema import FactPack, PricePhrase, RatingPhrase
from common.quality.claims.known import TITLE, Known
from common.quality.claims.sight import Sight
from common.quality.claims.units import NUMERALS, Units, place
from common.text.normalise import fold
from common.text.numerals import find_numbers, parse_number

YUAN = "CNY"
_DECIMALS = "零〇一二三四五六七八九"
_NUMBER = rf"(?P<n>\d[\d,]*(?:\.\d+)?[十百千]?[万亿]?|[几数上]?[{NUMERALS}]+(?:点[{_DECIMALS}]+)?万?)"
_CURRENCY = re.compile("元|块钱|块|圆")
_ANY_CURRENCY = "(?:元钱|元|块钱|块|圆)"
_AFTER_KUAI = re.compile(r"$|[，。！？；、,!?;.~～ \n的就也出左上以多不钱拿买到起内能便即，]")
_COUNTERS = re.compile(r"[个人天年月周日岁次分秒时条件款支双杯包页层寸倍成折度级期步米口颗只本种位名套瓶盒片粒半多几余来%]|[a-z]")
_NOT_POINTS = re.compile(r"[钟之裤袖饱熟期类区割钱享别开布层体秒明外辨]")
_STARS_END = re.compile(r"$|[，。！？；、,!?; ]|好评|评|级|推荐|的")
_ROUND = {"十": 10, "百": 100, "千": 1000, "万": 10_000}
_CLASS = re.compile(r"[级档机]")
"""百元级 is a class of goods, not a price."""
_NUMBER_SIGN = re.compile(rf"\d|[{NUMERALS}]")
_SMALLEST_BARE_PRICE = 10
"""三出头 is no price."""


@dataclass(frozen=True, slots=True)
class _Amount:
    start: int
    end: int
    low: Decimal
    high: Decimal
    written: str


class Amounts:
    """The number phrases of a pack, compiled once."""

    def __init__(self, facts: FactPack, *, units: Units) -> None:
        self._units = units
        self._prices = [(_pattern(phrase.phrase), phrase) for phrase in facts.price_phrases]
        self._ratings = [(_pattern(phrase.phrase), phrase) for phrase in facts.rating_phrases]

    def find(self, sight: Sight, known: Known) -> None:
        if not _NUMBER_SIGN.search(sight.text):
            return
        self._find_prices(sight, known)
        self._find_ratings(sight, known)

    def find_quantities(self, sight: Sight, known: Known) -> None:
        """After attribute values are taken: 304不锈钢 is a value, not a number."""
        if not _NUMBER_SIGN.search(sight.text):
            return
        for quantity in self._units.find(sight.text):
            if not sight.free(quantity.start, quantity.end):
                continue
            source = next(
                (where for (value, unit), where in known.quantities.items() if unit == quantity.unit and quantity.true_of(value)), None
            )
            reason = None if source else _unknown_quantity(quantity.unit, known)
            sight.claim("number", quantity.start, quantity.end, source=source, reason=reason)
        for number in find_numbers(sight.text):
            start, end = number.span
            if not any(c.isdigit() and c.isascii() for c in number.text) or not sight.free(start, end):
                continue
            if _stands_in(number.text, sight.text[end : end + 1], known.everything):
                sight.claim("number", start, end, source=TITLE if number.text in known.title else "product.attributes")
            else:
                sight.claim("number", start, end, source=None, reason="neither title nor attributes have this number of the same thing")

    def _find_prices(self, sight: Sight, known: Known) -> None:
        found = [amount for pattern, phrase in self._prices for amount in _price_amounts(sight.text, pattern, phrase, self._units)]
        for amount in _longest_first(found):
            if not sight.free(amount.start, amount.end):
                continue
            reason = None
            if known.price is None:
                reason = "the product has no price"
            elif known.currency != YUAN:
                reason = f"the price is in {known.currency}"
            elif not amount.low <= known.price <= amount.high:
                reason = f"the price is {known.price}"
            sight.claim("price", amount.start, amount.end, source=None if reason else "product.price", reason=reason)

    def _find_ratings(self, sight: Sight, known: Known) -> None:
        found = [
            (amount, phrase) for pattern, phrase in self._ratings for amount in _rating_amounts(sight.text, pattern, phrase, self._units)
        ]
        kinds = {(amount.start, amount.end): phrase.kind for amount, phrase in found}
        for amount in _longest_first([amount for amount, _ in found]):
            if not sight.free(amount.start, amount.end):
                continue
            kind = kinds[amount.start, amount.end]
            fact = known.rating if kind == "rating" else known.rating_count
            word = "rating" if kind == "rating" else "number of ratings"
            reason = None
            if fact is None:
                reason = f"the product has no {word}"
            elif not amount.low <= Decimal(str(fact)) <= amount.high:
                reason = f"the {word} is {fact}"
            claim_kind: ClaimKind = "rating"
            sight.claim(claim_kind, amount.start, amount.end, source=None if reason else f"product.{kind}", reason=reason)


def _stands_in(number: str, follows: str, everything: str) -> bool:
    """Whether the facts have this number with the same character behind it, or with none of a word where the text has none.

    30 of 续航30小时 makes 深度30米 no truer.
    """
    found = re.finditer(rf"(?<![\d.]){re.escape(number)}(?![\d]|\.\d)", everything)
    behind = (everything[match.end() : match.end() + 1] for match in found)
    return any(one == follows or not (one.isalnum() or follows.isalnum()) for one in behind)


def _pattern(phrase: str) -> re.Pattern[str]:
    before, _, after = (fold(part)[0] for part in phrase.partition("{n}"))
    return re.compile(f"{_words(before)}{_NUMBER}{_words(after)}")


def _words(text: str) -> str:
    """A phrase's words as a pattern in which one writing of the currency stands for all."""
    return _ANY_CURRENCY.join(re.escape(part) for part in _CURRENCY.split(text))


def _longest_first(found: list[_Amount]) -> list[_Amount]:
    return sorted(found, key=lambda amount: (amount.start - amount.end, amount.start))


def _price_amounts(text: str, pattern: re.Pattern[str], phrase: PricePhrase, units: Units) -> list[_Amount]:
    currency = bool(_CURRENCY.search(phrase.phrase)) or "¥" in phrase.phrase or "￥" in phrase.phrase
    found = []
    for match in pattern.finditer(text):
        written, end = match["n"], match.end()
        span = _value(written)
        if span is None or (match.start("n") and text[match.start("n") - 1] == "第"):
            continue
        if span[1] < _SMALLEST_BARE_PRICE and not (currency and written[0].isdigit()):
            continue
        if written in _ROUND and _CLASS.match(text, end):
            continue
        if text[end - 1] == "块" and not _AFTER_KUAI.match(text, end):
            continue
        if match.end("n") == end and (units.at(text, end) or _COUNTERS.match(text, end)):
            continue
        low = span[0] * Decimal(str(phrase.low)) + Decimal(str(phrase.offset))
        high = span[1] * Decimal(str(phrase.high)) + Decimal(str(phrase.offset))
        half = Decimal("0.005")
        found.append(_Amount(match.start(), end, low - half, high + half, written))
    return found


def _rating_amounts(text: str, pattern: re.Pattern[str], phrase: RatingPhrase, units: Units) -> list[_Amount]:
    found = []
    approximate = any(word in phrase.phrase for word in ("多", "余", "超", "+"))
    for match in pattern.finditer(text):
        written, end = match["n"], match.end()
        span = _value(written)
        if span is None:
            continue
        value, digits = span[0], written[0].isdigit()
        if phrase.kind == "rating_count":
            high = value + place(value) - 1 if approximate else span[1]
            found.append(_Amount(match.start(), end, value, high, written))
            continue
        if value > 10 or (phrase.phrase.endswith("分") and (_NOT_POINTS.match(text, end) or not (digits or "点" in written))):
            continue
        if phrase.phrase.endswith("星") and not (_STARS_END.match(text, end) and value <= 5):
            continue
        if match.end("n") == end and units.at(text, end):
            continue
        places = len(written.partition(".")[2] or written.partition("点")[2])
        margin = Decimal("0.5").scaleb(-max(places, 1))
        found.append(_Amount(match.start(), end, value - margin, value + margin, written))
    return found


def _value(written: str) -> tuple[Decimal, Decimal] | None:
    """Lowest and highest number meant: 百 is 100, 几百 is 200 to 999."""
    if written in _ROUND:
        return Decimal(_ROUND[written]), Decimal(_ROUND[written])
    if written[0] in "几数上":
        unit = _ROUND.get(written[1:])
        return (Decimal(unit * (1 if written[0] == "上" else 2)), Decimal(unit * 10 - 1)) if unit else None
    value = parse_number(written)
    return None if value is None else (value, value)


def _unknown_quantity(unit: str, known: Known) -> str:
    there = [f"{value:f}{u}" for (value, u) in known.quantities if u == unit]
    return f"the product has {', '.join(there)}" if there else f"no attribute is in {unit}"
