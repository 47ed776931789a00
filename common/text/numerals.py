"""Numbers as Chinese texts write them: 299, 3.5万, 三百, 百分之三十. Knows no units and no phrases (出头): those are a pack's data."""

import re
from dataclasses import dataclass
from decimal import Decimal

DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "俩": 2}
TENS = {"十": 10, "百": 100, "千": 1000}
MYRIADS = {"万": 10_000, "亿": 100_000_000}

_NUMERAL_CHARACTERS = "".join(DIGITS) + "".join(TENS) + "".join(MYRIADS)
_ARABIC = r"\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?"
_NUMBER = re.compile(
    rf"百分之(?:{_ARABIC}|[{_NUMERAL_CHARACTERS}]+(?:点[{''.join(DIGITS)}]+)?)|(?:{_ARABIC})[十百千]?[万亿]?|[{_NUMERAL_CHARACTERS}]+(?:点[{''.join(DIGITS)}]+)?[万亿]?"
)
_MIXED = re.compile(rf"({_ARABIC})([十百千]?)([万亿]?)")
MAX_CHARS = 32


@dataclass(frozen=True, slots=True)
class NumberSpan:
    value: Decimal
    """百分之三十 is 0.3."""
    span: tuple[int, int]
    text: str


def parse_number(text: str) -> Decimal | None:
    """The number that the whole of `text` writes, or None. An omitted last unit is understood: 一千二 is 1200."""
    text = text.strip()
    if not text or len(text) > MAX_CHARS:
        return None
    if text.startswith("百分之"):
        share = parse_number(text.removeprefix("百分之"))
        return None if share is None or text.count("百分之") > 1 else share / 100
    mixed = _MIXED.fullmatch(text)
    if mixed and mixed[1].isascii():
        return Decimal(mixed[1].replace(",", "")) * TENS.get(mixed[2], 1) * MYRIADS.get(mixed[3], 1)
    whole, point, fraction = text.partition("点")
    if not point:
        value = _integer(text)
        return None if value is None else Decimal(value)
    myriad = MYRIADS.get(fraction[-1:], 1)
    digits = fraction[:-1] if myriad > 1 else fraction
    value = _integer(whole)
    if value is None or not digits or any(c not in DIGITS for c in digits):
        return None
    return Decimal(f"{value}.{''.join(str(DIGITS[c]) for c in digits)}") * myriad


def find_numbers(text: str) -> list[NumberSpan]:
    """All numbers of a text from left to right, the longest reading of each; numerals inside words (第一, 一款) are among them."""
    found = []
    for match in _NUMBER.finditer(text):
        start, end = match.span()
        while end > start:  # a run of numerals that is no number (一百百) is read as the longest prefix that is one
            value = parse_number(text[start:end])
            if value is not None:
                found.append(NumberSpan(value, (start, end), text[start:end]))
                break
            end -= 1
    return found


def _integer(text: str) -> int | None:
    """Chinese numerals of a whole number; also digit by digit (二零二六)."""
    if not text or any(c not in _NUMERAL_CHARACTERS for c in text):
        return None
    if all(c in DIGITS for c in text):
        return int("".join(str(DIGITS[c]) for c in text)) if len(text) == 1 or len(text) > 2 or text[0] in "零〇" else None
    for name, size in reversed(MYRIADS.items()):
        if name not in text:
            continue
        head, _, tail = text.rpartition(name)
        high = None if name in head else _integer(head)
        low = _tail(tail, omitted_unit=size // 10)
        return None if high is None or high == 0 or low is None or low >= size else high * size + low
    return _below_myriad(text)


def _tail(text: str, *, omitted_unit: int) -> int | None:
    """What follows a 万 or 亿; a lone digit counts the next lower unit (两万五), unless a 零 stands before it."""
    if not text:
        return 0
    if len(text) == 1 and text in DIGITS:
        return DIGITS[text] * omitted_unit
    stripped = text.lstrip("零〇")
    if not stripped:
        return None
    if len(stripped) == 1 and stripped in DIGITS:
        return DIGITS[stripped]
    return _integer(stripped)


def _below_myriad(text: str) -> int | None:
    total, ceiling, position = 0, 10_000, 0
    after_zero = False
    while position < len(text):
        character = text[position]
        if character in "零〇":
            if after_zero or position == 0:
                return None
            after_zero, position = True, position + 1
            continue
        if character in TENS:  # 十五; elsewhere a unit needs its digit
            if position or character != "十":
                return None
            digit, unit, position = 1, 10, position + 1
        elif position + 1 < len(text) and text[position + 1] in TENS:
            digit, unit, position = DIGITS[character], TENS[text[position + 1]], position + 2
        elif position + 1 == len(text):
            digit, position = DIGITS[character], position + 1
            unit = 1 if after_zero or ceiling <= 10 else ceiling // 10
        else:
            return None
        if unit >= ceiling:
            return None
        total, ceiling, after_zero = total + digit * unit, unit, False
    return None if after_zero else total
