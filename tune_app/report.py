"""A finished study on one HTML page: which trial won against what, learning curves, parallel coordinates, importance. Decides nothing."""

from collections.abc import Sequence
from pathlib import Path

import jinja2
import optuna
from matplotlib.axes import Axes

from train_app.evaluation.report.plots import drawn
from tune_app.config import TuneConfig
from tune_app.objective import INFEASIBLE
from tune_app.result import TrialResult, TuneResult
from tune_app.space import distributions

LEAST_FOR_IMPORTANCE = 6
"""Feasible trials below which an importance would be noise with a name."""
COLOURS = {"default": "tab:blue", "no discriminator": "tab:red", "search": "0.6", "winner": "tab:green"}


def render(config: TuneConfig, result: TuneResult) -> str:
    importance = importances(config, result.trials)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string((Path(__file__).parent / "report.html").read_text(encoding="utf-8"))
    return page.render(
        config=config,
        result=result,
        infeasible=INFEASIBLE,
        curves=drawn(lambda axes: learning_curves(axes, config, result), width_in=8),
        parallel=drawn(lambda axes: parallel_coordinates(axes, config, result), width_in=max(8, 1.6 * len(config.space))),
        importance=importance,
        bars=drawn(lambda axes: axes.barh(list(importance)[::-1], list(importance.values())[::-1], color="0.5"), width_in=6),
        least=LEAST_FOR_IMPORTANCE,
    )


def importances(config: TuneConfig, trials: Sequence[TrialResult]) -> dict[str, float]:
    """Share of the objective's variance that each field explains (functional ANOVA, Hutter et al. 2014), largest first; empty: too few."""
    feasible = [trial for trial in trials if trial.objective > INFEASIBLE]
    if len(feasible) < LEAST_FOR_IMPORTANCE or len({trial.objective for trial in feasible}) == 1:
        return {}
    space = distributions(config)
    study = optuna.create_study(direction="maximize")
    for trial in feasible:
        study.add_trial(optuna.trial.create_trial(params=dict(trial.values), distributions=space, value=trial.objective))
    return optuna.importance.get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=config.seed))


def colour(trial: TrialResult, result: TuneResult) -> str:
    return COLOURS["winner" if trial.number == result.winner else trial.kind]


def learning_curves(axes: Axes, config: TuneConfig, result: TuneResult) -> None:
    """Joint success of every round's candidate; a cross is a candidate that broke a rail, an early end a trial that was stopped."""
    for trial in result.trials:
        start = [] if trial.sft is None else [(0, trial.sft)]
        points = start + [(one.round, one.joint) for one in trial.rounds]
        if not points:
            continue
        named = trial.number == result.winner or trial.kind != "search"
        label = f"{trial.number} {'winner' if trial.number == result.winner else trial.kind}" if named else None
        axes.plot(
            *zip(*points, strict=True), color=colour(trial, result), linewidth=2 if named else 1, marker="o", markersize=3, label=label
        )
        crosses = [(one.round, one.joint) for one in trial.rounds if one.broken]
        if crosses:
            axes.plot(*zip(*crosses, strict=True), "x", color="black", markersize=7)
    names = ["SFT", *(f"adversarial {i + 1}" for i in range(config.train.adversarial.rounds))]
    names += [f"filtering {i + 1}" for i in range(config.train.filtering.rounds)]
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("joint success on validation")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def parallel_coordinates(axes: Axes, config: TuneConfig, result: TuneResult) -> None:
    """One line a feasible trial over the searched fields, each scaled to its range (in logarithms where it is searched so)."""
    space = distributions(config)
    feasible = [trial for trial in result.trials if trial.objective > INFEASIBLE]
    low, high = min((t.objective for t in feasible), default=0.0), max((t.objective for t in feasible), default=1.0)
    names = [*space, "joint success"]
    for trial in sorted(feasible, key=lambda trial: trial.kind != "search" or trial.number == result.winner):
        heights = [_height(space[name], trial.values[name]) for name in space] + [(trial.objective - low) / ((high - low) or 1)]
        axes.plot(range(len(names)), heights, color=colour(trial, result), linewidth=2 if trial.number == result.winner else 1)
    ends = [_ends(space[name]) for name in space] + [(f"{low:.3f}", f"{high:.3f}")]
    for place, (bottom, top) in enumerate(ends):
        axes.axvline(place, color="0.8", zorder=0)
        axes.text(place, -0.04, bottom, ha="center", va="top")
        axes.text(place, 1.04, top, ha="center", va="bottom")
    axes.set_xticks(range(len(names)), [name.rpartition(".")[0].replace(".", ".\n") + "\n" + name.rpartition(".")[2] for name in names])
    axes.tick_params(axis="x", pad=16)
    axes.set_yticks([])
    axes.set_ylim(-0.02, 1.02)
    axes.spines[:].set_visible(False)


def _height(distribution: optuna.distributions.BaseDistribution, value: object) -> float:
    """In [0, 1]."""
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return distribution.choices.index(value) / (len(distribution.choices) - 1)
    assert isinstance(distribution, optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution)
    assert isinstance(value, int | float)
    low, high = distribution.low, distribution.high
    if distribution.log:
        from math import log

        return (log(value) - log(low)) / (log(high) - log(low))
    return (value - low) / (high - low)


def _ends(distribution: optuna.distributions.BaseDistribution) -> tuple[str, str]:
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return str(distribution.choices[0]), str(distribution.choices[-1])
    assert isinstance(distribution, optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution)
    return f"{distribution.low:g}", f"{distribution.high:g}"
