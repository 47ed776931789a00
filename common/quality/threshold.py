"""From a discriminator's raw scores to a probability and to the threshold from which a text is accepted. Float64, on arrays; no model."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import BadInput

Floats = NDArray[np.float64]
LEAST_SLOPE = 0.01
"""Of a fit, per standard deviation of the scores: what scores that tell nothing apart end at."""
NEWTON_STEPS = 50


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
