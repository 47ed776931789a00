"""What a load comes to: nothing that was late, lost or failed counts as served."""

from typing import Any

import pytest

from cluster.load.drive import Outcome
from cluster.load.verdict import Slo, breaches, doubt, figures


def outcome(at_s: float = 0.0, *, latency_s: float = 0.1, sources: tuple[str, ...] = ("model", "template"), **fields: Any) -> Outcome:
    return Outcome(at_s=at_s, **{"late_s": 0.0, "status": 200} | fields, latency_s=latency_s, num_items=2, sources=sources)


def test_only_accepted_items_of_pages_in_time_are_goodput():
    outcomes = [
        outcome(degraded=("overloaded",)),
        outcome(1.0, sources=("cache", "model")),
        outcome(2.0, latency_s=1.5),
        outcome(3.0, status=503, sources=(), error="unavailable"),
        outcome(4.0, status=0, sources=(), error="ReadTimeout: "),
        outcome(5.0, sources=("model",), error="1 items were not answered"),
    ]
    found = figures(outcomes, deadline_s=1.0, duration_s=6.0)
    assert (found.num_pages, found.num_items) == (6, 12)
    assert found.in_time == pytest.approx(2 / 6)
    assert found.accepted == pytest.approx(3 / 12)
    assert found.goodput == pytest.approx(3 / 6)
    assert found.errors == pytest.approx(3 / 6)
    assert found.problems == {"503 unavailable": 1, "no answer ReadTimeout:": 1, "200 1 items were not answered": 1}
    assert found.sources == {"model": 4, "template": 2, "cache": 1}
    assert found.degraded == {"overloaded": 1}


def test_quantiles_are_latencies_that_occurred_and_of_all_pages():
    found = figures([outcome(latency_s=n / 1000) for n in range(1, 101)], deadline_s=1.0, duration_s=1.0)
    assert (found.p50_ms, found.p95_ms, found.p99_ms, found.longest_ms) == pytest.approx((50, 95, 99, 100))
    assert figures([outcome(latency_s=0.2)], deadline_s=1.0, duration_s=1.0).p50_ms == pytest.approx(200)


def test_each_promise_that_was_broken_is_named_and_no_other():
    found = figures([outcome(latency_s=0.4), outcome(status=500, sources=(), error="internal")], deadline_s=1.0, duration_s=2.0)
    assert breaches(found, Slo(max_errors=None)) == []
    assert breaches(found, Slo(p50_ms=500, min_goodput=0.5, max_errors=0.5)) == []
    told = breaches(found, Slo(p50_ms=50, p95_ms=1000, min_in_time=0.9, min_accepted=0.5, min_goodput=0.6))
    assert [line.partition(":")[0] for line in told] == ["p50_ms", "max_errors", "min_in_time", "min_accepted", "min_goodput"]


def test_a_driver_that_could_not_send_as_planned_says_so():
    assert doubt(figures([outcome(late_s=0.01)], deadline_s=1.0, duration_s=1.0)) is None
    assert "200 ms late" in (doubt(figures([outcome(late_s=0.2)], deadline_s=1.0, duration_s=1.0)) or "")
