"""What an item asks of its text, held against texts in whatever disguise."""

import unicodedata
from typing import Any

import opencc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.domain.constraints import Constraints
from common.domain.context import Context
from common.domain.product import Attribute, Product
from common.packs.load import load_pack
from common.quality.constraints import check_constraints
from common.quality.verdict import Checker

TO_TRADITIONAL = opencc.OpenCC("s2t")
CHECKER = Checker(load_pack("shop"))
DRESS = Product(product_id="p1", title="云栖连衣裙", category="连衣裙", attributes=(Attribute(key="面料", value="真丝"),))
TEXT = "这款连衣裙面料为真丝，点开看看。"


def wide(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


DISGUISES = {
    "full width": wide,
    "traditional": TO_TRADITIONAL.convert,
    "zero width": "\u200b".join,
    "spaces": " ".join,
    "capitals": str.upper,
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
}


@given(
    word=st.sampled_from(["真丝", "国产", "全网最低", "iPhone 15", "L'Oréal", "3件套", "凉鞋"]),
    disguises=st.lists(st.sampled_from(sorted(DISGUISES)), max_size=3),
    around=st.tuples(st.sampled_from(["", "这款", "不是"]), st.sampled_from(["", "面料。", "，好看。"])),
)
def test_what_must_be_avoided_is_found_in_any_width_script_and_case_and_between_invisible_characters(
    word: str, disguises: list[str], around: tuple[str, str]
) -> None:
    disguised = word
    for name in disguises:
        disguised = DISGUISES[name](disguised)
    for asked, said in ((word, disguised), (disguised, word)):
        (check,) = check_constraints(said.join(around), Constraints(must_avoid=(asked,)))
        assert (check.name, check.passed, check.findings) == ("must_avoid", False, (f"“{asked}” is said",))
        (check,) = check_constraints(said.join(around), Constraints(must_mention=(asked,)))
        assert check.passed


def test_what_is_not_asked_for_is_not_checked() -> None:
    assert list(CHECKER.judge(TEXT, context=Context(product=DRESS)).checks) == [
        "facts", "controls", "compliance", "length", "language", "repetition",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "failed"),
    [
        ({"must_mention": ("真丝", "連衣裙")}, {}),
        ({"must_mention": ("真丝", "棉麻", "收腰")}, {"must_mention": ("“棉麻” is not said", "“收腰” is not said")}),
        ({"must_avoid": ("棉麻",), "max_chars": len(TEXT)}, {}),
        ({"must_avoid": ("面料",)}, {"must_avoid": ("“面料” is said",)}),
        ({"max_chars": len(TEXT) - 1}, {"max_chars": ("16 characters; at most 15 were asked for",)}),
    ],
)
def test_a_verdict_names_the_words_and_refuses_the_text(asked: dict[str, Any], failed: dict[str, tuple[str, ...]]) -> None:
    verdict = CHECKER.judge(TEXT, context=Context(product=DRESS, constraints=Constraints(**asked)))
    assert verdict.accepted == (not failed)
    assert list(verdict.checks)[6:] == list(asked), "behind the others"
    assert {name: check.findings for name, check in verdict.checks.items() if not check.passed} == failed


def test_what_must_be_mentioned_makes_nothing_true() -> None:
    verdict = CHECKER.judge(
        "这款连衣裙面料为棉麻，点开看看。", context=Context(product=DRESS, constraints=Constraints(must_mention=("棉麻",)))
    )
    assert verdict.checks["must_mention"].passed
    assert not verdict.checks["facts"].passed
    assert not verdict.accepted
