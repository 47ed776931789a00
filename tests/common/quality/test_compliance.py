import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.packs.lexicon import LONGEST_MATCH, LexiconRule
from common.packs.load import load_pack
from common.quality.compliance import Law, check_compliance
from common.text.patterns import longest

PACK = load_pack("shop")
LAW = Law(PACK.lexicon, warnings=PACK.knowledge.warnings)
RULES = PACK.lexicon.rules


def parents_of(rule: LexiconRule) -> tuple[str, ...]:
    return () if "all" in rule.scope else rule.scope[:1]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_each_rule_catches_its_examples(rule: LexiconRule) -> None:
    for example in rule.refused:
        found = LAW.check(example, parents=parents_of(rule)).findings
        assert any(rule.id in finding for finding in found), example


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.allowed], ids=lambda rule: rule.id)
def test_no_rule_catches_what_a_rule_allows(rule: LexiconRule) -> None:
    for example in rule.allowed:
        assert LAW.check(example, parents=parents_of(rule)).findings == ()


@pytest.mark.parametrize(
    "text",
    [
        "最近总在路上，第一时间想到的就是它。",
        "第一次用也顺手，最后一步只要按一下。",
        "最后一件也不着急，慢慢看。",
        "统一的配色，每件都有唯一标识。",
        "最初的样子最终留了下来。",
        "你最在意的续航，它有三十小时。",
        "第一眼是奶油白，第一口是坚果风味。",
        "睡前读一页，治愈系的水彩画风。",
        "高腰版型显瘦，衬得腿长。",
        "面料是100%棉，亲肤。",
        "抗菌钢内胆，保温十二小时。",
        "防蓝光光源，写作业正好。",
        "防晒的帽子之外，再带一只双肩包。",
        "量子力学也能讲给孩子听。",
        "装修时给天花板留一盏灯。",
        "最好先看水洗标再下水。",
        "最多装两升水，最少也够一天。",
        "降压阀的小设计很安心。",
    ],
)
def test_ordinary_speech_stays_allowed(text: str) -> None:
    assert LAW.check(text, parents=("家居",)).findings == ()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("最 佳选择。", "ad9-best"),
        ("最·佳选择。", "ad9-best"),
        ("国\u200b家级品质。", "ad9-national-level"),
        ("頂級用料。", "ad9-top-grade"),
        ("ＮＯ．１的耳机。", "ad9-first"),
        ("微 信联系。", "platform-contact"),
        ("顶.级用料。", "ad9-top-grade"),
        ("顶\u0332级用料。", "ad9-top-grade"),
        ("zui佳选择。", "ad9-best"),
        ("zuijia选择。", "ad9-best"),
        ("蕞佳选择。", "ad9-best"),
        ("日取佳选择。", "ad9-best"),
        ("国家ji品质。", "ad9-national-level"),
        ("加薇信领券。", "contact-divert"),
        ("能治疒了颈椎病。", "ad17-treat"),
    ],
)
def test_a_word_that_is_hidden_is_found(text: str, rule: str) -> None:
    assert any(rule in finding for finding in LAW.check(text, parents=()).findings)


def test_an_allowed_place_does_not_cover_a_hit_elsewhere() -> None:
    (finding,) = LAW.check("最近看过，它是最佳选择。", parents=()).findings
    assert finding.startswith("“最佳” at 7 is refused: ad9-best, 《广告法》第九条第（三）项")


def test_a_rule_of_one_kind_of_goods_leaves_others_alone() -> None:
    assert not LAW.check("防晒也周到。", parents=("美妆",)).passed
    assert LAW.check("防晒也周到。", parents=("服饰",)).passed


def test_where_goods_may_be_of_two_kinds_both_laws_count() -> None:
    assert not LAW.check("防晒也周到。", parents=PACK.parents("护肤精华手提包")).passed
    assert "本品不能代替药物" in LAW.check("一天一片，方便。", parents=PACK.parents("鱼油书包")).findings[0]


def test_where_nobody_knows_the_kind_of_goods_every_rule_counts() -> None:
    assert not LAW.check("防晒也周到。", parents=()).passed
    assert not LAW.check("能祛疤，七天见效。", parents=()).passed
    assert LAW.check("耐看，也好搭。", parents=()).passed


def test_review_fails_too_and_says_so() -> None:
    result = check_compliance("带来极致体验。", parents=(), lexicon=PACK.lexicon)
    assert not result.passed
    assert "needs a person's review" in result.findings[0]


def test_a_required_warning_is_missed() -> None:
    assert "本品不能代替药物" in LAW.check("一天一片，方便。", parents=("保健",)).findings[0]
    assert LAW.check("一天一片，方便。本品不能代替药物。", parents=("保健",)).passed


def test_ids_are_unique_and_every_rule_has_a_basis() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES) >= 140
    assert all("《" in rule.basis or rule.basis.startswith("平台规则") for rule in RULES)


@given(st.text(alphabet=st.characters(), max_size=60))
def test_any_text_is_read(text: str) -> None:
    LAW.check(text, parents=("食品",))


@pytest.mark.parametrize(
    "text", ["壶嘴好用，倒水利落。", "送给爱罪案小说的人。", "hao记的老味道。", "best before见瓶底。", "这条裙子加长了一寸。"]
)
def test_what_only_sounds_or_looks_like_an_offence_is_none(text: str) -> None:
    assert LAW.lawful(text, parents=("服饰",))


@given(
    st.sampled_from(["顶级", "国家级", "独一无二", "销量冠军", "根治"]),
    st.sampled_from(["\u200b", " ", "·", "\u0332", "*", "\ufeff"]),
    st.integers(0, 3),
    st.booleans(),
)
def test_nothing_put_between_the_characters_hides_a_phrase(phrase: str, between: str, at: int, wide: bool) -> None:
    at = min(at, len(phrase) - 1)
    hidden = phrase[:at] + between * (2 if wide else 1) + phrase[at:]
    assert not LAW.lawful(f"这是{hidden}的。", parents=("家居",))


def test_the_work_on_a_text_grows_as_the_text_does() -> None:
    """Counted in characters that the rules' expressions are asked to look at; no match is longer than a bound, whatever the text."""

    def asked(text: str) -> int:
        return sum(len(reading.text) * sum(map(len, LAW._index.rules(reading.text).values())) for reading in LAW._reader.readings(text))

    part = "这款杯子保温，zui jia之选，颜色是奶油白，适合办公室。"
    once, often = asked(part * 8), asked(part * 64)
    assert often <= 8.5 * once
    assert all(longest(pattern) <= LONGEST_MATCH for rule in RULES for pattern in rule.patterns)


@pytest.mark.parametrize("text", ["下单打13800138000就好。", "证件110105194912310 02X在手。".replace(" ", ""), "卡4111111111111111可用。"])
def test_a_reason_with_a_persons_data_is_refused_and_the_finding_does_not_repeat_it(text: str) -> None:
    result = LAW.check(text, parents=("家居",))
    assert not LAW.lawful(text, parents=("家居",))
    assert any("个人信息保护法" in finding for finding in result.findings)
