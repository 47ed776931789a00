import pytest

from common.packs.schema import TextForm
from common.quality.well_formed import check_language, check_length

FORM = TextForm()


@pytest.mark.parametrize(
    "text", ["轻便好用。", "真的轻吗？真的！", "他说“很轻。”", "轻便好用（真的）！", "ANC开了，世界就静了…", "好用的蓝牙5耳机~"]
)
def test_finished_sentences_pass(text: str) -> None:
    assert check_language(text, form=FORM).findings == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("轻便好用，", "unfinished"),
        ("轻便好用的", "unfinished"),
        ("", "unfinished"),
        ("轻便\u200b好用。", "U+200B"),
        ("轻便\n好用。", "U+000A"),
        ("轻便好用。\x00", "U+0000"),
        ("【新品】好用。", "U+3010"),
        ("very good earbuds。", "0% of the letters"),
        (" 轻便好用。", "space"),
        ("他说“很轻。", "partner"),
        ("很轻）好用。", "partner"),
        ("轻\ufffd便。", "U+FFFD"),
    ],
)
def test_what_is_not_finished_fails(text: str, said: str) -> None:
    assert said in " ".join(check_language(text, form=FORM).findings)


def test_the_bounds_are_the_packs() -> None:
    assert not check_length("短。", form=FORM).passed
    assert check_length("短。", form=TextForm(min_chars=2)).passed
    assert not check_length("长" * 221, form=FORM).passed
    assert check_language("very good earbuds", form=TextForm(min_han_share=0, end_marks="")).passed
