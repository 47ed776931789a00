"""Puts a run's story and its evaluation on one HTML page that needs nothing beside it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import jinja2

from common.bundle.manifest import Risk
from train_app.evaluation.evaluate import Evaluation
from train_app.evaluation.report.plots import curves
from train_app.stages.state import Progress

NUM_TEXTS = 8
"""Pairs of texts shown a stage, the last ones."""


def render(progress: Iterable[Progress], *, title: str, facts: Mapping[str, str], evaluation: Evaluation | None) -> str:
    """Texts are escaped: they come from a model and from merchants."""
    stages: dict[str, list[Progress]] = {}
    for event in progress:
        stages.setdefault(event.stage, []).append(event)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    return page.render(
        title=title,
        facts=facts,
        evaluation=evaluation,
        stages=[
            {
                "name": name,
                "notes": [event.note for event in events if event.note],
                "svg": curves(_series(events)),
                "last": events[-1].metrics,
                "texts": [pair for event in events for pair in event.texts][-NUM_TEXTS:],
            }
            for name, events in stages.items()
        ],
    )


def facts_of(risk: Risk, *, threshold: float) -> dict[str, str]:
    """What stands in the manifest about the threshold, for a person."""
    told = {"threshold": f"{threshold:.4f} by {risk.rule.replace('_', ' ')}"}
    asked = f"P(bad | accepted) ≤ {risk.alpha:g} with confidence {1 - risk.delta:g}, bad by {risk.labels}"
    if risk.num_requests:
        share = risk.num_accepted / risk.num_requests
        asked += (
            f": {risk.num_bad} bad of {risk.num_accepted} accepted of {risk.num_requests} requests ({share:.1%}), "
            f"{risk.design_effect:.2f} requests an independent one, at most {risk.bound:.4f}"
        )
    told["risk"] = asked if risk.controlled else f"not controlled: {risk.why}. Asked was {asked}"
    if risk.evaluator:
        told["evaluator on held-out spoilt texts"] = ", ".join(f"{name} {value:.3f}" for name, value in risk.evaluator.items())
    if risk.realised is not None:
        one = risk.realised
        told["realised risk on test, by the ground truth"] = f"{one.value:.4f} [{one.low:.4f}, {one.high:.4f}], {one.num} accepted answers"
    return told


def _series(events: Iterable[Progress]) -> dict[str, list[tuple[int, float]]]:
    """A step that was repeated after a restart counts once, as it ended."""
    series: dict[str, dict[int, float]] = {}
    for event in events:
        for name, value in event.metrics.items():
            series.setdefault(name, {})[event.step] = value
    return {name: sorted(points.items()) for name, points in series.items()}
