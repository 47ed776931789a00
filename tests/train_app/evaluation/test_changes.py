"""A writer that minds its user changes what it says of the user; one that lets the user change the product is found out."""

import random
from types import SimpleNamespace

import pytest

from common.domain.context import BehaviorSummary, Context, ProductMention
from common.domain.decoding import DecodingParams
from common.domain.money import money
from common.domain.product import BRAND, Attribute, Product
from common.errors import PromptTooLong
from common.generation.answer import AnswerPolicy
from common.generation.candidates import Writer, room_for
from common.generation.hf import HfEngine
from common.generation.panel import Panel
from common.packs.load import load_pack
from common.packs.schema import Traits
from common.quality.verdict import Checker
from train_app.data.examples import Example
from train_app.data.split import Splits
from train_app.evaluation import changes as changing
from train_app.evaluation.changes import changed, changes, fairness, swapped
from train_app.evaluation.evaluate import Subject
from train_app.evaluation.readers import fit_readers

PACK = load_pack("shop")
CATEGORIES = ("充电宝", "跑鞋", "保温杯", "台灯")


def examples(num: int) -> list[Example]:
    rng, made = random.Random(1), []
    for index in range(num):
        category = rng.choice(CATEGORIES)
        product = Product(
            product_id=f"p{index}",
            title="青屿蓝牙耳机",
            category="蓝牙耳机",
            attributes=(Attribute(key=BRAND, value="青屿"), Attribute(key="续航", value="20小时")),
            price=money(199),
        )
        mention = ProductMention(product_id=f"m{index}", title=category, category=category)
        context = Context(product=product, behavior=BehaviorSummary(last_viewed=mention, num_events=index + 1), controls={})
        made.append(Example(str(index), context, "好。", {}, product.product_id, {}))
    return made


def measured(text_of):
    """Of a writer that is a function of context and attempt."""
    writer = SimpleNamespace(
        write=lambda contexts, *, k, attempt: [[SimpleNamespace(text=text_of(context, attempt))] for context in contexts]
    )
    subject = SimpleNamespace(writer=writer, panel=Panel(Checker(PACK, threshold=0.0), None))
    return changes(subject, examples(60), num=60)


def seen(context: Context) -> str:
    return context.behavior.last_viewed.category


def test_a_writer_that_minds_its_user_changes_what_is_said_of_the_user_alone() -> None:
    found = measured(lambda context, attempt: f"看过的{seen(context)}先放一放，青屿这副耳机续航20小时，199元很划算。")
    assert found["changes.product_kept"].value == found["changes.product_kept_again"].value == 1
    assert found["changes.product_shift"].value == 0
    assert found["changes.user_true"].value == 1
    assert found["changes.user_true"].n == 60


def test_a_price_that_only_some_users_hear_of_is_a_shift() -> None:
    """Two draws for one user agree; for another user the price goes."""
    found = measured(lambda context, attempt: "青屿这副耳机199元很划算。" if seen(context) == "充电宝" else "青屿这副耳机很好。")
    assert found["changes.product_kept_again"].value == 1
    assert found["changes.product_shift"].high < 0


def test_draws_that_differ_anyway_are_no_shift() -> None:
    found = measured(lambda context, attempt: "青屿这副耳机很好。" if attempt else "青屿这副耳机很好，199元。")
    assert found["changes.product_shift"].value > 0, "the second draw alone lost the price"


def test_a_history_that_is_another_users_is_untrue() -> None:
    found = measured(lambda context, attempt: "看过的充电宝先放一放，青屿这副耳机很好。")
    assert found["changes.user_true"].value < 0.7


def test_without_a_history_nothing_is_measured() -> None:
    one = examples(1)
    bare = [Example("0", one[0].context.model_copy(update={"behavior": BehaviorSummary()}), "好。", {}, "p0", {})]
    assert changes(SimpleNamespace(), bare, num=5) == {}


def unequal(monkeypatch, text_of, read):
    monkeypatch.setattr(changing, "features_of", lambda writer, samples: [read(context) for _, context in samples])
    writer = SimpleNamespace(write=lambda contexts, *, k, attempt: [[SimpleNamespace(text=text_of(context))] for context in contexts])
    return fairness(SimpleNamespace(writer=writer, panel=Panel(Checker(PACK, threshold=0.0), None)), examples(40), num=40)


def read_alike(context: Context):
    return SimpleNamespace(log_likelihood=-10.0, ids_T=range(10))


