"""Readers that learn on people's texts: they name the right user and code on such texts, and are at chance where a text says nothing."""

import random
from dataclasses import replace

import pytest

from common.domain.context import BehaviorSummary, Context, ProductMention
from common.domain.product import Product
from common.packs.load import load_pack
from train_app.data.examples import WRITTEN_BY, Example
from train_app.data.split import Splits
from train_app.evaluation.matcher import AMONG, FEWEST, fit_matcher, of_matched
from train_app.evaluation.readers import fit_readers

CATEGORIES = ("蓝牙耳机", "机械键盘", "充电宝", "跑鞋", "保温杯", "台灯", "面霜", "绘本")
VERBS = {"viewed": "看过", "purchased": "买过"}
VALUES = {"quality": "做工紧实", "value": "价格合算"}


def example(index: int, rng: random.Random) -> Example:
    kind, category, topic = rng.choice(list(VERBS)), rng.choice(CATEGORIES), rng.choice(list(VALUES))
    mention = ProductMention(product_id=f"m{index}", title=category, category=category)
    context = Context(
        product=Product(product_id=f"p{index}", title="城市双肩包", category="双肩包"),
        behavior=BehaviorSummary(**{f"last_{kind}": mention}, num_events=index + 1),
        controls={"topic": topic},
    )
    text = f"{VERBS[kind]}的{category}还顺手吧，这只双肩包{VALUES[topic]}。"
    return Example(str(index), context, text, {"topic": topic}, f"p{index}", {})


def examples(num: int, *, seed: int) -> list[Example]:
    rng = random.Random(seed)
    return [example(index, rng) for index in range(num)]


@pytest.fixture(scope="module")
def readers():
    return fit_readers(Splits(evaluator=examples(200, seed=1)), vocabulary=load_pack("shop").vocabulary)


def test_people_texts_are_matched_and_their_codes_read(readers) -> None:
    shown = examples(150, seed=2)
    found = readers.measures("reference", [one.text for one in shown], shown)
    assert found["reference.matched"].value > 0.75  # two users in five may have the same last product: no reader knows better
    assert found["reference.told_topic"].value == 1
    assert set(found) == {"reference.matched", "reference.told_topic"}


def test_texts_that_ignore_the_user_are_matched_by_chance(readers) -> None:
    shown = examples(400, seed=3)
    found = readers.measures("sample", ["这只双肩包做工紧实。"] * len(shown), shown)["sample.matched"]
    assert found.low < 1 / AMONG < found.high


def test_another_users_text_is_not_taken_for_this_ones(readers) -> None:
    shown = examples(400, seed=4)
    texts = [one.text for one in shown]
    moved = readers.measures("sample", [*texts[1:], texts[0]], shown)["sample.matched"]
    assert moved.high < readers.measures("sample", texts, shown)["sample.matched"].low - 0.4


def test_a_text_under_the_wrong_code_is_read_as_what_it_says(readers) -> None:
    shown = [one for one in examples(100, seed=5) if one.context.controls["topic"] == "value"]
    found = readers.measures("sample", [one.text.replace(VALUES["value"], VALUES["quality"]) for one in shown], shown)
    assert found["sample.told_topic"].value == 0


def test_with_too_few_reasons_nobody_is_taught(readers) -> None:
    assert fit_matcher(examples(FEWEST - 1, seed=6)) is None
    none = fit_readers(Splits(), vocabulary=load_pack("shop").vocabulary)
    assert none.measures("sample", ["好。"], examples(1, seed=7)) == {}


def test_on_the_sample_shop_people_are_matched_and_texts_that_name_nothing_but_the_product_are_not(shop_splits) -> None:
    """What people look at goes with what they are shown: beside users of any goods such texts were matched far above chance."""
    matcher, shown = fit_matcher(shop_splits.train), shop_splits.test
    people = of_matched("reference", matcher, [one.text for one in shown], shown)["reference.matched"]
    blind = of_matched("sample", matcher, [one.context.product.title + one.context.product.category for one in shown], shown)[
        "sample.matched"
    ]
    assert people.low > 0.45
    assert blind.low < 1 / AMONG < blind.high
    assert people.n == blind.n > 200


def test_a_row_without_four_others_of_its_category_is_left_out(readers) -> None:
    shown = examples(AMONG - 1, seed=8)
    assert "sample.matched" not in readers.measures("sample", [one.text for one in shown], shown)


def test_on_the_sample_shop_the_ceiling_of_every_control_is_high(shop_splits) -> None:
    found = fit_readers(shop_splits, vocabulary=load_pack("shop").vocabulary).measures(
        "reference", [one.text for one in shop_splits.test], shop_splits.test
    )
    assert min(found[f"reference.told_{control}"].value for control in ("topic", "emotion", "style")) > 0.95


def test_what_a_bundle_wrote_teaches_no_reader() -> None:
    written = [replace(one, provenance={WRITTEN_BY: "lb-1"}) for one in examples(200, seed=9)]
    assert fit_readers(Splits(train=written), vocabulary=load_pack("shop").vocabulary).measures("sample", ["好。"], written[:1]) == {}
