import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.domain.context import BehaviorSummary, Context, ProductMention
from common.domain.money import money
from common.domain.product import Attribute, Product
from common.packs.load import load_pack
from common.quality.verdict import Checker, judge

PACK = load_pack("shop")
CHECKER = Checker(PACK, threshold=0.4)
PRODUCT = Product(
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
PAST = BehaviorSummary(last_viewed=ProductMention(product_id="v", title="踏川 跑鞋", category="跑鞋", brand="踏川"), num_events=1)
CONTEXT = Context(product=PRODUCT, behavior=PAST, controls={"style": "concise", "topic": "quality"})
GOOD = "和看过的跑鞋一样，这副澄音耳机做工扎实，三百出头。"


def test_a_good_text_is_accepted_with_evidence() -> None:
    verdict = CHECKER.judge(GOOD, context=CONTEXT)
    assert verdict.accepted, verdict
    assert list(verdict.checks) == ["facts", "controls", "compliance", "length", "language", "repetition"]
    assert [(e.text, e.source) for e in verdict.evidence()] == [
        ("看过的跑鞋", "user.last_viewed"),
        ("澄音", "product.attributes.品牌"),
        ("三百出头", "product.price"),
    ]
    assert verdict.policy_version == PACK.policy_version


def test_a_verdict_says_which_wishes_the_text_meets() -> None:
    wished = ("product.attributes.续航", "product.attributes.品牌", "product.price")
    assert CHECKER.judge(GOOD, context=CONTEXT.model_copy(update={"wished": wished})).met == wished[1:]
    assert CHECKER.judge(GOOD, context=CONTEXT).met == ()


@pytest.mark.parametrize(
    ("text", "failing"),
    [
        ("和看过的跑鞋一样，这副澄音耳机做工扎实，四百出头。", {"facts"}),
        ("和看过的跑鞋一样，这副澄音耳机划算好用，三百出头。", {"controls"}),
        ("和看过的跑鞋一样，这副耳机做工最佳，三百出头。", {"compliance"}),
        ("做工扎实。", {"controls", "length"}),
        ("和看过的跑鞋一样，这副澄音耳机做工扎实，三百出头，", {"language"}),
        ("这副耳机做工扎实，这副耳机做工扎实，三百出头。", {"repetition"}),
    ],
)
def test_each_check_refuses_its_own_fault(text: str, failing: set[str]) -> None:
    verdict = CHECKER.judge(text, context=CONTEXT, score=1.0)
    assert not verdict.accepted
    assert {name for name, check in verdict.checks.items() if not check.passed} == failing


def test_a_score_below_the_threshold_is_not_accepted_though_all_checks_pass() -> None:
    low = CHECKER.judge(GOOD, context=CONTEXT, score=0.39)
    assert not low.accepted
    assert low.checks_passed
    assert CHECKER.judge(GOOD, context=CONTEXT, score=0.4).accepted


def test_the_function_and_the_checker_are_one_road() -> None:
    assert judge(GOOD, context=CONTEXT, pack=PACK, score=0.7, threshold=0.4) == CHECKER.judge(GOOD, context=CONTEXT, score=0.7)


def test_the_same_text_gets_the_same_verdict_again() -> None:
    assert (
        CHECKER.judge(GOOD, context=CONTEXT)
        == CHECKER.judge(GOOD, context=CONTEXT)
        == Checker(PACK, threshold=0.4).judge(GOOD, context=CONTEXT)
    )


PIECES = [
    "最",
    "第",
    "不到",
    "三百",
    "1,299",
    "元",
    "块",
    "看过的",
    "耳机",
    "澄音",
    "百分之",
    "%",
    "多",
    "小时",
    "【",
    "“",
    "\u200b",
    "\ud800",
    "点",
    "几",
    "，",
    "。",
    "İ",
    "ﷺ",
]


@given(st.text(alphabet=st.characters(), max_size=60) | st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_no_text_makes_the_checker_raise(text: str) -> None:
    verdict = CHECKER.judge(text, context=CONTEXT)
    for claim in verdict.claims:
        assert text[claim.span[0] : claim.span[1]] == claim.text


@given(
    st.builds(
        Product,
        product_id=st.just("x"),
        title=st.text(min_size=1, max_size=30),
        category=st.text(min_size=1, max_size=10),
        attributes=st.lists(
            st.builds(Attribute, key=st.sampled_from(["品牌", "续航", "容量(ml)"]), value=st.text(min_size=1, max_size=12)), max_size=3
        ).map(tuple),
    )
)
def test_no_product_makes_the_checker_raise(product: Product) -> None:
    CHECKER.judge(GOOD, context=Context(product=product, behavior=PAST))
