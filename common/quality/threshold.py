"""From a discriminator's raw scores to a probability and to the threshold from which a text is accepted. Float64, on arrays; no model."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import lgamma

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import BadInput

Floats = NDArray[np.float64]
LEAST_SLOPE = 0.01
"""Of a fit, per standard deviation of the scores: what scores that tell nothing apart end at."""
NEWTON_STEPS = 50
GRID = (*(1 / (1 + np.exp(-np.linspace(8, -8, 321)))).tolist(), 0.0)
"""Thresholds that a risk is tested at, strict to loose: steps of .05 in log-odds, and none at all. Fixed before any score is seen."""


def fit_platt(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """(temperature, offset) under which sigmoid((score - offset) / temperature) is the likeliest for labels 1 and 0, on rows kept apart.

    Platt 1999, with its targets (N1 + 1) / (N1 + 2) and 1 / (N0 + 2), which keep a perfect separation finite. The loss is convex; Newton's
    method on standardised scores. Scores that tell nothing, or the wrong way round, get a temperature of 100 of their deviations.
    """
    x, y = _pair(scores, labels)
    if len(set(y.tolist())) < 2:
        raise BadInput(f"calibration: got {len(y)} labels of one kind; expected right and wrong rows")
    ones = y.sum()
    target = np.where(y > 0, (ones + 1) / (ones + 2), 1 / (len(y) - ones + 2))
    centre, scale = float(x.mean()), float(x.std()) or 1.0
    z = np.stack([(x - centre) / scale, np.ones_like(x)], 1)
    weights = np.zeros(2)
    for _ in range(NEWTON_STEPS):
        p = np.exp(-np.logaddexp(0.0, -z @ weights))
        hessian = (z * (p * (1 - p))[:, None]).T @ z + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, z.T @ (p - target))
        while nll(z @ (weights - step), target) > nll(z @ weights, target) and np.abs(step).max() > 1e-12:
            step /= 2
        weights -= step
    slope = max(float(weights[0]), LEAST_SLOPE) / scale
    return 1 / slope, centre - float(weights[1]) / slope


def nll(logits: ArrayLike, labels: ArrayLike) -> float:
    """Mean negative log-likelihood in nats of labels in [0, 1] under sigmoid(logits)."""
    x, y = _pair(logits, labels)
    return float(np.mean(np.logaddexp(0.0, x) - x * y))


def probability(scores: ArrayLike, *, temperature: float, offset: float = 0.0) -> Floats:
    """sigmoid((scores - offset) / temperature), without overflow."""
    if temperature <= 0:
        raise BadInput(f"temperature: got {temperature}; expected a number above 0")
    x = (np.asarray(scores, dtype=np.float64) - offset) / temperature
    return np.asarray(np.exp(-np.logaddexp(0.0, -x)), dtype=np.float64)


def quantile_threshold(scores_real: ArrayLike, q: float) -> float:
    """The highest threshold that refuses at most a share `q` of real texts: floor(q * n) of them lie strictly below it."""
    scores = np.sort(np.asarray(scores_real, dtype=np.float64))
    if scores.ndim != 1 or len(scores) == 0 or not np.isfinite(scores).all():
        raise BadInput(f"threshold: got {scores.shape} scores; expected a list of at least one finite number")
    if not 0 <= q < 1:
        raise BadInput(f"threshold: got q = {q}; expected 0 <= q < 1")
    return float(scores[int(np.floor(q * len(scores) + 1e-9))])


def _pair(logits: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) == 0 or not np.isfinite(x).all():
        raise BadInput(f"calibration: got logits {x.shape} and labels {y.shape}; expected two equal, finite lists of at least one number")
    return x, y


@dataclass(frozen=True, slots=True)
class RiskTest:
    """What a threshold is worth on the calibration requests. Of `threshold` None the figures are those of the strictest one tried."""

    threshold: float | None
    """None: no threshold is shown to keep the risk."""
    num_requests: int
    num_accepted: int
    num_bad: int
    """Of the accepted."""
    bound: float
    """Of P(bad | accepted), from above, with confidence 1 - delta."""
    design_effect: float
    """Requests per independent one, at least 1: several requests about one product tell less than as many about several."""

    @property
    def acceptance(self) -> float:
        return self.num_accepted / self.num_requests


def risk_threshold(
    scores_RA: ArrayLike, bad_RA: ArrayLike, *, alpha: float, delta: float, min_acceptance: float, groups: Sequence[Hashable] | None = None
) -> RiskTest:
    """The loosest threshold with P(bad | accepted) <= alpha at confidence 1 - delta, over the whole procedure that serves.

    Learn then Test (Angelopoulos et al. 2021, arXiv 2110.01052), section 3: for each threshold the null "its risk is above alpha" has the
    p-value P(Bin(n, alpha) <= bad), exact for losses of 0 and 1, n the accepted requests; fixed-sequence testing (their algorithm 1, one
    start) rejects from strict to loose until the first p-value above delta, and all that were rejected hold at once at level delta.
    The grid is fixed beforehand; the sequence begins at the strictest threshold that accepts a share `min_acceptance` of requests, which
    no label decides: stricter ones would not be served.

    `scores_RA[r, a]`: of what attempt a would show for request r, the best of its candidates that pass the checks; -inf where none does.
    `bad_RA`: whether that text is bad. `groups`: what requests share (the product); their design effect (Kish 1965, 1 + (m - 1) rho, rho
    by analysis of variance) divides n and bad. Without it requests count as independent, and the level is exact.
    """
    scores, bad = np.asarray(scores_RA, dtype=np.float64), np.asarray(bad_RA, dtype=bool)
    if scores.shape != bad.shape or scores.ndim != 2 or not scores.size or np.isnan(scores).any():
        raise BadInput(
            f"risk: got scores {scores.shape} and flags {bad.shape}; expected two equal tables, requests by attempts, without nan"
        )
    if not (0 < alpha < 1 and 0 < delta < 1 and 0 <= min_acceptance <= 1):
        raise BadInput(f"risk: got alpha {alpha}, delta {delta}, min_acceptance {min_acceptance}; expected alpha and delta inside (0, 1)")
    member = None if groups is None else np.unique([str(group) for group in groups], return_inverse=True)[1]
    highest = scores.max(1)
    held: _Tried | None = None
    tried: _Tried | None = None
    for threshold in GRID:
        if ((highest >= threshold) & np.isfinite(highest)).sum() < max(1.0, min_acceptance * len(scores)):
            continue
        accepted, wrong = shown(scores, bad, threshold=threshold)
        effect = 1.0 if member is None else design_effect(wrong[accepted], member[accepted])
        tried = _Tried(threshold, int(accepted.sum()), int(wrong.sum()), effect)
        if binomial_tail(tried.bad, tried.n, alpha) > delta:
            break
        held = tried
    told = held or tried
    if told is None:
        return RiskTest(None, len(scores), int(np.isfinite(highest).sum()), 0, 1.0, 1.0)
    bound = risk_bound(told.bad, told.n, delta)
    return RiskTest(told.threshold if held else None, len(scores), told.num_accepted, told.num_bad, bound, told.effect)


@dataclass(frozen=True, slots=True)
class _Tried:
    threshold: float
    num_accepted: int
    num_bad: int
    effect: float

    @property
    def n(self) -> int:
        """Independent requests that the accepted are worth, rounded down."""
        return int(self.num_accepted / self.effect)

    @property
    def bad(self) -> int:
        return int(np.ceil(self.num_bad / self.effect))


def shown(scores_RA: Floats, bad_RA: NDArray[np.bool_], *, threshold: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(accepted, accepted and bad), a flag a request: the first attempt whose best reaches the threshold is shown, as serving does."""
    reached = (scores_RA >= threshold) & np.isfinite(scores_RA)
    accepted: NDArray[np.bool_] = np.asarray(reached.any(1))
    return accepted, np.asarray(accepted & bad_RA[np.arange(len(bad_RA)), reached.argmax(1)])


