"""Evidence of a taste -> how likely a user likes each value of a control: the population is the prior, the source decides the weight.

One user's evidence is thin and contradicts itself (an A/B test is a click, not a wish), so an estimate says how sure it is, and
`resolve_controls` asks for a margin before it acts on it.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.domain.controls import Controls
from common.features.rows import PreferenceRow, PreferenceSource

WEIGHTS: Mapping[PreferenceSource, float] = {"explicit": 8.0, "questionnaire": 2.0, "ab_test": 1.0}
"""Pseudo-observations a row is worth: a stated wish outweighs several answers, an answer several clicks."""
PRIOR_STRENGTH = 4.0
"""Pseudo-observations the population is worth: two questionnaire answers of the user count as much."""

Counts = dict[str, dict[str, float]]
"""Control -> value -> weighted number of observations."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one control for one user. `probabilities` sum to 1, most likely first."""

    probabilities: Mapping[str, float]
    confidence: float
    """Probability, in [0, 1], that the first value is liked more than the second; 0.5 says nothing."""

    @property
    def value(self) -> str:
        return next(iter(self.probabilities))


def observations(row: PreferenceRow) -> list[tuple[str, str, float]]:
    """(control, value, weight) that a row says. A pair counts for the winner where the two differ, its weight shared among controls."""
    weight = WEIGHTS[row.source]
    if row.control is not None and row.value is not None:
        return [(row.control, row.value, weight)]
    assert row.winner is not None
    assert row.loser is not None
    against = row.loser.labels
    differing = [(control, value) for control, value in sorted(row.winner.labels.items()) if against.get(control, value) != value]
    return [(control, value, weight / len(differing)) for control, value in differing]


def count(rows: Iterable[PreferenceRow]) -> Counts:
    counts: Counts = {}
    for row in rows:
        for control, value, weight in observations(row):
            values = counts.setdefault(control, {})
            values[value] = values.get(value, 0.0) + weight
    return counts


def estimate(
    rows: Iterable[PreferenceRow], *, population: Mapping[str, Mapping[str, float]], strength: float = PRIOR_STRENGTH
) -> dict[str, Estimate]:
    """Control -> Dirichlet estimate: the population's shares times `strength`, plus the user's own counts, where the user has any."""
    return {control: _posterior(own, population.get(control, {}), strength) for control, own in count(rows).items()}


def _posterior(own: Mapping[str, float], population: Mapping[str, float], strength: float) -> Estimate:
    """One pseudo-observation of each value on top of the population's counts keeps every value possible.

    Where only one value was ever seen there is another that nobody has asked for yet, with one pseudo-observation too: a single click
    is no certainty.
    """
    values = sorted({*own, *population})
    shares = {value: population.get(value, 0.0) + 1.0 for value in values}
    unseen = 1.0 if len(values) == 1 else 0.0
    total = sum(shares.values()) + unseen
    alphas = {value: strength * shares[value] / total + own.get(value, 0.0) for value in values}
    ranked = sorted(values, key=lambda value: (-alphas[value], value))
    mass = sum(alphas.values())
    confidence = probability_greater(alphas[ranked[0]], alphas[ranked[1]] if len(ranked) > 1 else strength * unseen / total)
    return Estimate(probabilities={value: alphas[value] / mass for value in ranked}, confidence=confidence)


def explicit_choices(rows: Iterable[PreferenceRow]) -> Controls:
    """Control -> what the user said last; rows without a time count as said first, and of equals the later row wins."""
    stated = [row for row in rows if row.source == "explicit" and row.control is not None and row.value is not None]
    stated.sort(key=lambda row: row.at.timestamp() if row.at is not None else -math.inf)
    return {row.control: row.value for row in stated if row.control is not None and row.value is not None}


def probability_greater(alpha: float, beta: float) -> float:
    """P(x > y) for two components of a Dirichlet with these parameters: x/(x+y) is Beta(alpha, beta), so 1 - I(1/2; alpha, beta)."""
    return _regularized_beta_half(beta, alpha)


def _regularized_beta_half(a: float, b: float) -> float:
    """I(1/2; a, b) by the continued fraction of Numerical Recipes section 6.4 (Lentz's method), accurate to about 1e-12."""
    if a < b:  # the fraction converges fast on this side only
        return 1.0 - _regularized_beta_half(b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + (a + b) * math.log(0.5)) / a
    tiny = 1e-300
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) / (a + 1.0) * 0.5, tiny)
    fraction = d
    for m in range(1, 1000):
        even = m * (b - m) * 0.5 / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * 0.5 / ((a + 2 * m) * (a + 2 * m + 1))
        for numerator in (even, odd):
            d = 1.0 / _away_from_zero(1.0 + numerator * d, tiny)
            c = _away_from_zero(1.0 + numerator / c, tiny)
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-14:
            break
    return front * fraction


def _away_from_zero(number: float, tiny: float) -> float:
    return number if abs(number) > tiny else tiny
