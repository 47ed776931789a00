"""Each rule of the shipped knowledge refuses the sentence that breaks it, and lets the same goods be told of otherwise."""

import pytest

from common.domain.context import Context
from common.domain.product import Attribute, Product
from common.packs.graph import Graph
from common.packs.knowledge import Breach, Manner
from common.packs.load import load_pack
from common.quality.verdict import Checker

PACK = load_pack("shop")
KNOWLEDGE = PACK.knowledge
CHECKER = Checker(PACK)
RULES = [*KNOWLEDGE.contradictions, *KNOWLEDGE.implications, *KNOWLEDGE.checkable]


def goods(breaks: Breach) -> Context:
    attributes = tuple(Attribute(key=key, value=value) for key, value in breaks.attributes.items())
    return Context(product=Product(product_id="x", title=breaks.title, category=breaks.category, attributes=attributes))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_sentence_that_breaks_a_rule_is_refused(rule) -> None:
    verdict = CHECKER.judge(rule.breaks.text, context=goods(rule.breaks))
    assert not verdict.checks["facts"].passed


@pytest.mark.parametrize("rule", KNOWLEDGE.warnings, ids=lambda rule: rule.id)
def test_a_text_without_a_required_warning_is_refused(rule) -> None:
    assert not CHECKER.judge(rule.breaks.text, context=goods(rule.breaks)).checks["compliance"].passed
    with_it = f"{rule.breaks.text}{rule.text}。"
    assert CHECKER.judge(with_it, context=goods(rule.breaks)).checks["compliance"].passed


@pytest.mark.parametrize("rule", KNOWLEDGE.implications, ids=lambda rule: rule.id)
def test_what_follows_from_a_fact_may_be_said_and_rests_on_it(rule) -> None:
    for known in rule.known:
        context = goods(Breach(attributes={"说明": known}, text="-"))
        for claim in CHECKER.judge(f"{'，'.join(rule.implied)}。", context=context).claims:
            assert claim.supported, (known, claim)


def test_there_are_enough_rules_and_no_two_have_one_name() -> None:
    ids = [rule.id for rule in (*RULES, *KNOWLEDGE.warnings)]
    assert len(ids) == len(set(ids)) >= 60


def test_what_follows_is_followed_further() -> None:
    graph = Graph(PACK.facts, knowledge=KNOWLEDGE)
    assert graph.entailed([("product.title", "真无线耳机")])["无线连接"] == "product.title"


def test_a_manner_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="a word before or after"):
        Manner(low=0.9, high=1.1)
