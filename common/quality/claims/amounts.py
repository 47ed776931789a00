"""Claims in numbers: prices, quantities, numbers of parts, and any other number in digits. The phrases are a pack's data."""

import re
from collections.abc import Sequence
from decimal import Decimal

from common.packs.knowledge import Speech
from common.packs.schema import FactPack, PricePhrase
from common.quality.claims.known import TITLE, Known
from common.quality.claims.sight import Sight
from common.quality.claims.units import NUMBER, NUMERALS, YUAN, Amount, Units, bounds
from common.text.normalise import fold
from common.text.numerals import find_numbers, parse_number

CNY = "CNY"
_CURRENCY = re.compile("元|块钱|块|圆")
_ANY_CURRENCY = "(?:元钱|元|块钱|块|圆)"
_AFTER_KUAI = re.compile(r"$|[，。！？；、,!?;.~～ \n的就也出左上以多不钱拿买到起内能便即，]")
_COUNTERS = re.compile(
    r"[个人位天年月周日号岁次遍分秒时条件款支双杯包页层寸倍成折度级期步米口颗只第本种名套瓶盒片粒半多几余来%~-]|到(?=[\d一二三四五六七八九])|[a-z]"
)
_ROUND = {"十", "百", "千", "万"}
_CLASS = re.compile(r"[级档机]|钞|(?:的)?(?:价位|区间|价格带)")
"""百元级 is a class of goods, not a price."""
_TAKEN = re.compile(
    r"(?:就|即|便)?(?:能|可以?)?(?:带回家|带走|拿下|入手|到手|搞定|买到|抱回|换来|到位|买下|买一|买个|买条)|一[件瓶个支只条双套盒包袋副把台盏本辆罐份斤]"
)
_EACH = re.compile(
    r"(?:每|平均一?|一|单|折合一?|合一?|折下来一?)(?:[百十]?克|片|袋|支|颗|杯|天|次|瓶|盒|餐|斤|两|克|粒|枚|顿|条|件|个|本|册|张|升|块|罐|年|月|日)(?:[^，。！？；\d]{0,4})$"
)
_ENDS = re.compile(r"$|[，。！？；、,!?; 的就]")
_NUMBER_SIGN = re.compile(rf"[\d{NUMERALS}半几]")
_SMALLEST_BARE_PRICE = 10
"""三出头 is no price."""
_DIFFERENCE = re.compile(r"(?:省|便宜|立减|直降|减|降|返|优惠|抵|券|满|赠|多花|少花|差)(?:了|下|掉|去|您|你|出)?$")
"""Money that is no price."""
_LOWER, _UPPER = re.compile(r"(?:超|破|突破|高于|不止)$"), re.compile(r"(?:起步?|以上)")

_TIMES = frozenset("×x*")
_PIECES = re.compile(rf"(?<![第\d{NUMERALS}.])(?P<n>\d+|[{NUMERALS}]+)(?P<what>[个条只支双把块盒瓶包副罐对台])(?![半多余几月小钟])")
"""A number by a measure word that much else is counted by too."""


