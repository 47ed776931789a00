import itertools

import pytest

from common.packs.load import load_pack
from train_app.data.public_datasets import advertisegen, amazon_reviews, kobe
from train_app.data.public_datasets.cleaning import content_key, length_class, unfit, without_placeholders


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("采用<UNK>面料", "placeholder <UNK>"),
        ("BRAND的新款", "placeholder BRAND"),
        ("柔软亲肤的面料，穿着舒服，柔软亲肤的面料。", "repeated clause"),
        ("很好看，很好看。", None),
        ("柔软亲肤的面料，穿着舒服。", None),
    ],
)
def test_what_is_unfit_says_why(text: str, why: str | None) -> None:
    assert unfit(text) == why


def test_texts_that_differ_in_form_only_have_one_key() -> None:
    assert content_key("这款，很好！") == content_key("这款很好") != content_key("这款不好")


@pytest.mark.parametrize("folder", [kobe.PACK, advertisegen.PACK, amazon_reviews.PACK])
def test_a_sets_pack_loads_and_its_lengths_leave_no_gap(folder: object) -> None:
    pack = load_pack(folder)
    style = next(control for control in pack.controls.controls if control.name == "style")
    bounds = [value.chars for value in style.values]
    assert all(after[0] == before[1] + 1 for before, after in itertools.pairwise(bounds))
    assert length_class("字" * bounds[0][0], pack) == "concise"
    assert length_class("字" * 1000, pack) is None


def test_clauses_with_a_placeholder_are_cut_and_the_rest_ends_a_sentence() -> None:
    assert without_placeholders("红裙，<UNK>的袖子，显瘦。BRAND出品！") == "红裙，显瘦。"
    assert without_placeholders("BRAND的裙子，显瘦，<UNK>") == "显瘦。"
    assert without_placeholders("红裙，显瘦") == "红裙，显瘦", "a text without one is left as it was written"
    assert without_placeholders("BRAND<UNK>") == ""