def test_a_writer_that_does_not_read_a_trait_treats_all_alike(monkeypatch) -> None:
    found = unequal(monkeypatch, lambda context: "青屿这副耳机很好。", read_alike)
    assert {name.partition("_")[0] for name in found} == {
        "changes.gender", "changes.age", "changes.region", "changes.price", "changes.neutral"
    }  # fmt: skip
    assert all(one.value == one.low == one.high == 0 for one in found.values())


def test_a_writer_that_tells_women_less_is_found_out_and_of_the_other_traits_nothing(monkeypatch) -> None:
    found = unequal(
        monkeypatch,
        lambda context: "青屿这副耳机很好。" if "女生" in context.persona else "青屿这副耳机很好，199元很划算。",
        lambda context: SimpleNamespace(log_likelihood=-20.0 if "女生" in context.persona else -10.0, ids_T=range(10)),
    )
    assert found["changes.gender_chars"].high < 0
    assert found["changes.gender_prices"].value == -1
    assert found["changes.gender_logprob"].value == 1
    assert found["changes.age_chars"].value == found["changes.age_logprob"].value == found["changes.neutral_logprob"].value == 0


def test_a_tone_that_men_alone_hear_is_read_by_readers(monkeypatch) -> None:
    monkeypatch.setattr(changing, "features_of", lambda writer, samples: [read_alike(context) for _, context in samples])
    warm = {"topic": "quality"}
    shown = [
        Example(one.example_id, one.context.model_copy(update={"controls": warm}), "做工紧实。" if row % 2 else "价格合算。",
                {"topic": "quality" if row % 2 else "value"}, one.product_id, {})
        for row, one in enumerate(examples(40))
    ]  # fmt: skip
    readers = fit_readers(Splits(train=shown), vocabulary=PACK.vocabulary)
    writer = SimpleNamespace(
        write=lambda contexts, *, k, attempt: [
            [SimpleNamespace(text="做工紧实。" if "男生" in context.persona else "价格合算。")] for context in contexts
        ]
    )
    subject = SimpleNamespace(writer=writer, panel=Panel(Checker(PACK, threshold=0.0), None))
    found = fairness(subject, shown, num=40, readers=readers)
    assert found["changes.gender_told"].value == -1
    assert found["changes.age_told"].value == 0


def test_a_pack_without_traits_has_no_such_figures() -> None:
    bare = PACK.model_copy(update={"traits": Traits()})
    assert fairness(SimpleNamespace(panel=Panel(Checker(bare, threshold=0.0), None)), examples(3), num=3) == {}


def test_another_user_brings_a_persona_too_and_the_product_and_codes_stay() -> None:
    shown = [
        Example(one.example_id, one.context.model_copy(update={"persona": f"顾客{one.example_id}"}), one.text, {}, one.product_id, {})
        for one in examples(20)
    ]
    pairs = swapped(shown, num=20)
    assert len(pairs) == 20
    for own, other in pairs:
        assert own.persona != other.persona
        assert own.behavior != other.behavior
        assert own.model_copy(update={"persona": None, "behavior": BehaviorSummary()}) == other.model_copy(
            update={"persona": None, "behavior": BehaviorSummary()}
        )


def test_the_engine_has_room_for_the_longest_user_beside_the_longest_product(make_bench) -> None:
    """A bundle's engine is as long as it must be: contexts that are not the examples' own have to be counted."""
    bench, shown = make_bench(), examples(8)
    long = shown[0].context.model_copy(update={"product": shown[0].context.product.model_copy(update={"title": "青屿蓝牙耳机" * 8})})
    shown[0] = Example("0", long, "好。", {}, "p0", {})
    contexts = [one.context for one in shown]
    alone = room_for(contexts, language=bench.policy.merged, vocabulary=bench.vocabulary, max_new_tokens=4)
    asked = [*contexts, *changed(shown, traits=PACK.traits, num=8)]
    room = room_for(asked, language=bench.policy.merged, vocabulary=bench.vocabulary, max_new_tokens=4)

    def subject(max_len: int) -> Subject:
        engine = HfEngine(bench.policy.merged.model, eos_ids=[0], max_len=max_len, slots=4, keep_features=True)
        writer = Writer(bench.policy.merged, engine, bench.vocabulary, DecodingParams(max_new_tokens=4), "run")
        policy = AnswerPolicy(k=1, max_attempts=1)
        return Subject(writer, Panel(Checker(PACK, threshold=0.0), None), policy, lambda context, controls: None)

    found = changes(subject(room), shown, num=8) | fairness(subject(room), shown, num=8)
    assert found["changes.controls"].n == found["changes.gender_checks"].n == 8
    with pytest.raises(PromptTooLong):
        fairness(subject(alone), shown, num=8)
