"""What is said of an expression is what `re` does with it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.packs.load import load_pack
from common.text.patterns import MANY, anchors, longest, ways


@pytest.mark.parametrize(
    ("pattern", "most", "words"),
    [
        ("顶级", 2, {"顶级"}),
        ("(国家|世界)级(?!别)", 3, {"国家级", "世界级"}),
        ("最[佳好]", 2, {"最佳", "最好"}),
        ("(最|顶)?级", 2, {"级", "最级", "顶级"}),
        (r"\d{1,3}天见效", 6, {"天见效"}),
        ("比.{0,10}便宜", 13, {"便宜"}),
        ("(甲|乙.)丙", 3, {"丙"}),
        (r"\d", 1, None),
        ("甲?", 1, None),
    ],
)
def test_anchors_and_length(pattern: str, most: int, words: set[str] | None) -> None:
    assert longest(pattern) == most
    found = anchors(pattern, length=9)
    assert (None if found is None else set(found)) == words


@pytest.mark.parametrize(
    ("pattern", "most"),
    [
        ("顶级", 1),
        ("国家级|世界级|省级", 2),  # two lengths: at one place stands at most one word of each
        ("(最好|最好|顶级)的", 2),
        ("最.{0,8}好", 9),
        ("(最|.{0,8})好", 10),
        ("(?!.{0,8}不)最", 9),
        ("(好{1,9}){1,8}", sum(9**times for times in range(1, 9))),
        ("(((最?){0,900}){0,900}){0,900}", MANY),
    ],
)
def test_the_ways_to_match_are_what_is_repeated_inside_of_what_is_repeated(pattern: str, most: int) -> None:
    assert ways(pattern) == most


PATTERNS = [pattern for rule in load_pack("shop").lexicon.rules for pattern in rule.patterns]


@given(st.sampled_from(PATTERNS), st.data())
def test_every_match_of_a_rule_holds_one_of_its_anchors(pattern: str, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(pattern, fullmatch=False).filter(lambda one: len(one) < 300))
    match = re.search(pattern, text)
    words = anchors(pattern, length=3)
    if match and words is not None:
        assert any(word in text for word in words)
        assert match.end() - match.start() <= longest(pattern)
