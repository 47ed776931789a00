import random

import pytest

from common.domain.context import Context
from train_app.sample_shop.grammar.clauses import HIDDEN, VISIBLE, wordings
from train_app.sample_shop.judge import judge
from train_app.sample_shop.noise import CONFUSED, near_duplicate, perturb, typo
from train_app.sample_shop.writer import write


@pytest.fixture(scope="module")
def written(requests):
    rng = random.Random(21)
    return [write(context, rng, flatness=rng.choice((0.0, 0.7))) for context in requests(10_000, seed=21)]


def test_ten_thousand_clean_reasons_are_accepted(written):
    assert [(r.text, verdict) for r in written if not (verdict := judge(r.text, r.context)).clean] == []


def test_a_clause_reads_in_one_way_only(written):
    for reason in written[:400]:
        for clause in reason.clauses:
            assert [w.pattern for w in wordings() if w.expression.fullmatch(clause.text)] == [clause.pattern]


def test_every_single_perturbation_is_named(written):
    rng, seen = random.Random(22), set()
    for reason in written[:300]:
        for agreement in sorted({*reason.agreements(), "structure"}):
            text = perturb(reason, agreement, rng)
            assert text is not None
            verdict = judge(text, reason.context)
            assert agreement in verdict.broken, (agreement, reason.text, text)
            assert verdict.unparsed == ()
            seen.add(agreement)
    assert seen == {*HIDDEN, *VISIBLE}


def test_most_perturbations_break_nothing_else(written):
    rng = random.Random(23)
    found = []
    for reason in written[300:400]:
        for agreement in sorted(set(reason.agreements())):
            text = perturb(reason, agreement, rng)
            found.append(text is not None and judge(text, reason.context).broken == (agreement,))
    assert sum(found) > 0.95 * len(found)


def test_near_duplicates_differ_and_are_clean(written):
    rng = random.Random(24)
    for reason in written[:300]:
        twin = near_duplicate(reason, rng)
        assert twin.text != reason.text
        assert judge(twin.text, twin.context).clean


def test_most_typos_are_noticed(written):
    rng = random.Random(25)
    noticed = [not judge(typo(reason.text, rng), reason.context).clean for reason in written[:300]]
    assert sum(noticed) > 0.95 * len(noticed)


def test_text_that_the_grammar_does_not_write_is_unparsed_and_not_called_broken(written):
    context = written[0].context.model_copy(update={"controls": {}})
    verdict = judge("这里说了一句别的话。", context)
    assert verdict.unparsed == ("这里说了一句别的话",)
    assert verdict.broken == ()


def test_what_was_not_asked_for_is_not_missed(requests):
    rng = random.Random(26)
    for context in requests(200, seed=26):
        free = context.model_copy(update={"controls": {}})
        assert judge(write(free, rng).text, free).clean


def test_a_history_of_somebody_else_is_named(written):
    told = next(r for r in written if r.clauses[0].kind == "open_bought")
    stranger = Context(product=told.context.product, controls=told.context.controls)
    assert "history" in judge(told.text, stranger).broken


def test_a_cut_text_is_not_clean(written):
    for reason in written[:100]:
        assert not judge(reason.text[:-3], reason.context).clean


@pytest.mark.parametrize("sign", "".join(CONFUSED))
def test_every_sign_that_people_mistype_becomes_its_look_alike(sign):
    text = f"一二三{sign}四五六"
    looks = {typo(text, random.Random(seed)) for seed in range(40)}
    pair = next(pair for pair in CONFUSED if sign in pair)
    assert text.replace(sign, pair.replace(sign, "")) in looks