class Amounts:
    """The number phrases of a pack, compiled once."""

    def __init__(self, facts: FactPack, *, units: Units, speech: Speech) -> None:
        self._units = units
        self._prices = [(pattern_of(phrase.phrase), _fixed(phrase.phrase), phrase) for phrase in facts.price_phrases]
        words = "|".join(sorted(map(re.escape, speech.prices), key=len, reverse=True)) or "(?!)"
        self._price_words = re.compile(f"(?:{words})(?:是|为|在|都|也|就|要|大概|的)*$")
        counters = "|".join(sorted(map(re.escape, speech.counters), key=len, reverse=True)) or "(?!)"
        self._parts = re.compile(rf"(?<![第\d{NUMERALS}])(?P<n>\d+|[{NUMERALS}]+|[几数上][十百千]+)[多余几+来]?(?P<what>{counters})")

    def read(self, sight: Sight) -> list[Amount]:
        """All amounts of a text, for whoever asks first."""
        return self._units.find(sight.text) if _NUMBER_SIGN.search(sight.text) else []

    def find_prices(self, sight: Sight, known: Known, amounts: Sequence[Amount]) -> None:
        if not _NUMBER_SIGN.search(sight.text):
            return
        found = [
            span
            for pattern, fixed, phrase in self._prices
            if all(word in sight.text for word in fixed)
            for span in _price_amounts(sight.text, pattern, phrase, self._units)
        ]
        # An amount whose words are read (近三百元, 200到300元) stands for what a shorter phrase would see in it.
        said = [(a.start, a.end, a.low, a.high, a.open) for a in amounts if self._is_price(sight.text, a)]
        for start, end, low, high, opened in sorted([*found, *said], key=lambda one: (one[0] - one[1], one[0])):
            if not sight.free(start, end):
                continue
            reason = None
            if sight.text[max(0, start - 3) : start].endswith("预算"):
                low = Decimal(0)
            price = known.price
            if each := _EACH.search(sight.text, max(0, start - 10), start):
                start = each.start()
                price = next((one for one in _each(known) if low <= one <= high), price)
            if _DIFFERENCE.search(sight.text, 0, start):
                reason = "nothing is known of another price"
            elif known.price is None:
                reason = "the product has no price"
            elif known.currency != CNY:
                reason = f"the price is in {known.currency}"
            elif price is None or not (low < price < high if opened else low <= price <= high):
                reason = f"the price is {known.price}"
            sight.claim("price", start, end, source=None if reason else "product.price", reason=reason)

    def _is_price(self, text: str, amount: Amount) -> bool:
        """元 with words of its own, or a bare number that they make one (只要两百多)."""
        if amount.high < _SMALLEST_BARE_PRICE:
            return False
        if amount.unit == YUAN:
            return not (amount.exact and _CLASS.match(text, amount.end))
        if (
            amount.unit is not None
            or (_COUNTERS.match(text, amount.end) and not _TAKEN.match(text, amount.end))
            or (amount.exact and _CLASS.match(text, amount.end))
        ):
            return False
        if self._price_words.search(text, max(0, amount.start - 8), amount.start) or _TAKEN.match(text, amount.end):
            return True
        alone = text[amount.at] in NUMERALS and bool(_ENDS.match(text[amount.start - 1 : amount.start]))
        return amount.low >= 50 and bool(_ENDS.match(text, amount.end)) and (alone or not amount.exact)

    def find_quantities(self, sight: Sight, known: Known, amounts: Sequence[Amount]) -> None:
        """After attribute values are taken: 304不锈钢 is a value, not a number."""
        if not _NUMBER_SIGN.search(sight.text):
            return
        for amount in amounts:
            if amount.unit in (None, YUAN) or not sight.free(amount.start, amount.end):
                continue
            source = self.holder(sight.text, amount, known)
            if source is None and amount.loose:
                continue
            reason = None if source else unknown_amount(amount, known)
            sight.claim("number", amount.start, amount.end, source=source, reason=reason)
        self._find_parts(sight, known)
        for number in find_numbers(sight.text):
            start, end = number.span
            if not any(c.isdigit() and c.isascii() for c in number.text) or not sight.free(start, end):
                continue
            if source := _stands_in(number.text, sight.text[max(0, start - 1) : start], sight.text[end:].lstrip()[:1], known):
                sight.claim("number", start, end, source=source)
            else:
                sight.claim("number", start, end, source=None, reason="neither title nor attributes have this number of the same thing")

    def holder(self, text: str, amount: Amount, known: Known) -> str | None:
        """The source of a fact of which the amount is true; of the fact that is named before it, where one is."""
        alike = [fact for fact in known.amounts if fact.scale == amount.scale]
        before = text[max(0, amount.start - 8) : amount.start]
        named = [fact for fact in alike if fact.key and fact.key in before]
        if not alike and amount.unit == "克" and text[amount.end - 1] == "g":  # 16G of memory
            alike = [fact for fact in known.amounts if fact.unit == "GB" and fact.low == amount.low * 1024]
            return alike[0].source if alike else None
        for fact in named or alike:
            slack = self._units.slack if fact.unit != amount.unit else Decimal(0)
            if amount.true_of(fact.low, fact.high, slack=slack):
                return fact.source
        return None

    def _find_parts(self, sight: Sight, known: Known) -> None:
        """六层, 三档: a number of parts. One or two of them in Chinese numerals may be a way of speaking, and so may any number of what is
        counted by a common measure word (四条), unless the facts count in it too."""
        for match in (*self._parts.finditer(sight.text), *_PIECES.finditer(sight.text)):
            span = bounds(match["n"])
            value = span and span[0]
            if value is None or not sight.free(*match.span()):
                continue
            common = match.re is _PIECES
            there = [
                (parse_number(other["n"]), source)
                for source, text in known.texts
                for other in match.re.finditer(text)
                if other["what"] == match["what"]
            ]
            source = next((source for number, source in there if number == value), None)
            if source is None and ((common and (not there or value < 2)) or (not there and value <= 2 and match["n"][0] in NUMERALS)):
                continue
            numbers = ", ".join(f"{number}{match['what']}" for number, _ in there)
            reason = None if source else f"the product has {numbers or 'no number of ' + match['what']}"
            sight.claim("number", *match.span(), source=source, reason=reason)


