"""What is measured of an arm, on a tiny untrained model: outcomes are known where texts are chosen by hand."""

from dataclasses import replace

import numpy as np
import pytest

from common.domain.token_features import TokenFeatures
from common.errors import BadInput
from common.generation.candidates import Candidate
from train_app.stages.discriminator.training import GROUP, weights_of
from train_app.stages.state import State
from train_app.stages.validation import SFT, STUDY_ADAPTER, STUDY_ALPHA, STUDY_RULER, STUDY_SEED, candidate
from train_app.study import measuring
from train_app.study.figures import CHOSEN, DECODED, SAMPLED
from train_app.study.measuring import chosen, judged, measure, reference, ruler_of


@pytest.fixture
def state(bench) -> State:
    sft = bench.policy.adapter()
    state = State(bench.run).with_group("policy", sft).with_group(candidate(SFT), sft)
    state = state.with_group(STUDY_RULER, weights_of(bench.new_discriminator())).with_group(STUDY_ADAPTER, sft)
    return state.with_values({STUDY_ALPHA: bench.policy.alpha, STUDY_SEED: "of the start"})


def test_every_way_of_taking_texts_is_measured_on_the_same_prompts_and_twice_the_same(tiny, bench, state) -> None:
    first, again = (measure(state, tiny(), bench=bench, seed=1, truth=None) for _ in range(2))
    assert first == again
    assert {taken: texts.outcomes["success"].n for taken, texts in first.texts.items()} == {SAMPLED: 4, DECODED: 4, CHOSEN: 2}
    assert len(first.search) == 2
    assert first.decoding in tiny().decodings
    assert "reference.perplexity_token" in first.texts[DECODED].figures


def test_all_arms_are_read_by_the_starts_discriminator_and_without_one_nothing_is_said_of_it(tiny, bench, state) -> None:
    alone = measure(state, tiny(), bench=bench, seed=1, truth="sample_shop")
    own = state.with_group(GROUP, weights_of(bench.new_discriminator()))
    assert measure(own, tiny(), bench=bench, seed=1, truth="sample_shop") == alone
    ruler = ruler_of(state, tiny(), bench, calibrated=True)
    assert ruler is not None
    assert all(0 < score < 1 for score in ruler.score([bench.real(one) for one in bench.splits.test[:3]]))
    blind = state.without_groups(STUDY_RULER)
    assert ruler_of(blind, tiny(), bench, calibrated=False) is None
    measured = measure(blind, tiny(), bench=bench, seed=1, truth="sample_shop")
    assert (measured.auc, measured.reliability) == (None, [])
    assert measured.texts[CHOSEN].outcomes["success"].n == 2


def test_without_a_ground_truth_the_checks_decide_and_the_facts_check_finds_what_is_made_up(bench) -> None:
    rows = bench.splits.train[:3]
    texts = [rows[0].text, rows[1].text.replace(rows[1].context.product.brand or "", "别家"), ""]
    found = judged(texts, rows, bench, None)
    assert found["success"] == found["checks"]
    assert found["checks"][0]
    assert not found["checks"][2]


def test_people_are_measured_by_the_same_rules(tiny, bench) -> None:
    texts = reference(tiny(), bench=bench, seed=1, truth=None)
    assert texts.outcomes["checks"].n == 4
    assert texts.outcomes["checks"].share == 1


def test_of_k_the_discriminators_best_that_passes_is_taken_and_the_first_where_nothing_passes(bench) -> None:
    class HigherIds:
        def log_real(self, answers):
            return [float(one.ids[0]) for one in answers]

    def written(text: str, token: int) -> Candidate:
        features = TokenFeatures(np.array([token], np.int32), np.zeros((1, 32), np.float16), np.zeros((1, 3), np.float32))
        return Candidate(text=text, ids=(token,), num_tokens=1, mean_logprob=-1.0, min_logprob=-1.0, features=features)

    right = bench.splits.train[0]
    good = [written("", 9), written(right.text, 2), written(right.text, 6)]
    bad = [written("", 1), written("", 9)]
    assert chosen([good, bad], [right, right], bench, HigherIds()) == [good[2], bad[0]]
    assert chosen([good, bad], [right, right], bench, None) == [good[1], bad[0]]


def test_the_most_varied_decoding_is_taken_where_none_is_varied_enough(tiny, bench, state) -> None:
    found = measure(state, tiny(distinct_floor=100.0), bench=replace(bench), seed=1, truth=None)
    assert found.decoding == max(found.search, key=lambda one: one.distinct_2).decoding
    assert not found.varied
    assert measure(state, tiny(distinct_floor=0.0), bench=bench, seed=1, truth=None).varied


def test_a_decoding_is_chosen_by_the_evaluator_where_the_study_asks_it_and_it_is_one_for_all_arms(tiny, bench, state, monkeypatch) -> None:
    asked = []

    class Strict:
        def bad(self, texts, contexts):
            return ["好" not in text for text in texts]

    def evaluator(own):
        asked.append(own.run)
        return Strict()

    monkeypatch.setattr(measuring, "evaluator", evaluator)
    monkeypatch.setattr(measuring, "_passes", lambda text, example, bench: True)
    by = {one: measure(state, tiny(search_by=one), bench=bench, seed=1, truth=None) for one in ("evaluator", "ruler")}
    assert asked == ["of the start"]
    assert [one.joint for one in by["evaluator"].search] != [one.joint for one in by["ruler"].search]


def test_an_evaluator_that_does_not_know_the_data_is_refused_not_replaced(tiny, bench, state) -> None:
    with pytest.raises(BadInput, match="evaluator"):
        measure(state, tiny(search_by="evaluator"), bench=bench, seed=1, truth=None)
