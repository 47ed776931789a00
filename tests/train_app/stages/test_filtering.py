from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from common.domain.token_features import TokenFeatures
from common.errors import BadInput
from common.generation.candidates import Candidate
from train_app.config import FilteringConfig
from train_app.stages.filtering.choosing import Bounds, bounds_of, chooser
from train_app.stages.filtering.rounds import Kept, collect_best, kept_answers, prompts_of_round, real_rows, train_on_best
from train_app.stages.state import State, tensors_digest


def candidate(text: str, hidden: float, *, least: float = -1.0) -> Candidate:
    stats = np.array([[0.0, 0, 0], [least, 0, 0]], np.float32)
    features = TokenFeatures(np.array([3, 4], np.int32), np.full((2, 32), hidden, np.float16), stats)
    return Candidate(text=text, ids=(3, 4), num_tokens=2, mean_logprob=-1.0, min_logprob=least, features=features)


class Ruler:
    """Stands in for a trained discriminator: the first hidden number is the score."""

    def log_real(self, features, controls):
        return [float(one.hidden_TD[0, 0]) for one in features]


def checks_of(bench, context, candidates: list[Candidate]) -> list[bool]:
    return [bench.checker.judge(one.text, context=context, score=None).checks_passed for one in candidates]


def test_the_highest_score_among_those_that_pass_the_checks_is_kept(bench) -> None:
    example = next(one for one in bench.splits.train if one.context.controls["style"] == "concise")
    wrong = example.text.replace("小时", "00小时")
    group = [candidate(example.text, 0.1), candidate(wrong, 9.0), candidate(example.text, 0.7), candidate(example.text, 0.7)]
    kept = chooser("discriminator", bench, Ruler())(example.context, group, checks_of(bench, example.context, group))
    assert kept == ([group[2]], [group[1]])


def test_of_what_is_good_enough_the_least_likely_is_kept_and_the_best_where_nothing_is(bench) -> None:
    example = bench.splits.train[0]
    group = [candidate(example.text, score, least=least) for score, least in ((0.9, -1.0), (0.6, -3.0), (0.2, -9.0))]
    assert chooser("discriminator", bench, Ruler(), bounds=Bounds(0.5, 0.0))(
        example.context, group, checks_of(bench, example.context, group)
    )[0] == [group[1]]
    assert chooser("discriminator", bench, Ruler(), bounds=Bounds(0.95, 0.0))(
        example.context, group, checks_of(bench, example.context, group)
    )[0] == [group[0]]
    assert chooser("likelihood", bench, None, bounds=Bounds(-3.5, -9.0))(example.context, group, checks_of(bench, example.context, group))[
        0
    ] == [group[1]]


def test_what_is_rejected_is_the_likeliest_of_what_fails_or_is_not_enough_and_never_what_is_kept(bench) -> None:
    example = bench.splits.train[0]
    group = [candidate(example.text, score, least=least) for score, least in ((0.9, -9.0), (0.4, -1.0), (0.2, -3.0), (0.1, -5.0))]
    failing = candidate("", 9.0, least=-2.0)

    def choose(select_by: str, candidates: list[Candidate], *, bounds: Bounds | None = None, of=bench):
        checks = checks_of(bench, example.context, candidates)
        return chooser(select_by, of, Ruler(), bounds=bounds)(example.context, candidates, checks)

    assert choose("discriminator", group, bounds=Bounds(0.5, 0.3)) == ([group[0]], [group[2]])
    assert choose("discriminator", [*group, failing], bounds=Bounds(0.5, 0.3)) == ([group[0]], [failing])
    assert choose("discriminator", group[:2], bounds=Bounds(0.5, 0.3)) == ([group[0]], [])
    assert choose("discriminator", group[2:], bounds=Bounds(0.5, 0.3)) == ([group[2]], [group[3]]), "nothing is enough: the best is kept"
    worse = candidate("", 9.0, least=-4.0)
    assert choose("first", [worse, failing, *group]) == ([group[0]], [failing]), "of every way to choose the likeliest"
    assert choose("truth", group, of=replace(bench, truth=lambda text, context: text != example.text)) == ([], [group[1]])


