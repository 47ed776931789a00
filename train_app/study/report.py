"""A study on one HTML page: who beats whom by how much, learning curves, what the discriminator knew, samples side by side."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.axes import Axes

from train_app.evaluation.report.plots import drawn
from train_app.study.config import StudyConfig
from train_app.study.figures import CHOSEN, DECODED, SAMPLED, SeedResult
from train_app.study.summary import Comparison, Summary

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "0.4")
GUARDS = ("distinct2", "self_bleu4", "unique", "bleu4", "rouge_l", "c2st_auc", "chars")
TITLES = {SAMPLED: "at temperature 1", DECODED: "under its own decoding", CHOSEN: "the discriminator's best of k"}


def render(config: StudyConfig, results: Sequence[SeedResult], summary: Summary) -> str:
    """Texts are escaped: they come from models and merchants."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string((Path(__file__).parent / "report.html").read_text(encoding="utf-8"))
    colours = dict(zip(config.arms, COLOURS * 2, strict=False))
    guards = [
        name
        for name in (*(f"text.{guard}" for guard in GUARDS), "reference.perplexity_token")
        if any(f"{DECODED}.{name}" in row for row in summary.means.values())
    ]
    return page.render(
        config=config,
        results=results,
        summary=summary,
        titles={taken: title for taken, title in TITLES.items() if taken in next(iter(results[0].arms.values())).texts},
        guards=guards,
        forest=drawn(lambda axes: forest(axes, config, summary), width_in=8, height_in=1.2 + 0.28 * 3 * len(config.arms)),
        curves=drawn(lambda axes: learning_curves(axes, config, results, colours), width_in=8),
        fakes=_or_nothing(results, lambda one: one.arms[config.method].discriminator, lambda axes: on_fakes(axes, config, results)),
        reliability=_or_nothing(results, lambda one: one.arms[config.method].reliability, lambda axes: reliable(axes, config, results)),
        codes=drawn(lambda axes: by_code(axes, config, results, colours), width_in=9),
    )


def _or_nothing(results: Sequence[SeedResult], there: Callable[[SeedResult], object], draw: Callable[[Axes], None]) -> str:
    return drawn(draw, width_in=8) if any(there(one) for one in results) else ""


def forest(axes: Axes, config: StudyConfig, summary: Summary) -> None:
    """The method's success minus each other arm's, with both intervals."""
    shown = [one for one in summary.comparisons if one.outcome == "success"]
    for place, one in enumerate(reversed(shown)):
        difference = one.difference
        axes.plot([difference.low, difference.high], [place, place], color="0.2", linewidth=2)
        if difference.t_low is not None and difference.t_high is not None:
            axes.plot([difference.t_low, difference.t_high], [place - 0.2, place - 0.2], color="0.7", linewidth=1)
        axes.plot(difference.value, place, "o", color=_verdict(one), markersize=5)
    axes.axvline(0, color="0.5", linewidth=1)
    axes.set_yticks(range(len(shown)), [f"{one.first} - {one.second}, {TITLES[one.taken]}" for one in reversed(shown)])
    axes.set_xlabel("difference of success; black: bootstrap over seeds and prompts, grey: t over seeds")
    axes.grid(axis="x", alpha=0.3)


def _verdict(one: Comparison) -> str:
    return "tab:green" if one.difference.low > 0 else "tab:red" if one.difference.high < 0 else "0.5"


def learning_curves(axes: Axes, config: StudyConfig, results: Sequence[SeedResult], colours: dict[str, str]) -> None:
    """Joint success on validation of every candidate, mean over seeds with a band of one standard deviation."""
    for arm in config.arms:
        rows = [[figures["joint"] for figures in one.arms[arm].validation.values()] for one in results]
        shortest = min(map(len, rows))
        if shortest < 2:
            continue
        points = np.array([row[:shortest] for row in rows])
        mean, spread = points.mean(0), points.std(0)
        axes.plot(range(shortest), mean, label=arm, color=colours[arm], marker="o", markersize=3)
        axes.fill_between(range(shortest), mean - spread, mean + spread, color=colours[arm], alpha=0.15)
    axes.set_xlabel("candidate, SFT first")
    axes.set_ylabel("joint success on validation")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(frameon=False)


def on_fakes(axes: Axes, config: StudyConfig, results: Sequence[SeedResult]) -> None:
    """How well the method's discriminators tell its samples, step by step."""
    for at, one in enumerate(results):
        for name, values in one.arms[config.method].discriminator.items():
            axes.plot(
                np.linspace(0, 1, len(values)), values, color=COLOURS[at % len(COLOURS)], linewidth=1, label=f"seed {one.seed}, {name}"
            )
    axes.set_xlabel("share of the stage")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=6)


def reliable(axes: Axes, config: StudyConfig, results: Sequence[SeedResult]) -> None:
    """Score against the share that the truth finds right, among samples that pass the checks."""
    for at, one in enumerate(results):
        points = one.arms[config.method].reliability
        if points:
            axes.plot(
                [p[0] for p in points],
                [p[1] for p in points],
                "o-",
                color=COLOURS[at % len(COLOURS)],
                label=f"seed {one.seed}",
                linewidth=1,
            )
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    axes.set_xlabel("score")
    axes.set_ylabel("share right")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def by_code(axes: Axes, config: StudyConfig, results: Sequence[SeedResult], colours: dict[str, str]) -> None:
    codes = sorted({code for one in results for code in one.arms[config.method].texts[DECODED].by_code})
    width = 0.8 / len(config.arms)
    for at, arm in enumerate(config.arms):
        heights = [float(np.mean([one.arms[arm].texts[DECODED].by_code.get(code, np.nan) for one in results])) for code in codes]
        axes.bar(np.arange(len(codes)) + at * width, heights, width, label=arm, color=colours[arm])
    axes.set_xticks(np.arange(len(codes)) + 0.4, codes, rotation=30, ha="right")
    axes.set_ylabel("success")
    axes.legend(frameon=False, ncols=4)
