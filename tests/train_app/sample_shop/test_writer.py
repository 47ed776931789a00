import random
import re
import statistics

import pytest

from common.packs.load import load_pack
from common.quality.verdict import Checker
from train_app.sample_shop.grammar.clauses import HIDDEN, SLOT, load_grammar
from train_app.sample_shop.grammar.facts import shop_controls, shop_facts
from train_app.sample_shop.grammar.relations import load_relations
from train_app.sample_shop.writer import CHARS, bits_per_request, num_sentences, write


@pytest.fixture(scope="module")
def written(requests):
    rng = random.Random(11)
    return [write(context, rng) for context in requests(1500, seed=11)]


def test_styles_keep_their_length(written):
    for reason in written:
        low, high = CHARS[reason.context.controls["style"]]
        assert low <= len(reason.text) <= high


def test_lengths_are_the_packs():
    (style,) = (control for control in shop_controls().controls if control.name == "style")
    assert {value.name: value.chars for value in style.values} == CHARS


def test_agreements_are_six_and_twelve_at_least_and_half_of_them_hidden(written):
    for reason in written:
        fewest = 6 if reason.context.controls["style"] == "concise" else 12
        agreements = reason.agreements()
        assert len(agreements) >= fewest
        assert sum(agreement in HIDDEN for agreement in agreements) >= fewest // 2
        assert sum(agreement not in HIDDEN for agreement in agreements) >= fewest // 2


def test_a_request_leaves_twenty_to_thirty_bits_of_choice(requests):
    bits = {"concise": [], "detailed": []}
    for i, context in enumerate(requests(100, seed=12)):
        bits[context.controls["style"]].append(bits_per_request(context, random.Random(i), samples=25))
    assert 20 <= statistics.mean(bits["concise"]) <= 30
    assert 20 <= statistics.mean(bits["detailed"]) <= 30


def test_the_bits_are_the_entropy_of_the_choices(requests):
    """A source of known entropy: equal texts would need 2 ** bits draws to be met twice on average, so few repeat."""
    context = next(c for c in requests(50, seed=13) if c.controls["style"] == "concise")
    texts = [write(context, random.Random(i)).text for i in range(600)]
    assert len(set(texts)) >= 0.99 * len(texts)


def test_there_are_at_least_a_billion_sentences(requests):
    context = next(c for c in requests(50, seed=14) if c.product.rating_count and c.product.rating_count > 100)
    assert num_sentences(context, ("intro", "touch", "topic_quality", "effect", "quantity", "rating", "close")) >= 1e9


def test_reasons_hardly_ever_repeat(written):
    assert len({reason.text for reason in written}) >= 0.98 * len(written)


def test_the_same_seed_writes_the_same_reason(requests):
    (context,) = requests(1, seed=15)
    assert write(context, random.Random(1)) == write(context, random.Random(1))


def test_nobody_without_history_is_told_of_one(written):
    past = re.compile("(看|浏览|留意|评价|点评|买|写)过|买的|入手的|下单的")
    strangers = [reason for reason in written if not reason.context.behavior.mentions()]
    assert strangers
    assert not any(past.search(reason.text.replace("用过", "").replace("买过就", "")) for reason in strangers)


def test_returning_users_are_mostly_reminded_of_what_they_did(written):
    known = [reason for reason in written if reason.context.behavior.mentions()]
    told = [
        reason for reason in known if any(clause.kind.startswith("open_") and clause.kind != "open_moment" for clause in reason.clauses)
    ]
    assert len(told) > 0.6 * len(known)


def test_clean_reasons_pass_every_check(written):
    checker = Checker(load_pack("shop"))
    failed = [(r.text, v.checks) for r in written[:500] if not (v := checker.judge(r.text, context=r.context)).checks_passed]
    assert not failed


def test_a_fifth_of_the_wordings_of_a_code_are_no_cues_of_the_pack(written):
    for control in shop_controls().controls[:2]:
        cues = {value.name: value.cues for value in control.values}
        without = sum(not any(cue in reason.text for cue in cues[reason.context.controls[control.name]]) for reason in written)
        assert without >= 0.2 * len(written)


def test_no_word_of_the_grammar_states_a_fact_or_gives_another_code_away():
    grammar, relations = load_grammar(), load_relations()
    facts = {value for category in shop_facts().categories for attribute in category.attributes for value in attribute.values}
    facts |= {*shop_facts().brands, *(name for category in shop_facts().categories for name in category.aliases)}
    words = [SLOT.sub("＿", pattern) for patterns in grammar.clauses.values() for pattern in patterns]
    words += [word for name in relations.cells for word in relations.words(name)] + [
        word for free in grammar.free.values() for word in free
    ]
    assert not [(word, fact) for word in words for fact in facts if fact in word]


def test_relations_have_twelve_to_thirty_cells_and_none_knows_a_category_the_pack_lacks():
    relations = load_relations()
    assert {name: relations.num_cells(name) for name in relations.cells if not 12 <= relations.num_cells(name) <= 30} == {}
    categories = {category.name for category in shop_facts().categories}
    for name in ("classifier", "verb", "scene", "craft", "fit"):
        assert set(relations.cells[name]) == categories
    assert set(relations.kinds) == categories


def test_flat_draws_meet_rare_cells_more_often(requests):
    relations = load_relations()

    def rare(flatness):
        verbs = [
            (context.product.category, word)
            for i, context in enumerate(requests(200, seed=16))
            for clause in write(context, random.Random(i), flatness=flatness).clauses
            if (word := clause.word("verb"))
        ]
        return sum(word != relations.fitting("verb", category)[0] for category, word in verbs) / len(verbs)

    assert rare(1.0) > rare(0.0) + 0.08
