import numpy as np

from common.domain.token_features import TokenFeatures
from common.generation.candidates import Candidate
from train_app.config import FilteringConfig
from train_app.stages.filtering import best_of, prompts_of_round


def candidate(text: str, hidden: float) -> Candidate:
    features = TokenFeatures(np.array([3, 4], np.int32), np.full((2, 32), hidden, np.float16), np.zeros((2, 3), np.float32))
    return Candidate(text=text, ids=(3, 4), num_tokens=2, mean_logprob=-1.0, min_logprob=-1.0, features=features)


class Ruler:
    """Stands in for a trained discriminator: the first hidden number is the score."""

    def log_real(self, features, controls):
        return [float(one.hidden_TD[0, 0]) for one in features]


def test_the_highest_score_among_those_that_pass_the_checks_is_kept(bench) -> None:
    example = next(one for one in bench.splits.train if one.context.controls["style"] == "concise")
    wrong = example.text.replace("小时", "00小时")
    group = [candidate(example.text, 0.1), candidate(wrong, 9.0), candidate(example.text, 0.7), candidate(example.text, 0.7)]
    kept = best_of(bench, Ruler())(example.context, group)
    assert kept == [group[2]]


def test_nothing_is_kept_where_nothing_passes(bench) -> None:
    assert best_of(bench, Ruler())(bench.splits.train[0].context, [candidate("", 1.0)]) == []


def test_each_round_draws_its_own_prompts(bench) -> None:
    config = FilteringConfig(prompts_per_round=10)
    first, second = (prompts_of_round(bench, config, stage=f"filtering {number} samples") for number in (1, 2))
    assert first != second
    assert first == prompts_of_round(bench, config, stage="filtering 1 samples")
