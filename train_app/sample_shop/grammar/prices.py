"""How a price is said: the pack's price phrases around a round number, in digits or Chinese numerals. Knows no sentence."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from common.packs.schema import PricePhrase
from common.text.numerals import parse_number
from train_app.sample_shop.grammar.facts import shop_facts

DIGITS = "零一二三四五六七八九"
NUMBER = r"\d+(?:\.\d+)?|[一二两三四五六七八九十百千]+"


@dataclass(frozen=True, slots=True)
class Amount:
    phrase: str
    number: str

    def write(self) -> str:
        return self.phrase.replace("{n}", self.number)


@cache
def _phrases() -> tuple[PricePhrase, ...]:
    return shop_facts().price_phrases


def numeral(n: int) -> str:
    """20 -> 二十, 200 -> 两百, 260 -> 两百六, 1200 -> 一千二: round amounts as people say them."""
    if n < 100:
        tens, ones = divmod(n, 10)
        return ("" if tens == 1 else DIGITS[tens]) + "十" + (DIGITS[ones] if ones else "")
    unit, size = ("千", 1000) if n >= 1000 else ("百", 100)
    head, rest = divmod(n, size)
    lead = "两" if head == 2 else DIGITS[head]
    return lead + unit + (DIGITS[rest * 10 // size] if rest else "")


def holds(phrase: PricePhrase, number: Decimal, price_yuan: Decimal) -> bool:
    n = float(number)
    return phrase.low * n + phrase.offset <= float(price_yuan) <= phrase.high * n + phrase.offset


@cache
def fitting_amounts(price_yuan: Decimal) -> Sequence[Amount]:
    """All ways to say this price: exactly, or around a round number (one digit and zeros, or halves of it)."""
    amounts = []
    exact = f"{price_yuan.normalize():f}"
    size = 10 ** (len(str(int(price_yuan))) - 1) if price_yuan >= 10 else 1
    rounds = sorted({10 * size} | {head * size + half for head in range(1, 10) for half in (0, size // 2)})
    for phrase in _phrases():
        if phrase.low == phrase.high == 1.0:
            amounts.append(Amount(phrase.phrase, exact))
            continue
        for n in rounds:
            if n >= 10 and n % 10 == 0 and holds(phrase, Decimal(n), price_yuan) and abs(n - float(price_yuan)) <= 0.13 * n:
                if n != 250:  # 两百五 is an insult
                    amounts.append(Amount(phrase.phrase, numeral(n)))
                amounts.append(Amount(phrase.phrase, str(n)))
    return tuple(dict.fromkeys(amounts))


@cache
def price_pattern() -> str:
    """A regular expression that any of the phrases matches; for `read_amount`."""
    phrases = sorted((phrase.phrase for phrase in _phrases()), key=len, reverse=True)
    return "|".join(re.escape(phrase).replace(r"\{n\}", f"(?:{NUMBER})") for phrase in phrases)


@cache
def read_amount(text: str) -> tuple[PricePhrase, Decimal] | None:
    """The phrase and the number of a price as it is said; None when no phrase reads like that."""
    for phrase in sorted(_phrases(), key=lambda phrase: len(phrase.phrase), reverse=True):
        match = re.fullmatch(re.escape(phrase.phrase).replace(r"\{n\}", f"({NUMBER})"), text)
        number = parse_number(match[1]) if match else None
        if number is not None:
            return phrase, number
    return None