def test_good_enough_is_a_quantile_of_what_people_wrote(bench) -> None:
    real = bench.splits.validation[:300]
    least = sorted(float(one.stats_T3[:, 0].min()) for one in bench.features([bench.real(example) for example in real]))
    found = bounds_of(FilteringConfig(good_enough=0.5, not_enough=0.1), "likelihood", bench, None)
    assert found is not None
    assert (found.upper, found.lower) == pytest.approx((least[len(least) // 2], least[len(least) // 10]))
    assert bounds_of(FilteringConfig(), "likelihood", bench, None) is None
    assert bounds_of(FilteringConfig(good_enough=0.5), "first", bench, None) is None


def test_nothing_is_kept_where_nothing_passes(bench) -> None:
    assert chooser("discriminator", bench, Ruler())(bench.splits.train[0].context, [candidate("", 1.0)], [False])[0] == []


def test_each_round_draws_its_own_prompts(bench) -> None:
    config = FilteringConfig(prompts_per_round=10)
    first, second = (prompts_of_round(bench, config, stage=f"filtering {number} samples") for number in (1, 2))
    assert first != second
    assert first == prompts_of_round(bench, config, stage="filtering 1 samples")


def test_a_studys_controls_choose_by_likelihood_by_the_checks_alone_and_by_the_truth(bench) -> None:
    example = bench.splits.train[0]
    group = [candidate("", 9.0, least=-0.1), *(candidate(example.text, 0.1, least=least) for least in (-3.0, -1.0, -2.0))]
    assert chooser("likelihood", bench, None)(example.context, group, checks_of(bench, example.context, group))[0] == [group[2]]
    assert chooser("first", bench, None)(example.context, group, checks_of(bench, example.context, group))[0] == [group[1]]
    knows = replace(bench, truth=lambda text, context: False)
    assert chooser("truth", knows, None)(example.context, group, checks_of(bench, example.context, group))[0] == []


def test_samples_are_drawn_once_for_several_ways_to_choose_and_each_learns_from_what_it_would_have_kept_itself(bench) -> None:
    passing = SimpleNamespace(judge=lambda text, **asked: SimpleNamespace(checks_passed=True))
    bench = replace(bench, checker=passing)
    shape = {"prompts_per_round": 6, "samples": 4}
    begun = State(bench.run).with_group("policy", bench.policy.adapter())
    shared = {"stage": "filtering 1 samples", "save": lambda kept: None}

    def kept(state: State, select_by: str, of) -> list[Kept]:
        return kept_answers(state, FilteringConfig(select_by=select_by, **shape), of, stage="filtering 1 samples")

    drawn_for = FilteringConfig(select_by="first", drawn_for=("likelihood",), **shape)
    drawn = collect_best(begun, drawn_for, lambda told: None, bench=bench, **shared)
    arm = replace(bench, run="another run, which would draw other prompts")
    alone = {
        by: collect_best(begun, FilteringConfig(select_by=by, **shape), lambda told: None, bench=bench, **shared)
        for by in ("first", "likelihood")
    }
    for by, state in alone.items():
        assert kept(drawn, by, arm) == kept(state, by, bench) != []
    assert kept(drawn, "first", arm) != kept(drawn, "likelihood", arm)


def test_without_samples_a_round_is_more_cross_entropy_on_real_rows(bench) -> None:
    config = FilteringConfig(generated_share=0, steps_per_round=2, batch_size=4, learning_rate=1e-3)
    state, seen = State(bench.run).with_group("policy", bench.policy.adapter()), []
    done = train_on_best(state, config, seen.append, stage="filtering 1", collected_in="nowhere", bench=bench, save=lambda state: None)
    assert tensors_digest(done.group("policy")) != tensors_digest(state.group("policy"))
    assert [progress.step for progress in seen] == [1, 2]
    assert "kept_share" not in seen[0].metrics


def test_rows_that_break_a_check_are_left_out_where_only_passing_ones_are_asked_for(bench) -> None:
    wrong = replace(bench.splits.train[0], text="")
    splits = replace(bench.splits, train=[wrong, *bench.splits.train[1:]])
    passing = real_rows(FilteringConfig(real_rows="passing"), replace(bench, splits=splits))
    assert wrong not in passing
    assert len(passing) >= 1
    with pytest.raises(BadInput, match="real_rows"):
        real_rows(FilteringConfig(real_rows="passing"), replace(bench, splits=replace(splits, train=[wrong])))
