import numpy as np
import pytest

from common.metrics.comparison import hierarchical_difference, holm, t_interval


def outcomes(rng, *, seeds: int, prompts: int, gain: float, seed_effect: float):
    """Two arms on the same prompts: a hard prompt is hard for both, and each seed has a gain of its own."""
    hard = rng.uniform(-0.3, 0.3, prompts)
    effect = gain + rng.normal(0, seed_effect, seeds)
    first = rng.random((seeds, prompts)) < 0.5 + hard + effect[:, None]
    return first, rng.random((seeds, prompts)) < 0.5 + hard


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(150):
        first, second = outcomes(rng, seeds=8, prompts=200, gain=0.05, seed_effect=0.02)
        found = hierarchical_difference(first, second, rounds=300, seed=trial)
        inside += found.low <= 0.05 <= found.high
    assert 0.87 <= inside / 150 <= 0.99


def test_no_difference_is_not_found_significant_and_a_plain_one_is() -> None:
    rng = np.random.default_rng(1)
    alike = hierarchical_difference(*outcomes(rng, seeds=5, prompts=500, gain=0, seed_effect=0), rounds=2000)
    assert alike.low < 0 < alike.high
    assert alike.p > 0.05
    apart = hierarchical_difference(*outcomes(rng, seeds=5, prompts=500, gain=0.2, seed_effect=0.01), rounds=2000)
    assert apart.low > 0
    assert apart.p == 1 / 2000
    assert apart.value == pytest.approx(np.mean(apart.by_seed), abs=1e-6)


def test_the_same_rows_give_the_same_interval() -> None:
    first, second = outcomes(np.random.default_rng(2), seeds=3, prompts=50, gain=0.1, seed_effect=0)
    assert hierarchical_difference(first, second) == hierarchical_difference(first, second)


def test_one_seed_has_an_interval_over_prompts_and_no_t_interval() -> None:
    found = hierarchical_difference([[1, 1, 0, 1]], [[0, 1, 0, 0]], rounds=1000)
    assert (found.value, found.t_low, found.n) == (0.5, None, 4)


def test_the_t_interval_is_scipys() -> None:
    from scipy import stats

    values = [0.03, 0.05, 0.08, 0.02, 0.06]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert t_interval(values) == pytest.approx((low, high), abs=1e-12)


def test_holm_multiplies_the_smallest_by_the_number_of_questions_and_never_turns_the_order_round() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
