"""From the kept seeds to comparisons: differences with intervals over seeds and prompts, bars, the summary. Trains and draws nothing."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from common.config import Frozen
from common.metrics.comparison import Difference, hierarchical_difference, holm
from train_app.study.config import StudyConfig
from train_app.study.figures import CHOSEN, DECODED, SAMPLED, SeedResult

TAKEN = (SAMPLED, DECODED, CHOSEN)


class Comparison(Frozen):
    """`first` - `second` of one outcome, the same prompts and seeds on both sides."""

    first: str
    second: str
    taken: str
    outcome: str
    difference: Difference


class BarResult(Frozen):
    arm: str
    figure: str
    low: float
    high: float
    value: float | None = Field(description="mean over seeds; null: nothing was measured")

    @property
    def kept(self) -> bool:
        return self.value is not None and self.low <= self.value <= self.high


class Summary(Frozen):
    """`s_gain` is the method's success minus that of the best of the baselines under their own decodings, without best of k; `judge_gain`
    is the method's minus the verifier's share of texts without a fault that only the judge sees."""

    best_baseline: str
    s_gain: float
    s_gain_low: float
    s_gain_high: float
    over_control: float | None
    over_control_low: float | None
    hallucination_ratio: float | None
    judge_gain: float | None
    judge_gain_low: float | None
    a_a: Difference | None = Field(
        None,
        description="success of the first baseline with one seed minus the same with another, compared as two arms are: its interval "
        "should hold 0. Seeds in pairs, an odd one left over is in none; null with fewer than two pairs",
    )
    comparisons: list[Comparison]
    p_values: dict[str, float] = Field(description="of the primary comparisons, after Holm's correction")
    bars: list[BarResult]
    means: dict[str, dict[str, float]] = Field(description="arm -> figure -> mean over seeds")


def summarise(config: StudyConfig, results: Sequence[SeedResult]) -> Summary:
    """Over all seeds that are there."""
    assert results, "a study of no seed says nothing"

    def outcomes(arm: str, taken: str, outcome: str) -> list[np.ndarray] | None:
        rows = [one.arms[arm].texts.get(taken) for one in results]
        found = [one.outcomes[outcome].array.astype(float) for one in rows if one is not None and outcome in one.outcomes]
        return found if len(found) == len(results) else None

    def compare(first: str, second: str | None, taken: str, outcome: str) -> Comparison | None:
        if second is None or second not in config.arms:
            return None
        ours, theirs = outcomes(first, taken, outcome), outcomes(second, taken, outcome)
        if ours is None or theirs is None:
            return None
        difference = hierarchical_difference(np.array(ours), np.array(theirs), rounds=config.rounds)
        return Comparison(first=first, second=second, taken=taken, outcome=outcome, difference=difference)

    means = {arm: _means(results, arm) for arm in config.arms}
    best = max(config.baselines, key=lambda arm: means[arm][f"{DECODED}.success"])
    wanted = [
        (config.method, other, taken, outcome)
        for other in config.arms
        if other != config.method
        for taken in TAKEN
        for outcome in ("success", "checks", "judge_clean", "hallucinated")
    ]
    comparisons = [found for one in wanted if (found := compare(*one)) is not None]
    gain = compare(config.method, best, DECODED, "success")
    assert gain is not None
    control, judge = (
        compare(config.method, config.control, DECODED, "success"),
        compare(config.method, config.verifier, DECODED, "judge_clean"),
    )
    wrong = f"{DECODED}.hallucinated"
    ratio = means[config.method][wrong] / means[best][wrong] if means[best].get(wrong) else None
    primary = {"success over the best baseline": gain.difference.p}
    if (made := compare(config.method, best, DECODED, "hallucinated")) is not None:
        primary["hallucination under the best baseline"] = made.difference.p
    return Summary(
        best_baseline=best,
        s_gain=gain.difference.value,
        s_gain_low=gain.difference.low,
        s_gain_high=gain.difference.high,
        over_control=control.difference.value if control else None,
        over_control_low=control.difference.low if control else None,
        hallucination_ratio=ratio,
        judge_gain=judge.difference.value if judge else None,
        judge_gain_low=judge.difference.low if judge else None,
        a_a=_a_a(config, results),
        comparisons=comparisons,
        p_values=holm(primary),
        bars=[_bar(bar.arm, bar.figure, bar.low, bar.high, results, means) for bar in config.bars],
        means=means,
    )


def _a_a(config: StudyConfig, results: Sequence[SeedResult]) -> Difference | None:
    rows = [one.arms[config.baselines[0]].texts[DECODED].outcomes["success"].array.astype(float) for one in results]
    pairs = len(rows) // 2
    if pairs < 2 or any(one.prompts != results[0].prompts for one in results):
        return None
    return hierarchical_difference(np.array(rows[0 : 2 * pairs : 2]), np.array(rows[1 : 2 * pairs : 2]), rounds=config.rounds)


def _means(results: Sequence[SeedResult], arm: str) -> dict[str, float]:
    rows = [one.arms[arm].figures for one in results]
    names = [name for name in rows[0] if all(name in row for row in rows)]
    costs = [sum(one.arms[arm].core_seconds.values()) for one in results]
    return {name: round(float(np.mean([row[name] for row in rows])), 6) for name in names} | {"core_seconds": float(np.mean(costs))}


def _bar(arm: str, figure: str, low: float, high: float, results: Sequence[SeedResult], means: dict[str, dict[str, float]]) -> BarResult:
    value = means[arm].get(figure) if arm != "reference" else float(np.mean([one.reference.outcomes[figure].share for one in results]))
    return BarResult(arm=arm, figure=figure, low=low, high=high, value=value)
