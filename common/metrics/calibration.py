"""Whether a score means what it says: AUC, ECE, Brier."""

import numpy as np
from numpy.typing import ArrayLike


def auc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Probability that a positive scores above a negative, ties counted half; .5 is blind. nan when one side is empty."""
    pos, neg = np.asarray(positive, float), np.asarray(negative, float)
    if not len(pos) or not len(neg):
        return float("nan")
    values, inverse, counts = np.unique(np.concatenate([pos, neg]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    assert len(values) == len(counts)
    return float((ranks[: len(pos)].sum() - len(pos) * (len(pos) + 1) / 2) / (len(pos) * len(neg)))


def expected_calibration_error(probability: ArrayLike, outcome: ArrayLike, *, bins: int = 15) -> float:
    """ECE over bins of equal mass (Nguyen & O'Connor 2015), in [0, 1]."""
    p, y = np.asarray(probability, float), np.asarray(outcome, float)
    order = np.argsort(p, kind="stable")
    return float(sum(abs(p[part].mean() - y[part].mean()) * len(part) for part in np.array_split(order, bins) if len(part)) / len(p))


def brier(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Mean squared error of the probability (Brier 1950), in [0, 1]."""
    return float(np.mean((np.asarray(probability, float) - np.asarray(outcome, float)) ** 2))