def binomial_tail(bad: int, n: int, risk: float) -> float:
    """P(Bin(n, risk) <= bad): the p-value of "the risk is at least `risk`" when `bad` of n were bad."""
    if bad >= n:
        return 1.0
    counts = np.arange(bad + 1)
    log_choose = np.array([lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) for k in counts])
    return float(min(1.0, np.exp(log_choose + counts * np.log(risk) + (n - counts) * np.log1p(-risk)).sum()))


def risk_bound(bad: int, n: int, delta: float) -> float:
    """The highest risk that `bad` of n do not speak against at level delta, from above (Clopper & Pearson 1934, one-sided)."""
    low, high = (bad / n if n else 1.0), 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if binomial_tail(bad, n, middle) > delta else (low, middle)
    return high


def design_effect(outcomes: ArrayLike, groups: ArrayLike) -> float:
    """How many requests weigh as one independent, at least 1."""
    y = np.asarray(outcomes, dtype=np.float64)
    _, member = np.unique(groups, return_inverse=True)
    sizes = np.bincount(member)
    n, num = len(y), len(sizes)
    if num < 2 or n == num:
        return 1.0 if n == num else float(n)
    means = np.bincount(member, weights=y) / sizes
    between = float((sizes * (means - y.mean()) ** 2).sum()) / (num - 1)
    within = float(((y - means[member]) ** 2).sum()) / (n - num)
    typical = (n - float((sizes**2).sum()) / n) / (num - 1)
    total = between + (typical - 1) * within
    rho = max(0.0, (between - within) / total) if total > 0 else 0.0
    return 1 + (float((sizes**2).sum()) / n - 1) * rho
