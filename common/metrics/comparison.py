"""Whether one way is better than another: paired differences over seeds and prompts at once, and correction for several questions."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from common.config import Frozen

CHUNK = 1000
"""Bootstrap rounds drawn at once."""


class Difference(Frozen):
    """A mean paired difference and how sure it is."""

    value: float
    low: float = Field(description="95 % interval of the hierarchical bootstrap")
    high: float
    t_low: float | None = Field(None, description="95 % t-interval over the seeds' mean differences; null with one seed")
    t_high: float | None = None
    p: float = Field(description="two-sided, of the bootstrap: twice the share of rounds on the other side of 0")
    by_seed: list[float]
    n: int = Field(description="prompts a seed")


def hierarchical_difference(first: ArrayLike, second: ArrayLike, *, rounds: int = 10_000, seed: int = 0) -> Difference:
    """Mean of first - second, both [seeds, prompts] with the same seeds and prompts on both sides.

    Each round draws seeds, then prompts within each drawn seed (hierarchical bootstrap: Saravanan et al. 2020, arXiv 2007.07797). Drawing
    the prompts once for all seeds, since they are the same questions, covers more than it says (Owen 2007: .995 of 200 trials at 95 %).
    With few seeds a bootstrap over them is too narrow by sqrt((S - 1) / S); the t-interval stands beside it for that. p is at least
    1 / rounds.
    """
    difference_SN = np.asarray(first, float) - np.asarray(second, float)
    assert difference_SN.ndim == 2, "expected [seeds, prompts]"
    num_seeds, num_prompts = difference_SN.shape
    rng = np.random.default_rng(seed)
    seeds_RS = rng.integers(0, num_seeds, (rounds, num_seeds))
    means_RS = np.empty((rounds, num_seeds))
    for row, difference_N in enumerate(difference_SN):
        places = seeds_RS == row
        means_RS[places] = _resampled_means(difference_N, int(places.sum()), rng)
    means_R = means_RS.mean(1)
    low, high = np.quantile(means_R, [0.025, 0.975])
    by_seed = difference_SN.mean(1)
    t_low, t_high = t_interval(by_seed) if num_seeds > 1 else (None, None)
    tail = min(float((means_R <= 0).mean()), float((means_R >= 0).mean()))
    return Difference(
        value=float(by_seed.mean()),
        low=float(low),
        high=float(high),
        t_low=t_low,
        t_high=t_high,
        p=min(1.0, max(2 * tail, 1 / rounds)),
        by_seed=[round(float(one), 6) for one in by_seed],
        n=num_prompts,
    )


def _resampled_means(values_N: NDArray[np.float64], times: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Means of as many values drawn with replacement. Outcomes differ by -1, 0 or 1: how often each is drawn is all that matters."""
    distinct, counts = np.unique(values_N, return_counts=True)
    sizes = [min(CHUNK, times - start) for start in range(0, times, CHUNK)]
    drawn = [rng.multinomial(len(values_N), counts / len(values_N), size) @ distinct / len(values_N) for size in sizes]
    return np.concatenate(drawn) if drawn else np.empty(0)


def t_interval(values: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """Of the mean of a few independent values (Student 1908). Raises ValueError with fewer than two."""
    from scipy.stats import t

    rows: NDArray[np.float64] = np.asarray(values, float)
    if len(rows) < 2:
        raise ValueError(f"a t-interval needs at least two values; got {len(rows)}")
    half = float(t.ppf((1 + level) / 2, len(rows) - 1)) * float(rows.std(ddof=1)) / len(rows) ** 0.5
    return float(rows.mean()) - half, float(rows.mean()) + half


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values (Holm 1979): the i-th smallest of m times m - i + 1, never below a smaller one's, at most 1."""
    ordered = sorted(p_values, key=lambda name: p_values[name])
    adjusted, least = {}, 0.0
    for rank, name in enumerate(ordered):
        least = max(least, min(1.0, (len(ordered) - rank) * p_values[name]))
        adjusted[name] = least
    return {name: adjusted[name] for name in p_values}
