from itertools import product as every

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.domain.context import BehaviorSummary, Context, ProductMention
from common.domain.money import money
from common.domain.product import Attribute, Product
from common.errors import Refused
from common.generation.template import fill_if_lawful, fill_template
from common.packs.load import load_pack
from common.packs.schema import Piece, Templates
from common.quality.verdict import Checker

PACK = load_pack("shop")
CHECKER = Checker(PACK, threshold=0.5)
EARBUDS = Product(
    product_id="p1",
    title="澄音 主动降噪蓝牙耳机",
    category="蓝牙耳机",
    attributes=tuple(
        Attribute(key=k, value=v) for k, v in [("品牌", "澄音"), ("降噪", "主动降噪"), ("颜色", "奶油白"), ("续航", "30小时")]
    ),
    price=money(318),
    rating=4.8,
    rating_count=3456,
)
BARE = Product(product_id="p2", title="木鱼", category="摆件")
RUNNER = BehaviorSummary(last_viewed=ProductMention(product_id="v", title="踏川 跑鞋", category="跑鞋", brand="踏川"), num_events=1)
CODES = [
    {name: value for name, value in zip(("topic", "emotion", "style"), values, strict=True) if value}
    for values in every((None, "quality", "value", "look", "use"), (None, "warm", "excited", "calm"), (None, "concise", "detailed"))
]


def fill(context: Context) -> str:
    return fill_template(context, checker=CHECKER)[0]


@pytest.mark.parametrize("item", [EARBUDS, BARE], ids=["all known", "nothing but a title"])
@pytest.mark.parametrize("behavior", [RUNNER, BehaviorSummary()], ids=["returning", "new"])
def test_every_combination_of_codes_has_a_template_that_passes(item: Product, behavior: BehaviorSummary) -> None:
    for codes in CODES:
        context = Context(product=item, behavior=behavior, controls=codes)
        assert CHECKER.judge(fill(context), context=context).accepted


def test_asked_topics_and_emotions_are_shown() -> None:
    missed = []
    for codes in CODES:
        shown = CHECKER.measured(fill(Context(product=EARBUDS, controls=codes)))
        missed += [codes for name, value in codes.items() if shown.get(name) != value]
    assert len(missed) <= 8, missed  # concise and two codes at once leave no room for the facts; the facts win


def test_what_is_known_is_said() -> None:
    context = Context(product=EARBUDS, behavior=RUNNER, controls={"topic": "value", "style": "detailed"})
    text = fill(context)
    assert (
        text == "你看过的跑鞋之外，看性价比的话，澄音这款蓝牙耳机用的是主动降噪，颜色为奶油白，续航30小时，"
        "标价318元，评分4.8分，已有3400多人评价。"
    )
    claims = CHECKER.judge(text, context=context).claims
    assert {claim.source for claim in claims} >= {"user.last_viewed", "product.price", "product.rating", "product.attributes.续航"}


def test_a_new_user_is_told_no_past() -> None:
    for codes in CODES:
        assert "看过" not in fill(Context(product=EARBUDS, controls=codes))


def test_a_title_that_may_not_be_said_is_not_said() -> None:
    loud = Product(product_id="p3", title="全网第一国家级耳机", category="最佳耳机", attributes=(Attribute(key="卖点", value="销量冠军"),))
    for codes in CODES:
        context = Context(product=loud, controls=codes)
        text = fill(context)
        assert CHECKER.judge(text, context=context).accepted
        assert not any(word in text for word in ("第一", "国家级", "最佳", "冠军"))


def test_a_required_warning_stands_in_the_template() -> None:
    fish_oil = Product(product_id="p4", title="深海鱼油", category="鱼油")
    for codes in CODES:
        assert fill(Context(product=fish_oil, controls=codes)).endswith("本品不能代替药物。")


def test_a_price_in_another_currency_is_not_told_in_yuan() -> None:
    abroad = EARBUDS.model_copy(update={"price": money(45, "USD")})
    assert "元" not in fill(Context(product=abroad, controls={"style": "detailed"}))


def test_the_same_context_gets_the_same_text() -> None:
    context = Context(product=EARBUDS, behavior=RUNNER)
    assert fill(context) == fill(context)


def test_a_pack_without_a_fitting_last_resort_is_told_so() -> None:
    templates = Templates(version="1", facts=(Piece(id="one", text="{brand}的商品"),), last_resort=(Piece(id="end", text="太短。"),))
    with pytest.raises(Refused, match="last_resort"):
        fill_template(Context(product=BARE), checker=Checker(PACK.model_copy(update={"templates": templates})))
    text, verdict = fill_if_lawful(Context(product=BARE), checker=Checker(PACK.model_copy(update={"templates": templates})))
    assert (text, verdict.accepted) == ("", False)


WORDS = st.text(min_size=1, max_size=16) | st.sampled_from(["最佳", "真丝", "30小时", "【主题】", "不到三百", "看过的", "a" * 16, "\u200b"])


@given(
    st.builds(
        Product,
        product_id=st.text(min_size=1, max_size=4),
        title=WORDS,
        category=WORDS | st.sampled_from(["连衣裙", "挂耳咖啡", "鱼油"]),
        attributes=st.lists(st.builds(Attribute, key=st.sampled_from(["品牌", "面料", "产地"]), value=WORDS), max_size=4).map(tuple),
        price=st.none() | st.integers(0, 10**7).map(lambda fen: money(fen / 100)),
        rating=st.none() | st.floats(0, 5),
        rating_count=st.none() | st.integers(0, 10**6),
    ),
    st.sampled_from(CODES),
    st.sampled_from([RUNNER, BehaviorSummary()]),
)
def test_any_product_gets_a_template_that_passes(item: Product, codes: dict[str, str], behavior: BehaviorSummary) -> None:
    context = Context(product=item, behavior=behavior, controls=codes)
    assert CHECKER.judge(fill(context), context=context).accepted
