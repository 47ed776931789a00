"""A load on one HTML page: the verdict first, then when pages were slow and what their items were."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from cluster.load.drive import Outcome
from cluster.load.verdict import ACCEPTED, Figures, Slo
from train_app.evaluation.report.plots import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = {"model": "#146c2e", "cache": "#2b6cb0", "template": "#c98a2b", "error": "#b02a37", "no answer": "#777777"}
BINS = 60


def render(
    outcomes: Sequence[Outcome],
    found: Figures,
    *,
    slo: Slo,
    broken: Sequence[str],
    doubt: str | None,
    facts: Mapping[str, str],
    deadline_s: float,
) -> str:
    """Whatever came from a server is escaped."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    plots = {
        "Latency of each page (s), by when it was due": drawn(lambda axis: _latencies(axis, outcomes, deadline_s), width_in=9),
        "Share of pages answered within (s)": drawn(lambda axis: _shares(axis, outcomes, deadline_s), width_in=9, height_in=3),
        "Items a second, by what they show": drawn(lambda axis: _items(axis, outcomes), width_in=9, height_in=3),
    }
    slowest = sorted(outcomes, key=lambda one: one.latency_s, reverse=True)[:10]
    promised = {name: value for name, value in slo.model_dump().items() if value is not None}
    return page.render(
        found=found, broken=broken, doubt=doubt, facts=facts, plots=plots, slowest=slowest, promised=promised, accepted=ACCEPTED
    )


def _latencies(axis: "Axes", outcomes: Sequence[Outcome], deadline_s: float) -> None:
    for label, colour, those in (
        ("200", KINDS["model"], [one for one in outcomes if one.status == 200]),
        ("other", KINDS["error"], [one for one in outcomes if one.status != 200]),
    ):
        if those:
            axis.scatter([one.at_s for one in those], [one.latency_s for one in those], s=7, color=colour, label=label)
    axis.axhline(deadline_s, color="#999", linewidth=1, linestyle="--", label="deadline")
    axis.set_xlabel("seconds after the start")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False)


def _shares(axis: "Axes", outcomes: Sequence[Outcome], deadline_s: float) -> None:
    ordered = sorted(one.latency_s for one in outcomes)
    axis.step(ordered, [(at + 1) / len(ordered) for at in range(len(ordered))], where="post", color=KINDS["cache"])
    axis.axvline(deadline_s, color="#999", linewidth=1, linestyle="--")
    axis.set_ylim(0, 1.02)
    axis.grid(alpha=0.3)


def _items(axis: "Axes", outcomes: Sequence[Outcome]) -> None:
    """Counted where their page was due."""
    end_s = max(one.at_s for one in outcomes) or 1.0
    width_s = end_s / min(BINS, max(1, int(end_s)))
    moments: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for one in outcomes:
        for source in one.sources or ["no answer"] * one.num_items:
            moments[source].append(one.at_s)
    edges = [width_s * step for step in range(int(end_s / width_s) + 2)]
    present = [kind for kind in KINDS if moments[kind]]
    weights = [[1 / width_s] * len(moments[kind]) for kind in present]
    axis.hist(
        [moments[kind] for kind in present],
        bins=edges,
        weights=weights,
        stacked=True,
        color=[KINDS[kind] for kind in present],
        label=present,
    )
    axis.set_xlabel("seconds after the start")
    axis.legend(frameon=False, ncols=len(present))
