import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.text.normalise import DELIMITERS, fold, normalise, plain

ANYTHING = st.text(alphabet=st.characters(), max_size=40)
NASTY = st.text(
    alphabet=st.sampled_from("乾隆瞭解著麼髮一A１｜|【︻〔︹\u200b\u202e\u3164\ufe0f \t\r\n\u2028é\u0301가ᄀ\u1160㈱½…～，"), max_size=16
)


@given(ANYTHING | NASTY)
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(ANYTHING | NASTY)
def test_plain_never_holds_a_delimiter_and_is_stable(text: str) -> None:
    once = plain(text)
    assert not set(once) & set(DELIMITERS)
    assert plain(once) == once


@given(ANYTHING | NASTY, st.integers(0, 12))
def test_plain_keeps_to_its_length(text: str, max_chars: int) -> None:
    assert len(plain(text, max_chars=max_chars)) <= max_chars


@given(ANYTHING | NASTY)
def test_folding_says_where_each_character_came_from(text: str) -> None:
    folded, origin = fold(text)
    assert len(origin) == len(folded) + 1
    assert origin[-1] == len(text)
    assert list(origin) == sorted(origin)


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("ＡＢＣ１２３", "ABC123"),
        ("轻便，好用！（新款）", "轻便，好用！（新款）"),
        ("降\u200b噪\u202e耳\ufeff机", "降噪耳机"),
        ("藍牙耳機的續航", "蓝牙耳机的续航"),
        ("乾隆年間的乾燥", "乾隆年间的干燥"),
        ("  两 \u3000 个  \n\n 空行 ", "两 个\n空行"),
        ("坏\x00字\x07符\ue000", "坏字符"),
        ("\ud800", ""),
    ],
)
def test_normalise(given_text: str, expected: str) -> None:
    assert normalise(given_text) == expected


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("【新品】耳机｜主题：品质", "新品 耳机 主题：品质"),
        ("第一行\r\n第二行\t尾", "第一行 第二行 尾"),
        ("︻竖排︼︹括号︺", "竖排 括号"),
    ],
)
def test_plain(given_text: str, expected: str) -> None:
    assert plain(given_text) == expected


def test_a_cut_never_separates_a_letter_from_its_accent() -> None:
    assert plain("ab\u0323\u0331c", max_chars=3) == "aḅ\u0331"
    assert plain("x\u0332\u0302y", max_chars=2) == ""  # x with two marks is one grapheme of three characters


def test_folding_finds_what_is_written_differently() -> None:
    folded, origin = fold("Ａ\u200bＮＣ降噪")
    assert folded == "anc降噪"
    assert origin[folded.index("降")] == 4
