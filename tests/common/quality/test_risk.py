"""The threshold that keeps a risk: what it promises is counted over repeats, and its figures are those of the closed forms and of MAPIE."""

import numpy as np
import pytest
from scipy.stats import beta, binom

from common.errors import BadInput
from common.quality.threshold import GRID, RiskTest, binomial_tail, design_effect, risk_bound, risk_threshold, shown

ALPHA = DELTA = 0.1
REPEATS = 500
TOLERANCE = 2.6 * (DELTA * (1 - DELTA) / REPEATS) ** 0.5
"""Of a share that is truly delta, one time in two hundred."""


def requests(rng: np.random.Generator, num: int, *, attempts: int = 2, useless: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Best scores of each attempt, one in eight attempts without a candidate that passes, and flags that the score tells something of."""
    scores = rng.beta(2, 1.5, (num, attempts))
    chance = np.full_like(scores, 0.25) if useless else 0.02 + 0.5 * (1 - scores) ** 1.5
    bad = rng.random((num, attempts)) < chance
    scores[rng.random((num, attempts)) < 1 / 8] = -np.inf
    return scores, bad


def true_risk(scores: np.ndarray, bad: np.ndarray) -> dict[float, float]:
    found = {}
    for threshold in GRID:
        accepted, wrong = shown(scores, bad, threshold=threshold)
        found[threshold] = wrong.sum() / max(1, accepted.sum())
    return found


def test_the_risk_is_above_alpha_in_no_more_than_delta_of_the_repeats() -> None:
    rng = np.random.default_rng(5)
    risk = true_risk(*requests(rng, 100_000))
    assert risk[0.0] > ALPHA > risk[GRID[60]], "else the test would test nothing"
    found = [risk_threshold(*requests(rng, 1000), alpha=ALPHA, delta=DELTA, min_acceptance=0.3).threshold for _ in range(REPEATS)]
    exceeded = sum(threshold is not None and risk[threshold] > ALPHA for threshold in found) / REPEATS
    assert exceeded <= DELTA + TOLERANCE
    assert exceeded > DELTA / 4, "the bound is close to its level, so a weaker test would have been seen to fail"
    assert sum(threshold is None for threshold in found) < 0.05 * REPEATS, "it finds a threshold where there is one"


def test_requests_of_one_product_count_for_less() -> None:
    """The risk is alpha at each threshold, so any threshold at all is one too many."""
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(100), 10)
    found = {True: 0, False: 0}
    for _ in range(REPEATS):
        scores = rng.beta(2, 1.5, (1000, 1))
        bad = rng.random((1000, 1)) < rng.beta(0.4, 3.6, 100)[groups][:, None]  # of some products nearly all texts are
        for known in found:
            told = groups.tolist() if known else None
            held = risk_threshold(scores, bad, alpha=ALPHA, delta=DELTA, min_acceptance=0.9, groups=told)
            found[known] += held.threshold is not None
    assert found[True] / REPEATS <= DELTA + TOLERANCE
    assert found[False] / REPEATS > 2 * DELTA, "counted as independent, they promise what they do not keep"


def test_a_score_that_tells_nothing_controls_nothing() -> None:
    rng = np.random.default_rng(7)
    found = [risk_threshold(*requests(rng, 1000, useless=True), alpha=ALPHA, delta=DELTA, min_acceptance=0.3) for _ in range(50)]
    assert {one.threshold for one in found} == {None}
    assert all(one.bound > 0.2 for one in found), "and what it says of itself is near the truth, a quarter"


def test_a_threshold_that_would_refuse_nearly_all_is_not_taken() -> None:
    rng = np.random.default_rng(8)
    scores, bad = requests(rng, 2000, attempts=1)
    bad |= scores < 0.9
    strict = risk_threshold(scores, bad, alpha=ALPHA, delta=DELTA, min_acceptance=0.02)
    assert strict.threshold is not None
    assert strict.acceptance < 0.1
    assert risk_threshold(scores, bad, alpha=ALPHA, delta=DELTA, min_acceptance=0.3).threshold is None


def test_the_first_attempt_that_reaches_the_threshold_is_shown() -> None:
    scores = np.array([[0.9, 0.99], [0.3, 0.8], [0.3, 0.2], [-np.inf, 0.7], [-np.inf, -np.inf]])
    bad = np.array([[True, False], [True, False], [True, True], [False, True], [True, True]])
    accepted, wrong = shown(scores, bad, threshold=0.5)
    assert accepted.tolist() == [True, True, False, True, False]
    assert wrong.tolist() == [True, False, False, True, False]
    assert shown(scores, bad, threshold=0.0)[0].tolist() == [True, True, True, True, False], "what fails the checks is never shown"


def test_closed_forms() -> None:
    for bad, n, risk in ((0, 22, 0.1), (3, 60, 0.1), (50, 620, 0.1), (12, 300, 0.05), (7, 7, 0.4), (90, 1000, 0.1)):
        assert binomial_tail(bad, n, risk) == pytest.approx(binom.cdf(bad, n, risk), rel=1e-9)
        expected = 1.0 if bad == n else beta.ppf(0.9, bad + 1, n - bad)
        assert risk_bound(bad, n, 0.1) == pytest.approx(expected, abs=2e-6)
    assert risk_bound(0, 0, 0.1) == 1


def test_mapie_chooses_the_same() -> None:
    """MAPIE 1.6.0: BinaryClassificationController with P(bad | accepted) as BinaryRisk, fwer_method="fixed_sequence", best by acceptance,
    on these rows and the thresholds of GRID with acceptance >= .3, gave .5 and 28 valid thresholds; its p-values of 3 of 60 and 50 of 620
    at .1 (binary=True) are the two below. It knows one attempt only."""
    rng = np.random.default_rng(3)
    scores = rng.beta(2, 1.2, 1200)
    bad = rng.random(1200) < 0.35 * (1 - scores) ** 1.3 + 0.02
    found = risk_threshold(scores[:, None], bad[:, None], alpha=0.1, delta=0.1, min_acceptance=0.3)
    assert found == RiskTest(pytest.approx(0.5), 1200, 853, 71, pytest.approx(0.096681, abs=2e-6), 1.0)
    held = [t for t in GRID if t >= 0.5 - 1e-9 and (scores >= t).mean() >= 0.3]
    assert len(held) == 28
    assert binomial_tail(3, 60, 0.1) == pytest.approx(0.13739857)
    assert binomial_tail(50, 620, 0.1) == pytest.approx(0.05856376)


def test_the_design_effect_lies_between_one_and_the_size_of_a_group() -> None:
    groups = [index // 5 for index in range(500)]
    assert design_effect([float(group % 2) for group in groups], groups) == pytest.approx(5, rel=0.02)
    assert design_effect(np.random.default_rng(0).random(500), groups) < 1.4
    assert design_effect([1.0, 0.0, 1.0], ["a", "b", "c"]) == 1


@pytest.mark.parametrize(
    ("scores", "bad", "alpha"),
    [
        ([[0.5]], [[True, False]], 0.1),
        ([0.5], [True], 0.1),
        ([[np.nan]], [[True]], 0.1),
        ([[0.5]], [[True]], 1.0),
        (np.empty((0, 2)), np.empty((0, 2)), 0.1),
    ],
)
def test_what_cannot_be_tested_is_refused(scores: object, bad: object, alpha: float) -> None:
    with pytest.raises(BadInput, match="risk: got"):
        risk_threshold(scores, bad, alpha=alpha, delta=0.1, min_acceptance=0.3)
