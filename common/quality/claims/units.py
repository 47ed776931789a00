"""Quantities in a text: a number and its unit, with what says how exact it is meant (近, 多, 左右). The units are a pack's data."""

import re
from dataclasses import dataclass
from decimal import Decimal

from common.packs.schema import FactPack
from common.text.normalise import fold
from common.text.numerals import NumberSpan, find_numbers, parse_number
from common.text.phrases import PhraseSet

NUMERALS = "零〇一二三四五六七八九十百千万亿两"
PERCENT = "%"
SMALL_TALK = 2
"""一键, 两页, 一包: up to this, a Chinese numeral before a one-character unit is a way of speaking, not a quantity."""

_BEFORE = re.compile(r"(将近|接近|大约|差不多|约|近|不到|不足|少于|超过|超|逾|第)$")
_AFTER = re.compile(r"(左右|上下|以上|以内)")
_MORE = ("多", "余", "来")
_ABOUT = frozenset(["将近", "接近", "大约", "差不多", "约", "近", "左右", "上下"])
_BELOW = frozenset(["不到", "不足", "少于", "以内"])


@dataclass(frozen=True, slots=True)
class Quantity:
    value: Decimal
    unit: str
    start: int
    end: int
    manner: str
    """exact | about | below | above"""

    def true_of(self, known: Decimal) -> bool:
        if self.manner == "about":
            return abs(known - self.value) <= self.value / 10
        if self.manner == "below":
            return self.value * Decimal("0.75") <= known <= self.value
        if self.manner == "above":
            return self.value <= known < self.value + max(place(self.value), self.value / 10)
        return known == self.value


def place(value: Decimal) -> Decimal:
    """The unit of the last digit that is not zero: 3400 -> 100; "3400多" is below 3500."""
    if value == 0:
        return Decimal(1)
    exponent = value.normalize().as_tuple().exponent
    return Decimal(10) ** int(exponent)


class Units:
    """A pack's units, ready to be found."""

    def __init__(self, facts: FactPack) -> None:
        forms = {fold(form)[0]: unit for unit, written in facts.units.items() for form in (unit, *written)}
        forms.setdefault(PERCENT, PERCENT)
        self._forms = forms
        self._phrases = PhraseSet(forms)
        self._conversions = {
            unit: {other: Decimal(str(factor)) for other, factor in rest.items()} for unit, rest in facts.conversions.items()
        }

    def at(self, text: str, position: int) -> str | None:
        """The unit as written at a place, longest first; a Latin unit may follow a digit directly but ends where its word ends."""
        phrase = self._phrases.at(" " * min(position, 1) + text[position:], min(position, 1))
        return phrase

    def find(self, text: str) -> list[Quantity]:
        found = []
        for number in find_numbers(text):
            quantity = self._quantity(text, number)
            if quantity is not None:
                found.append(quantity)
        return found

    def quantities(self, text: str) -> list[tuple[Decimal, str]]:
        """(value, unit) of all that a fact states, converted into every unit that can say it."""
        return [same for q in self.find(text) for same in self.same(q.value, q.unit)]

    def same(self, value: Decimal, unit: str) -> list[tuple[Decimal, str]]:
        result = [(value, unit)]
        for other, factor in self._conversions.get(unit, {}).items():
            result.append((value * factor, other))
        for other, rest in self._conversions.items():
            if unit in rest:
                result.append((value / rest[unit], other))
        return [(v.normalize(), u) for v, u in result]

    def bare(self, text: str, *, unit: str | None) -> list[tuple[Decimal, str]]:
        """A value without a unit whose key has one (页数: 40)."""
        value = parse_number(text)
        canonical = self._forms.get(fold(unit)[0]) if unit else None
        return self.same(value, canonical) if value is not None and canonical else []

    def is_quantity(self, text: str) -> bool:
        """Whether the whole text is a number and a unit."""
        return any(q.start == 0 and q.end == len(text) for q in self.find(text))

    def _quantity(self, text: str, number: NumberSpan) -> Quantity | None:
        before = _BEFORE.search(text, max(0, number.span[0] - 3), number.span[0])
        if before and before[1] == "第":
            return None
        if number.text.startswith("百分之"):
            return Quantity((number.value * 100).normalize(), PERCENT, *number.span, manner=_manner(before, False, None))
        for value, end in _readings(number):
            more = text.startswith(_MORE, end)
            unit = self.at(text, end + more)
            if unit is None:
                continue
            spoken = text[number.span[0]] in NUMERALS and len(unit) == 1 and value <= SMALL_TALK
            if spoken and unit != PERCENT:
                return None
            after = _AFTER.match(text, end + more + len(unit))
            stop = after.end() if after else end + more + len(unit)
            start = before.start() if before else number.span[0]
            return Quantity(value.normalize(), self._forms[unit], start, stop, manner=_manner(before, more, after))
        return None


def _readings(number: NumberSpan) -> list[tuple[Decimal, int]]:
    """A number and where it ends; 5千克 is 5 of 千克 before it is 5千 of 克."""
    readings = [(number.value, number.span[1])]
    if number.text[-1] in "十百千万亿" and len(number.text) > 1:
        shorter = parse_number(number.text[:-1])
        if shorter is not None:
            readings.insert(0, (shorter, number.span[1] - 1))
    return readings


def _manner(before: re.Match[str] | None, more: bool, after: re.Match[str] | None) -> str:
    words = {match[1] for match in (before, after) if match}
    if words & _BELOW:
        return "below"
    if more or words & {"超过", "超", "逾", "以上"}:
        return "above"
    return "about" if words & _ABOUT else "exact"
