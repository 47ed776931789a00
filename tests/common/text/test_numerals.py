from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.text.numerals import find_numbers, parse_number

NAMES = "零一二三四五六七八九"


def written(number: int) -> str:
    """The test's own writer of Chinese numerals, 0..99999."""
    if number == 0:
        return "零"
    if number >= 10_000:
        rest = number % 10_000
        return (
            written(number // 10_000) + "万" + ("零" if 0 < rest < 1000 else "") + (written(rest).replace("一十", "一十") if rest else "")
        )
    text, gap = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // unit % 10
        if digit:
            text += ("零" if gap and text else "") + NAMES[digit] + name
        gap = digit == 0
    return text


@given(st.integers(0, 99_999))
def test_what_is_written_is_read(number: int) -> None:
    assert parse_number(written(number)) == number


def test_every_number_to_twelve_thousand_is_read() -> None:
    assert [n for n in range(12_000) if parse_number(written(n)) != n] == []


@given(st.decimals(0, 10**7, places=2), st.sampled_from(["", "万"]))
def test_digits_are_read(number: Decimal, unit: str) -> None:
    assert parse_number(f"{number}{unit}") == number * (10_000 if unit else 1)


@given(st.text(alphabet="零一二两三十百千万亿点分之百0123456789.,", max_size=12))
def test_any_run_of_numerals_is_read_or_refused(text: str) -> None:
    parse_number(text)
    for found in find_numbers(text):
        assert text[found.span[0] : found.span[1]] == found.text
        assert parse_number(found.text) == found.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("299", "299"),
        ("1,299", "1299"),
        ("3.5万", "35000"),
        ("三百", "300"),
        ("一千二", "1200"),
        ("两万五", "25000"),
        ("一万零五", "10005"),
        ("两百五", "250"),
        ("一百零五", "105"),
        ("十五", "15"),
        ("二十", "20"),
        ("三点五", "3.5"),
        ("一点二万", "12000"),
        ("百分之三十", "0.3"),
        ("百分之99.5", "0.995"),
        ("二零二六", "2026"),
        ("一亿二", "120000000"),
        ("三万两千", "32000"),
        ("两万五千", "25000"),
        ("5千", "5000"),
    ],
)
def test_ways_of_writing(text: str, value: str) -> None:
    assert parse_number(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "万", "百", "一百百", "一十百", "点五", "三点", "abc", "一千二万万", "零零百", "3.5.5", "三五十"])
def test_what_is_no_number_is_refused(text: str) -> None:
    assert parse_number(text) is None


def test_numbers_are_found_where_they_stand() -> None:
    found = find_numbers("续航30小时，三百出头，重1.5千克")
    assert [(n.text, n.value) for n in found] == [("30", 30), ("三百", 300), ("1.5千", 1500)]
    assert [n.span for n in found] == [(2, 4), (7, 9), (13, 17)]
