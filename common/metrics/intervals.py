"""How far a figure can be trusted: intervals of shares, means and paired differences."""

from collections.abc import Callable
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.config import Frozen


class Interval(Frozen):
    """A figure with its 95 % interval and the number of rows it rests on; `low` and `high` are None for a figure of the whole set."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f}" if self.low is None or self.high is None else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def share(successes: int, n: int, *, z: float = 1.959964) -> Interval:
    """Wilson's score interval (1927). n = 0 knows nothing: [0, 1]."""
    if not n:
        return Interval(value=0.0, low=0.0, high=1.0, n=0)
    p = successes / n
    centre, half = (p + z * z / (2 * n)) / (1 + z * z / n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Interval(value=p, low=max(0.0, centre - half), high=min(1.0, centre + half), n=n)


def bootstrap(
    values: ArrayLike, statistic: Callable[[NDArray[np.float64]], float] = np.mean, *, seed: int = 0, rounds: int = 2000
) -> Interval:
    """Percentile bootstrap over rows (Efron 1979)."""
    rows = np.asarray(values, float)
    rng = np.random.default_rng(seed)
    drawn = [float(statistic(rows[rng.integers(0, len(rows), len(rows))])) for _ in range(rounds)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value=float(statistic(rows)), low=float(low), high=float(high), n=len(rows))


def paired_difference(first: ArrayLike, second: ArrayLike, *, seed: int = 0, rounds: int = 2000) -> Interval:
    """Mean of first - second on the same rows, with a bootstrap over rows."""
    a, b = np.asarray(first, float), np.asarray(second, float)
    assert a.shape == b.shape, "a paired difference needs the same rows on both sides"
    return bootstrap(a - b, seed=seed, rounds=rounds)
