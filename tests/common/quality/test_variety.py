"""Two reasons of a page that read as one are found, and two that only share a name are not."""

import pytest

from common.quality.variety import Shown, opening

FIRST = "续航30小时，通勤一周不用充电。"


@pytest.mark.parametrize(
    "text",
    [
        FIRST,
        "续航30小时，出差也够用，降噪安静。",
        "续航３０小时！周末出门不带线。",
        "轻，续航30小时，通勤一周不用充电呢。",
    ],
    ids=["itself", "same opening", "same opening in full width", "most words"],
)
def test_an_equal_opening_or_most_of_the_words_is_alike(text: str) -> None:
    assert Shown([FIRST]).has_like(text)


@pytest.mark.parametrize("text", ["降噪安静，通勤路上听歌不吵。", "续航长，通勤一周充一次。", "好", ""])
def test_other_words_are_another_reason(text: str) -> None:
    assert not Shown([FIRST]).has_like(text)


def test_an_opening_is_the_first_clause_or_as_many_as_make_one() -> None:
    assert opening("轻，软，一整天都舒服。") == "轻软一整天都舒服"
    assert opening("续航30小时，够用。") == "续航30小时"


def test_what_was_added_counts_from_then_on() -> None:
    shown = Shown()
    assert not shown.has_like(FIRST)
    shown.add(FIRST)
    assert shown.has_like(FIRST)
