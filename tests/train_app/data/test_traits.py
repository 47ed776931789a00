import pytest

from common.domain.context import BehaviorSummary, Context
from common.domain.product import Product
from common.errors import ConfigError
from train_app.data.traits import counterfactuals, known_traits, with_trait

PRODUCT = Product(product_id="p1", title="女士双肩包", category="双肩包")
GENDER = known_traits()["gender"]


def test_a_word_that_tells_the_trait_is_swapped_wherever_it_is_known() -> None:
    behavior = BehaviorSummary(last_review_content="买给妈妈，她说好", num_events=3)
    context = Context(product=PRODUCT, persona="爱运动的女生", behavior=behavior, controls={"topic": "value"})
    swapped = with_trait(context, GENDER, "male")
    assert swapped.persona == "爱运动的男生"
    assert swapped.behavior.last_review_content == "买给爸爸，她说好"
    assert swapped.product == PRODUCT, "the product is no user"
    assert swapped.controls == context.controls
    assert with_trait(context, GENDER, "female") == context


def test_a_user_of_whom_nothing_is_said_is_said_to_have_it() -> None:
    context = Context(product=PRODUCT)
    assert with_trait(context, GENDER, "female").persona == "女生"
    assert with_trait(context.model_copy(update={"persona": "通勤族"}), GENDER, "male").persona == "男生，通勤族"
    assert len(with_trait(context.model_copy(update={"persona": "长" * 80}), GENDER, "male").persona) == 80


@pytest.mark.parametrize("trait", known_traits())
def test_twins_differ_in_the_user_alone_and_stand_in_the_files_order(trait: str) -> None:
    values = list(known_traits()[trait])
    for seed in range(8):
        one, other = counterfactuals(Context(product=PRODUCT, persona="通勤族"), trait, seed=seed)
        assert one.persona != other.persona
        assert one.model_copy(update={"persona": None}) == other.model_copy(update={"persona": None})
        said = [next(value for value in values if known_traits()[trait][value][0] in twin.persona) for twin in (one, other)]
        assert values.index(said[0]) < values.index(said[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [("gender: {female: [女]}", "two or more"), ("gender: {female: [女], male: [女]}", "'女' stands under two values")],
)
def test_a_trait_of_ones_own_that_tells_nothing_apart_is_refused(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "traits.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        known_traits(str(path))