def _each(known: Known) -> list[Decimal]:
    """The price of one part, for each number of parts or of a measure that the facts have (一包不到两元)."""
    numbers = {fact.low for fact in known.amounts if fact.low > 1}
    numbers |= {value for _, text in known.texts for number in find_numbers(text) if (value := number.value) > 1}
    return [(known.price or Decimal(0)) / number for number in numbers]


def _stands_in(number: str, leads: str, follows: str, known: Known) -> str | None:
    """The fact that has this number with the same character behind it, or with none of a word where the text has none, or in a size
    (10×15) where the text has it in one.

    30 of 续航30小时 makes 深度30米 no truer.
    """
    for source, text in ((TITLE, known.title), *known.texts[1:]):
        for match in re.finditer(rf"(?<![\d.]){re.escape(number)}(?![\d]|\.\d)", text):
            behind = text[match.end() :].lstrip()[:1]
            in_size = leads in _TIMES and text[max(0, match.start() - 1) : match.start()] == leads
            if behind == follows or in_size or not (behind.isalnum() or follows.isalnum()):
                return source
    return None


def pattern_of(phrase: str) -> re.Pattern[str]:
    before, _, after = (fold(part)[0] for part in phrase.partition("{n}"))
    return re.compile(f"{_words(before)}(?<![a-z])(?P<n>{NUMBER}){_words(after)}")


def _fixed(phrase: str) -> tuple[str, ...]:
    """What stands in every text that a phrase matches."""
    return tuple(word for part in phrase.split("{n}") for word in _CURRENCY.split(fold(part)[0]) if word)


def _words(text: str) -> str:
    """A phrase's words as a pattern in which one writing of the currency stands for all."""
    return _ANY_CURRENCY.join(re.escape(part) for part in _CURRENCY.split(text))


def _price_amounts(text: str, pattern: re.Pattern[str], phrase: PricePhrase, units: Units) -> list[tuple[int, int, Decimal, Decimal, bool]]:
    currency = bool(_CURRENCY.search(phrase.phrase)) or "¥" in phrase.phrase or "￥" in phrase.phrase
    found = []
    for match in pattern.finditer(text):
        written, end = match["n"], match.end()
        span = bounds(written)
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
        found.append((match.start(), end, low - half, high + half, False))
    return found


def unknown_amount(amount: Amount, known: Known) -> str:
    there = [fact.shown for fact in known.amounts if fact.scale == amount.scale]
    return f"the product has {', '.join(there)}" if there else f"no fact is in {amount.unit}"
