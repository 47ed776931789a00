import pytest
from pydantic import ValidationError

from common.domain.context import BehaviorSummary, Context
from common.domain.product import Product
from common.packs.load import load_pack
from common.packs.schema import Traits
from train_app.data.traits import NEUTRAL, every_value, names_of, twins, with_trait

PRODUCT = Product(product_id="p1", title="女士双肩包", category="双肩包")
SHOP = load_pack("shop").traits
GENDER = SHOP.traits["gender"]


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


def test_in_a_script_with_spaces_a_word_ends_where_its_letters_do() -> None:
    gender = load_pack("amazon").traits.traits["gender"]
    context = Context(product=PRODUCT, persona="a woman who plays, and reads manuals")
    assert with_trait(context, gender, "male").persona == "a man who plays, and reads manuals"
    assert with_trait(context.model_copy(update={"persona": "reads manuals"}), gender, "male").persona == "man, reads manuals"


@pytest.mark.parametrize("trait", SHOP.traits)
def test_twins_differ_in_the_user_alone_and_stand_in_the_packs_order(trait: str) -> None:
    values = list(SHOP.traits[trait])
    for seed in range(8):
        one, other = twins(Context(product=PRODUCT, persona="通勤族"), SHOP, trait, seed=seed)
        assert one.persona != other.persona
        assert one.model_copy(update={"persona": None}) == other.model_copy(update={"persona": None})
        said = [next(value for value in values if SHOP.traits[trait][value][0] in twin.persona) for twin in (one, other)]
        assert values.index(said[0]) < values.index(said[1])


def test_neutral_twins_differ_in_words_that_say_nothing_and_a_pack_without_traits_has_no_twins() -> None:
    assert names_of(SHOP) == [*SHOP.traits, NEUTRAL]
    one, other = twins(Context(product=PRODUCT, persona="通勤族"), SHOP, NEUTRAL, seed=1)
    assert [twin.persona for twin in (one, other)] == ["顾客，通勤族", "买家，通勤族"]
    assert names_of(Traits()) == []


def test_whatever_twins_may_be_asked_about_is_among_every_value() -> None:
    context = Context(product=PRODUCT, persona="学生")
    all_of_them = list(every_value([context], SHOP))
    for trait in SHOP.traits:
        for seed in range(6):
            assert all(twin in all_of_them for twin in twins(context, SHOP, trait, seed=seed))


@pytest.mark.parametrize(
    ("traits", "message"),
    [
        ({"traits": {"gender": {"female": ["女"]}}}, "two or more"),
        ({"traits": {"gender": {"female": ["女"], "male": ["男", "女"]}}}, "'女' stands under two values"),
        ({"traits": {"neutral": {"a": ["女"], "b": ["男"]}}}, "give the trait another"),
        ({"neutral": ["顾客"]}, "expected two, or none"),
    ],
)
def test_traits_of_ones_own_that_tell_nothing_apart_are_refused(traits: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Traits.model_validate(traits)
