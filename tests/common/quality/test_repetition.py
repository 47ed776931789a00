import pytest

from common.quality.repetition import check_repetition


@pytest.mark.parametrize(
    "text",
    [
        "轻轻巧巧的一副耳机，戴着听歌刚刚好！",
        "哈哈，这双鞋真的轻！！",
        "真的吗？！真的。",
        "面料为真丝，颜色为奶油白，裙长一百二十厘米，版型为收腰版型，通勤和约会都合适。",
    ],
)
def test_clean_texts_pass(text: str) -> None:
    assert check_repetition(text).findings == ()


@pytest.mark.parametrize(
    "text",
    [
        "好好好好好用的耳机。",
        "轻巧好戴，轻巧好戴，听歌很好。",
        "适合通勤路上听歌的耳机也适合通勤路上听歌的你。",
        "很轻，，很好。",
        "轻便的轻便的轻便的轻便的轻便的轻便的轻便的轻便的。",
    ],
)
def test_texts_that_go_round_fail(text: str) -> None:
    assert not check_repetition(text).passed


def test_a_long_name_may_be_said_twice() -> None:
    title = "澄音轻语主动降噪蓝牙耳机"
    text = f"{title}来了，想要安静就选{title}。"
    assert not check_repetition(text).passed
    assert check_repetition(text, quotable=(title,)).passed
