"""What identifies a person is found by its check digits; what names a thing is left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.text.personal import MASK, find, masked

IDENTITY, CARD = "11010519491231002X", "4111111111111111"
"""The example of GB 11643 and a test number of card networks: nobody's."""


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"证件{IDENTITY}已登记", f"证件{MASK}已登记"),
        (f"卡号 {CARD}", f"卡号 {MASK}"),
        ("卡号4111-1111-1111-1111。", f"卡号{MASK}。"),
        ("卡 4111 1111 1111 1111 08/27", f"卡 {MASK} 08/27"),
        (f"2 {CARD}", f"2 {MASK}"),
        (f"{CARD} 5", f"{MASK} 5"),
        ("tel13800138000", f"tel{MASK}"),
        ("138.0013.8000", MASK),
        ("电话13800138000，找我", f"电话{MASK}，找我"),
        ("+86 138-0013-8000", MASK),
        ("写信到 someone@example.com 吧", f"写信到 {MASK} 吧"),
        ("微信：liyou_2026", MASK),
    ],
)
def test_a_persons_data_is_masked(text: str, clean: str) -> None:
    assert masked(text) == (clean, 1)


@pytest.mark.parametrize(
    "text",
    [
        "型号13800138000",
        "条码：6901234567892",
        "ISBN 9787111636220",
        "110105194912310021",
        "4111111111111112",
        "续航30小时，售价1299元，1280人评价",
        "6901234567892",
        "@生活",
        "2024年11月11日 20:00",
    ],
)
def test_what_is_no_persons_is_left(text: str) -> None:
    assert masked(text) == (text, 0)


@given(st.text(max_size=80))
def test_any_text_is_read_and_masking_leaves_nothing_to_mask(text: str) -> None:
    clean, count = masked(text)
    assert (count == 0) == (clean == text)
    assert all(0 <= start < end <= len(text) for start, end in find(text))
