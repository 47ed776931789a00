"""Whether a score means what it says: AUC, ECE, Brier."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.metrics.intervals import Interval


def auc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Probability that a positive scores above a negative, ties counted half; .5 is blind. nan when one side is empty."""
    pos, neg = np.asarray(positive, float), np.asarray(negative, float)
    if not len(pos) or not len(neg):
        return float("nan")
    return float((_ranks(np.concatenate([pos, neg]))[: len(pos)].sum() - len(pos) * (len(pos) + 1) / 2) / (len(pos) * len(neg)))


def auc_interval(positive: ArrayLike, negative: ArrayLike, *, z: float = 1.959964) -> Interval:
    """AUC with DeLong's 95 % interval (DeLong et al. 1988; ranks as Sun & Xu 2014), cut to [0, 1]; `n` counts both sides.

    The variance is that of the placements: for a positive the share of negatives below it, for a negative that of positives above it.
    Fewer than two scores a side, or sides that do not overlap at all, leave it without a spread: then there is no interval.
    """
    pos, neg = np.asarray(positive, float), np.asarray(negative, float)
    value, n = auc(pos, neg), len(pos) + len(neg)
    if min(len(pos), len(neg)) < 2 or value in (0.0, 1.0):
        return Interval(value=value, n=n)
    ranks = _ranks(np.concatenate([pos, neg]))
    below = (ranks[: len(pos)] - _ranks(pos)) / len(neg)
    above = 1 - (ranks[len(pos) :] - _ranks(neg)) / len(pos)
    half = z * float(np.sqrt(below.var(ddof=1) / len(pos) + above.var(ddof=1) / len(neg)))
    return Interval(value=value, low=max(0.0, value - half), high=min(1.0, value + half), n=n)


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 1, the mean rank among equals."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    found: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return found


def expected_calibration_error(probability: ArrayLike, outcome: ArrayLike, *, bins: int = 15) -> float:
    """ECE over bins of equal mass (Nguyen & O'Connor 2015), in [0, 1]."""
    p, y = np.asarray(probability, float), np.asarray(outcome, float)
    order = np.argsort(p, kind="stable")
    return float(sum(abs(p[part].mean() - y[part].mean()) * len(part) for part in np.array_split(order, bins) if len(part)) / len(p))


def brier(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Mean squared error of the probability (Brier 1950), in [0, 1]."""
    return float(np.mean((np.asarray(probability, float) - np.asarray(outcome, float)) ** 2))
