"""From a discriminator's logits to a probability and to the threshold from which a text is accepted. Float64, on arrays; no model."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import BadInput

Floats = NDArray[np.float64]
LOWEST, HIGHEST = 0.05, 20.0
"""Temperatures between which a fit is looked for."""


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """T that minimises the negative log-likelihood of labels (1 real, 0 not) under sigmoid(logit / T), on rows kept apart for it.

    Guo et al. 2017, section 4.2. The loss is convex in 1 / T, so a golden-section search over it finds the minimum; a fit at a bound
    (all rows right, or no better than chance) returns the bound.
    """
    x, y = _pair(logits, labels)
    if len(set(y.tolist())) < 2:
        raise BadInput(f"temperature: got {len(y)} labels of one kind; expected real and unreal rows")
    low, high = 1 / HIGHEST, 1 / LOWEST
    ratio = (np.sqrt(5.0) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    loss_left, loss_right = nll(x * left, y), nll(x * right, y)
    while high - low > 1e-10:
        if loss_left <= loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - ratio * (high - low)
            loss_left = nll(x * left, y)
        else:
            low, left, loss_left = left, right, loss_right
            right = low + ratio * (high - low)
            loss_right = nll(x * right, y)
    return float(2 / (low + high))


def nll(logits: ArrayLike, labels: ArrayLike) -> float:
    """Mean negative log-likelihood in nats of labels in {0, 1} under sigmoid(logits)."""
    x, y = _pair(logits, labels)
    return float(np.mean(np.logaddexp(0.0, x) - x * y))


def probability(logits: ArrayLike, *, temperature: float) -> Floats:
    """sigmoid(logits / temperature), without overflow."""
    if temperature <= 0:
        raise BadInput(f"temperature: got {temperature}; expected a number above 0")
    x = np.asarray(logits, dtype=np.float64) / temperature
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
