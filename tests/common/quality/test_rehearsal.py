"""What an editor is told before a policy counts."""

import re
from pathlib import Path

import pytest

from common.packs.load import load_pack
from common.packs.schema import Pack
from common.packs.source import shipped, shipped_names
from common.quality.rehearsal import broken_examples, effects

SHOP = load_pack("shop")


@pytest.fixture
def edited(tmp_path: Path):
    """The shop's pack with one file in which a text stands for another."""

    def made(file: str, old: str, new: str) -> Pack:
        text = (shipped("shop").path / file).read_text(encoding="utf-8")
        assert old in text
        (tmp_path / "pack.yaml").write_text("name: mine\nextends: shop\n")
        (tmp_path / file).write_text(text.replace(old, new, 1), encoding="utf-8")
        return load_pack(tmp_path)

    return made


@pytest.mark.parametrize("name", shipped_names())
def test_the_rules_and_templates_of_what_ships_do_what_their_examples_say(name: str) -> None:
    assert not list(broken_examples(load_pack(name)))


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("lexicon.yaml", "refused: [", "refused: [放在手边就好。, ", r"lexicon: \S+: refused: '放在手边就好。' is not caught"),
        ("lexicon.yaml", "allowed: [", "allowed: [全国最佳, ", r"lexicon: \S+: allowed: '全国最佳' is caught by ad9-best: '最佳'"),
        ("lexicon.yaml", '"最高级"', '"(?P<最>高级)"', "cannot be read by sound"),
        ("templates.yaml", "这件商品的参数和", "这件最佳商品的参数和", r"templates: \S+: is caught by ad9-best: '最佳'"),
    ],
)
def test_a_rule_or_template_that_goes_wrong_is_named(edited, file: str, old: str, new: str, told: str) -> None:
    (one, *_) = broken_examples(edited(file, old, new))
    assert re.search(told, one)


def test_a_rule_of_knowledge_that_refuses_nothing_is_named(edited) -> None:
    rule = next(rule for rule in SHOP.knowledge.contradictions if rule.breaks)
    harmless = edited("knowledge.yaml", rule.breaks.text, "这一件放在手边就好")
    assert list(broken_examples(harmless)) == [f"knowledge: {rule.id}: breaks: '这一件放在手边就好' is taken for true"]


def test_texts_that_would_be_judged_otherwise_are_told_with_the_finding(edited) -> None:
    stricter = edited("lexicon.yaml", '"最高级"', '"最高级", "随手一放"')
    texts = ["回家随手一放就好。", "这是最佳的杯子。", "喝水方便。"]
    (blocked,) = effects(texts, old=SHOP, new=stricter)
    assert (blocked.text, blocked.would_be) == (texts[0], "blocked")
    assert "随手一放" in blocked.findings[0]
    (let,) = effects(texts, old=stricter, new=SHOP)
    assert (let.text, let.would_be) == (texts[0], "let through")


def test_a_rule_of_some_goods_counts_for_texts_about_them_or_about_goods_that_nobody_knows(edited) -> None:
    scoped = next(rule for rule in SHOP.lexicon.rules if rule.scope == ("食品", "保健"))
    milder = Pack.model_validate(
        {name: getattr(SHOP, name) for name in Pack.model_fields}
        | {"lexicon": SHOP.lexicon.model_copy(update={"rules": tuple(rule for rule in SHOP.lexicon.rules if rule is not scoped)})}
    )
    assert SHOP.parents("蓝牙耳机")
    texts = scoped.refused
    assert list(effects(texts, old=SHOP, new=milder))
    assert not list(effects(texts, old=SHOP, new=milder, category="蓝牙耳机"))
