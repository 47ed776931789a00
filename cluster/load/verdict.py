"""What the outcomes of a load come to, and whether that keeps a service level objective. Pure."""

import math
from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from cluster.load.drive import Outcome
from common.config import Frozen

ACCEPTED = ("model", "cache")
DRIVER_LATE_S = 0.05
"""A driver that sends its pages later than this (99th percentile) has measured itself."""


class Slo(Frozen):
    """What is promised. A bound that is null is not looked at."""

    p50_ms: float | None = Field(None, gt=0, description="milliseconds from when a page was due to its whole answer: half of all pages")
    p95_ms: float | None = Field(None, gt=0, description="95 of 100 pages")
    p99_ms: float | None = Field(None, gt=0, description="99 of 100 pages")
    min_in_time: float | None = Field(None, ge=0, le=1, description="share of pages answered by 200 within the deadline")
    min_accepted: float | None = Field(None, ge=0, le=1, description="share of all items that show a model's text (or a kept one) in time")
    min_goodput: float | None = Field(None, ge=0, description="accepted items in time, a second")
    max_errors: float | None = Field(0.0, ge=0, le=1, description="share of pages with another status than 200, or with none")


class Figures(Frozen):
    """Shares are in [0, 1]. Latencies are of all pages, those that failed or were late included."""

    num_pages: int
    num_items: int
    duration_s: float = Field(description="from the first page that was due to the last answer")
    p50_ms: float
    p95_ms: float
    p99_ms: float
    longest_ms: float
    in_time: float
    accepted: float
    goodput: float = Field(description="accepted items in time, a second of the plan")
    errors: float
    sources: dict[str, int]
    degraded: dict[str, int]
    problems: dict[str, int] = Field(description="status and code, or what kept an answer away -> pages")
    driver_late_p99_ms: float


def figures(outcomes: Sequence[Outcome], *, deadline_s: float, duration_s: float) -> Figures:
    """`duration_s`: over which pages were due. At least one outcome."""
    latencies_ms = sorted(1000 * one.latency_s for one in outcomes)
    num_items = sum(one.num_items for one in outcomes)
    good = [one for one in outcomes if _sound(one) and one.latency_s <= deadline_s]
    accepted = sum(source in ACCEPTED for one in good for source in one.sources)
    return Figures(
        num_pages=len(outcomes),
        num_items=num_items,
        duration_s=max(one.at_s + one.latency_s for one in outcomes),
        p50_ms=quantile(latencies_ms, 0.5),
        p95_ms=quantile(latencies_ms, 0.95),
        p99_ms=quantile(latencies_ms, 0.99),
        longest_ms=latencies_ms[-1],
        in_time=len(good) / len(outcomes),
        accepted=accepted / num_items,
        goodput=accepted / duration_s,
        errors=sum(not _sound(one) for one in outcomes) / len(outcomes),
        sources=dict(Counter(source for one in outcomes for source in one.sources)),
        degraded=dict(Counter(why for one in outcomes for why in one.degraded)),
        problems=dict(Counter(f"{one.status or 'no answer'} {one.error}".strip() for one in outcomes if not _sound(one))),
        driver_late_p99_ms=quantile(sorted(1000 * one.late_s for one in outcomes), 0.99),
    )


def breaches(found: Figures, slo: Slo) -> list[str]:
    """A sentence for each promise that was not kept; empty: all were."""
    at_most = [("p50_ms", found.p50_ms, slo.p50_ms), ("p95_ms", found.p95_ms, slo.p95_ms), ("p99_ms", found.p99_ms, slo.p99_ms)]
    at_most.append(("max_errors", found.errors, slo.max_errors))
    at_least = [
        ("min_in_time", found.in_time, slo.min_in_time),
        ("min_accepted", found.accepted, slo.min_accepted),
        ("min_goodput", found.goodput, slo.min_goodput),
    ]
    told = [f"{name}: {got:.4g}, above {bound:g}" for name, got, bound in at_most if bound is not None and got > bound]
    return told + [f"{name}: {got:.4g}, below {bound:g}" for name, got, bound in at_least if bound is not None and got < bound]


def doubt(found: Figures) -> str | None:
    """Why the figures may be the driver's own, or None."""
    if found.driver_late_p99_ms > 1000 * DRIVER_LATE_S:
        return f"one page in 100 was sent {found.driver_late_p99_ms:.0f} ms late or more: this machine could not send as planned"
    return None


def _sound(outcome: Outcome) -> bool:
    return outcome.status == 200 and not outcome.error


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
