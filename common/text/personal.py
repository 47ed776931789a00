"""A person's data in a text: numbers by which somebody can be reached, paid or identified. Knows their forms and check digits, no names."""

import re

Span = tuple[int, int]
MASK = "***"
_HINT = re.compile(r"\d{3}[-. ]?\d{4}[-. ]?\d{4}|@|(微信|qq)(?=号?[:：])", re.IGNORECASE)
"""Without one of these there is nothing to look for: nearly every text."""
_NAMED = re.compile(r"(型号|货号|条码|条形码|批号|编号|款号|备案号|批准文号|专利号|isbn)[:：]?\s?[A-Za-z]*$", re.IGNORECASE)
"""Before a number: it names a thing."""
_FORMS = (
    re.compile(r"(?<![\dA-Za-z])\d{17}[\dXx](?![\dA-Za-z])"),
    re.compile(r"(?<!\d)(?:\+?86[- ]?)?1[3-9]\d[-. ]?\d{4}[-. ]?\d{4}(?![\dA-Za-z])"),
    re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z]{2,10}){1,3}"),
    re.compile(r"(?:微信|qq)号?[:：]\s?[A-Za-z0-9_-]{5,20}", re.IGNORECASE),
)
_IDENTITY = _FORMS[0]
_RUN = re.compile(r"\d(?:[- ]?\d){15,60}")
_GROUP = re.compile(r"\d+")
_CARD_DIGITS = range(16, 20)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
"""Of GB 11643-1999, whose check digit is 1 0 X 9 8 7 6 5 4 3 2 by the sum modulo 11."""


def find(text: str) -> list[Span]:
    """Identity numbers (GB 11643) and bank cards (Luhn) by their check digits, mobile numbers, e-mail addresses, named accounts; in order.

    A number that stands behind 型号, 条码 and the like is a thing's.
    """
    if not _HINT.search(text):
        return []
    found: list[Span] = _cards(text)
    for form in _FORMS:
        for match in form.finditer(text):
            start, end = match.span()
            if form is _IDENTITY and not _is_identity(match.group()):
                continue
            if not _NAMED.search(text[max(0, start - 12) : start]) and all(end <= low or high <= start for low, high in found):
                found.append((start, end))
    return sorted(found)


def masked(text: str) -> tuple[str, int]:
    """The text with MASK in place of each, and how many there were."""
    found = find(text)
    for start, end in reversed(found):
        text = f"{text[:start]}{MASK}{text[end:]}"
    return text, len(found)


def _cards(text: str) -> list[Span]:
    """Numbers in a run of digits that begin and end where a group does: beside a card stands its month."""
    found: list[Span] = []
    for run in _RUN.finditer(text):
        groups = [(run.start() + group.start(), run.start() + group.end()) for group in _GROUP.finditer(run.group())]
        at = 0
        while at < len(groups):
            ends = (end for _, end in groups[at:] if _is_card(text[groups[at][0] : end]))
            if (end := next(ends, None)) is None or _NAMED.search(text[max(0, groups[at][0] - 12) : groups[at][0]]):
                at += 1
                continue
            found.append((groups[at][0], end))
            at = next((further for further, (start, _) in enumerate(groups) if start >= end), len(groups))
    return found


def _is_identity(number: str) -> bool:
    total = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False))
    month, day = int(number[10:12]), int(number[12:14])
    return number[-1].upper() == "10X98765432"[total % 11] and 1 <= month <= 12 and 1 <= day <= 31


def _is_card(number: str) -> bool:
    """ISO/IEC 7812-1, Annex B."""
    digits = [int(character) for character in number if character.isdigit()]
    if len(digits) not in _CARD_DIGITS:
        return False
    doubled = (digit if at % 2 == 0 else digit * 2 - 9 * (digit > 4) for at, digit in enumerate(reversed(digits)))
    return digits[0] in (3, 4, 5, 6) and sum(doubled) % 10 == 0
