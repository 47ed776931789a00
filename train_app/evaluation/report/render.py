"""Puts a run's story and its evaluation on one HTML page that needs nothing beside it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import jinja2

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


def _series(events: Iterable[Progress]) -> dict[str, list[tuple[int, float]]]:
    """A step that was repeated after a restart counts once, as it ended."""
    series: dict[str, dict[int, float]] = {}
    for event in events:
        for name, value in event.metrics.items():
            series.setdefault(name, {})[event.step] = value
    return {name: sorted(points.items()) for name, points in series.items()}
