"""Amounts in a text: a number or a range, its unit, and the words that say how exact it is meant. Units and words are a pack's data."""

import re
from dataclasses import dataclass, replace
from decimal import Decimal

from common.packs.knowledge import Speech
from common.packs.schema import FactPack
from common.text.normalise import fold
from common.text.numerals import TENS, parse_number
from common.text.phrases import PhraseSet

NUMERALS = "零〇一二三四五六七八九十百千万亿两俩仨"
PERCENT = "%"
YUAN = "元"
SMALL_TALK = 2
"""一键, 两页, 一包: up to this, a Chinese numeral before a one-character unit is a way of speaking, not an amount."""
FEW = 12
"""And up to this before a soft unit (五分钟就上手), where nothing says that it was measured."""

_DECIMALS = "零〇一二三四五六七八九"
_NUMBER = (
    rf"(?:\d{{1,3}}(?:,\d{{3}})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?[百千]?[万亿]?"
    rf"|[几数上][十百千万亿]+|俩|仨|(?:[零〇一二三四五六七八九十百千万亿]|(?<![一二三四五六七八九十半])两|两(?=[百千万亿]))+几?(?:点[{_DECIMALS}]+)?[万亿]?|半(?!夜|天|成|信|路|途|岛|径|数|载))"
)
NUMBER = _NUMBER
_STARTS = re.compile(rf"(?P<share>百分之)?(?P<n>{_NUMBER})")
_CENTS = re.compile(r"块([一二三四五六七八九\d])(?:毛)?(?![十百千万\d个件款])")
_LIANG = re.compile(r"两(?=$|[，。！？；、 的重多半出左以上装])")
_TO = re.compile(r" ?(?:-|–|—|~|～|到|至|、(?=\d)) ?")
_HALF = re.compile(r"个?半(?!价|天|夜|身)")
_OF = re.compile(r"(?:个(?=多|小时|钟头))?")
_TAIL = re.compile(r"半(?!价|天|夜|身)|多(?!功|种|档|款|用)")
_ONE_HALF = Decimal("0.5")
_NEXT = {a + b for a, b in zip("一一两二三四五六七八", "二两三三四五六七八九", strict=True)} | {"三五"}
_PAIR = re.compile(r"([一二两三四五六七八])([二两三四五六七八九])([十百千万]*)")
_TEENS = re.compile(r"([一二三四五六七八九]?十)([一二三四五六七八])([二三四五六七八九])")
_KUAI = re.compile(r"块(?=$|[，。！？；、,!?;.~～ \n的就也出左上以多不钱拿买到起内能便即])")
"""Of three blocks of something 块 is a measure word."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """One number as read: with what follows it, and its unit as written."""

    low: Decimal
    high: Decimal
    end: int
    unit: str | None
    exact: bool
    more: bool


@dataclass(frozen=True, slots=True)
class Amount:
    """True of what lies from `low` to `high`, both in the smallest unit of the scale."""

    start: int
    end: int
    """With unit and manner words."""
    at: int
    """Where the number begins."""
    low: Decimal
    high: Decimal
    open: bool
    """The bounds are left out."""
    exact: bool
    about: bool
    """Words say that it is not meant exactly; a range without such words is."""
    unit: str | None
    scale: str
    loose: bool = False
    """So few of so common a unit that it may be a way of speaking."""

    def true_of(self, low: Decimal, high: Decimal, *, slack: Decimal = Decimal(0)) -> bool:
        """Of a fact that is itself an amount or a range; `slack` is a share."""
        own_low, own_high = self.low - self.low * slack, self.high + self.high * slack
        if low == high:
            return own_low < low < own_high if self.open else own_low <= low <= own_high
        if self.about:
            return low <= own_high and own_low <= high
        return low * (1 - slack) <= own_low and own_high <= high * (1 + slack)


def place(value: Decimal) -> Decimal:
    """The unit of the last digit that is not zero: 3400 -> 100; "3400多" is below 3500."""
    if value == 0:
        return Decimal(1)
    exponent = value.normalize().as_tuple().exponent
    return Decimal(10) ** int(exponent)


def bounds(written: str) -> tuple[Decimal, Decimal] | None:
    """Lowest and highest number meant: 百 is 100, 几百 is 200 to 999, 三四百 is 300 to 499, 十几 is 11 to 19."""
    if written == "半":
        return Decimal("0.5"), Decimal("0.5")
    if written == "仨":
        return Decimal(3), Decimal(3)
    if written in TENS or written == "万":
        return (round_number := Decimal(TENS.get(written, 10_000))), round_number
    if written[0] in "几数上":
        unit = bounds(written[1:])
        return (unit[0] * (1 if written[0] == "上" else 2), unit[0] * 10 - 1) if unit else None
    if written[-1] == "几":
        value = parse_number(written[:-1])
        return None if value is None else (value + 1, value + place(value) - 1)
    if pair := _PAIR.fullmatch(written) or _TEENS.fullmatch(written):
        first, second, rest = pair.groups() if pair.re is _PAIR else (pair[1] + pair[2], pair[1] + pair[3], "")
        if pair.re is _TEENS or first + second in _NEXT:
            low, high = parse_number(first + rest), parse_number(second + rest)
            if low is not None and high is not None:
                return low, high + (place(high) - 1 if rest else 0)
    value = parse_number(written)
    return None if value is None else (value, value)


class Units:
    """A pack's units and words for how exact an amount is, ready to be found."""

    def __init__(self, facts: FactPack, *, speech: Speech | None = None) -> None:
        speech = speech or Speech()
        forms = {fold(form)[0]: unit for unit, written in speech.units.items() for form in (unit, *written)}
        forms |= {fold(form)[0]: unit for unit, written in facts.units.items() for form in (unit, *written)}
        forms.setdefault(PERCENT, PERCENT)
        self._forms = forms
        self._scales = {unit: (scale, Decimal(str(factor))) for scale, factors in speech.scales.items() for unit, factor in factors.items()}
        for unit, others in facts.conversions.items():
            scale, factor = self._scales.setdefault(unit, (unit, Decimal(1)))
            for other, number in others.items():
                self._scales.setdefault(other, (scale, factor / Decimal(str(number))))
        self._soft = frozenset(speech.soft)
        self._measured = re.compile("|".join(map(re.escape, speech.measured)) or "(?!)")
        self._manners = {word: manner for manner in speech.manners for word in (*manner.before, *manner.after)}
        self.slack = Decimal(str(speech.conversion))
        before = sorted({word for manner in speech.manners for word in manner.before}, key=len, reverse=True)
        self._before = re.compile(f"({'|'.join(map(re.escape, before)) or '(?!)'})(?:人民币|[¥￥])?$")
        self._after = PhraseSet(word for manner in speech.manners for word in manner.after)
        self._units = PhraseSet(forms)

    def at(self, text: str, position: int) -> str | None:
        """The unit as written behind a number."""
        return self._unit(text, position)

    def find(self, text: str) -> list[Amount]:
        """All amounts from left to right, those without a unit too; two of one scale in a row are one (两小时三十分)."""
        found: list[Amount] = []
        position = 0
        while match := _STARTS.search(text, position):
            amount, position = self._read(text, match)
            last = found[-1] if found else None
            if amount is None:
                continue
            if last and amount.unit and last.end == amount.start and last.scale == amount.scale and last.exact and amount.high < last.low:
                found[-1] = replace(
                    last, end=amount.end, low=last.low + amount.low, high=last.high + amount.high, exact=amount.exact, loose=False
                )
            else:
                found.append(amount)
        return found

    def bare(self, text: str, *, unit: str | None) -> Amount | None:
        """A value without a unit whose key has one (页数: 40)."""
        canonical = self._forms.get(fold(unit)[0]) if unit else None
        found = self.find(f"{text}{canonical}") if canonical else []
        return found[0] if len(found) == 1 and found[0].start == 0 else None

    def canonical(self, unit: str) -> str | None:
        return self._forms.get(unit)

    def _unit(self, text: str, position: int) -> str | None:
        if position >= len(text):
            return None
        character = text[position]
        if character.isascii() and character.isalpha():  # behind a digit no letter is cut off, whatever the digit is
            return self._units.at(" " + text[position : position + 12], 1)
        unit = self._units.at(text, position)
        if unit == "两" and not _LIANG.match(text, position):  # 三两好友
            return None
        return unit if unit or character != "块" else "块" if _KUAI.match(text, position) else None

    def _piece(self, text: str, number: re.Match[str]) -> _Piece | None:
        """三, 三百多克, 两个半小时, 一斤半, 一年多."""
        low_high = bounds(number["n"])
        if low_high is None:
            return None
        (low, high), position = low_high, number.end()
        exact, more = low == high, text[position : position + 1]
        if more and more in "多余来+" and not text.startswith(("多功", "多种", "多档", "多款", "多用", "来了"), position):
            spread = (low * Decimal("0.9"), high * Decimal("1.1")) if more == "来" else (low + place(low) / 1000, high + place(high))
            (low, high), exact, position = spread, False, position + 1
        else:
            more = ""
        bare = position
        half = _HALF.match(text, position)
        if half:
            low, high, position = low + _ONE_HALF, high + _ONE_HALF, half.end()
        else:
            position += len(_OF.match(text, position).group())  # type: ignore[union-attr]
            if text.startswith("多", position) and position > bare:
                high, exact, position = high + 1, False, position + 1
        if cents := _CENTS.match(text, position):  # 三十九块九
            return _Piece(low + (tenth := (parse_number(cents[1]) or Decimal(0)) / 10), high + tenth, cents.end(), YUAN, exact, False)
        position += text.startswith(" ", position)
        unit = self._unit(text, position)
        if unit is None:
            return _Piece(low, high, bare, None, exact, bool(more))
        position += len(unit)
        if tail := _TAIL.match(text, position):
            if tail.group() == "半":
                low, high = low + _ONE_HALF, high + _ONE_HALF
            else:
                high, exact = high + 1, False
            position = tail.end()
        return _Piece(low, high, position, unit, exact, bool(more))

    def _read(self, text: str, start: re.Match[str]) -> tuple[Amount | None, int]:
        """The amount that begins at a number, and where to go on."""
        first = self._piece(text, start)
        if first is None:
            return None, start.end()
        left, position = start.start(), first.end
        if text[left - 1 : left] == "第" or (left and start["n"][0].isdigit() and text[left - 1].isascii() and text[left - 1].isalnum()):
            return None, start.end()
        low, high, exact, unit = first.low, first.high, first.exact, first.unit
        second = None
        if to := _TO.match(text, position):
            number = _STARTS.match(text, to.end())
            second = self._piece(text, number) if number else None
            if second and (second.unit or unit or text[second.end : second.end + 1] not in ("月", "号", "日")):
                position, exact = second.end, False
                unit, high = second.unit or unit, second.high
                if second.unit and first.unit and first.unit != second.unit:
                    low *= self._factor(first.unit) / self._factor(second.unit)
                elif low < 10 and second.low >= 100 and start["n"][-1] not in "十百千万":
                    low *= place(second.low)  # 三到五百
            else:
                second = None
        if start["share"]:
            unit = PERCENT
        words = []
        if before := self._before.search(text, max(0, left - 6), left):
            words, left = [before[1]], before.start()
        if unit is None and text[start.start() - 1 : start.start()] in ("¥", "￥"):
            unit, left = YUAN, min(left, start.start() - 1)
        if after := self._after.at(text, position):
            words.append(after)
            position += len(after)
        opened = False
        for word in words:
            manner = self._manners[word]
            bottom, top = Decimal(str(manner.low)), Decimal(str(manner.high))
            high = max(high * top, high + place(high)) if top > bottom >= 1 else high * top
            low, opened, exact = low * bottom, manner.open, False
        name = YUAN if unit == "块" else self._forms.get(unit or "")
        scale, factor = self._scales.get(name or "", (name or "", Decimal(1)))
        simple = not words and second is None and not start["n"][0].isdigit() and unit not in (None, PERCENT)
        few = high <= FEW if name in self._soft else len(unit or "") == 1 and high <= SMALL_TALK and scale not in ("mass", "volume")
        loose = simple and few and not self._measured.search(text, max(0, left - 8), position + 4)
        about = bool(words) or first.more or not (exact or second)
        amount = Amount(left, position, start.start(), low * factor, high * factor, opened, exact, about, name, scale, loose)
        return amount, max(position, start.end())

    def _factor(self, unit: str) -> Decimal:
        return self._scales.get(self._forms.get(unit, ""), ("", Decimal(1)))[1]
