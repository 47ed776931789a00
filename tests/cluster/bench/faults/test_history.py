"""What the checker of a history notices: each promise is broken once, and a history that keeps all is let through."""

from dataclasses import replace
from typing import Any

import pytest

from cluster.bench.faults.history import Promise, complaints, in_flight, open_at, recovered_s, sent_between, sent_soon_after, summary
from cluster.load.drive import Outcome

PROMISE = Promise(bundles={"b1"}, policies={"p1"}, deadline_s=10.0)


def page(at_s: float = 0.0, **fields: Any) -> Outcome:
    told = {
        "late_s": 0.0,
        "latency_s": 1.0,
        "num_items": 2,
        "status": 200,
        "sources": ("model", "template"),
        "asked": ("x", "y"),
        "answered": ("x", "y"),
        "bundle_id": "b1",
        "policy_version": "p1",
        "request_id": "r-1",
    }
    return Outcome(at_s, **told | fields)


def failed(at_s: float = 0.0, *, status: int = 500, latency_s: float = 1.0) -> Outcome:
    told = {"sources": (), "answered": (), "bundle_id": "", "policy_version": "", "error": "no problem document"}
    return page(at_s, status=status, latency_s=latency_s, **told)


def test_a_sound_history_has_nothing_against_it() -> None:
    assert complaints([page(), page(1.0, sources=("cache", "cache"))], PROMISE) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (failed(), "failed and may not: 500"),
        (failed(status=0), "failed and may not: 0"),
        (page(answered=("x", "x")), r"without \['y'\], too often \['x'\]"),
        (page(answered=("x",)), r"without \['y'\]"),
        (page(answered=("x", "z")), r"too often \['z'\]"),
        (page(answered=("y", "x")), "answer other products"),
        (page(sources=("model", "error")), "shows nothing"),
        (page(bundle_id="b2"), "another bundle: b2"),
        (page(policy_version="p2"), "another policy: p2"),
        (page(error="x: aigc is not the label of this text"), "not what was asked: x: aigc"),
        (page(latency_s=10.6), "came late: 10.60 s"),
    ],
)
def test_each_broken_promise_is_told(wrong: Outcome, told: str) -> None:
    (found,) = complaints([page(), wrong], PROMISE)
    assert found.startswith("1 pages")
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(found)


def test_a_page_fails_with_leave_only_where_it_was_open_on_what_was_killed() -> None:
    killed = replace(PROMISE, excused=open_at(5.0))
    assert complaints([page(), failed(4.5)], killed) == []
    assert len(complaints([page(), failed(3.0)], killed)) == 1, "it had ended before"
    assert len(complaints([page(), failed(5.1)], killed)) == 1, "it was sent to a process that was gone"


def test_no_more_pages_fail_than_were_open() -> None:
    inside = [failed(4.5), failed(4.6), page(4.7, latency_s=2.0)]
    assert in_flight([page(), *inside], 5.0) == 3
    assert complaints([page(), *inside], replace(PROMISE, excused=open_at(5.0), at_most=2)) == []
    assert complaints([page(), *inside], replace(PROMISE, excused=open_at(5.0), at_most=1)) == ["2 pages failed that may, of at most 1"]


def test_a_page_that_was_late_to_be_sent_counts_from_when_it_was_sent() -> None:
    late = replace(failed(2.0), late_s=2.5)
    assert sent_between(4.0, 5.0)(late)
    assert not open_at(3.0)(late)


def test_who_cannot_know_yet_that_nobody_is_there_has_leave_for_a_while() -> None:
    soon = sent_soon_after(5.0, 1.0)
    assert [soon(failed(at_s)) for at_s in (3.5, 4.5, 5.5, 6.5)] == [False, True, True, False]


def test_recovery_ends_with_the_last_page_that_failed() -> None:
    history = [failed(1.0), failed(5.0), failed(7.5), page(8.0), page(9.0)]
    assert recovered_s(history, since_s=5.5) == 2.0
    assert recovered_s([page()], since_s=5.5) == 0.0


def test_a_history_in_which_nobody_was_answered_keeps_no_promise() -> None:
    assert complaints([], PROMISE) == ["no page was answered at all"]
    assert complaints([failed(4.9)], replace(PROMISE, excused=open_at(5.0))) == ["no page was answered at all"]


def test_a_summary_counts_what_was_shown_and_what_was_not() -> None:
    told = summary([page(), page(1.0, degraded=("deadline",)), failed(2.0, status=0)])
    assert told["statuses"] == {"200": 2, "no answer": 1}
    assert told["sources"] == {"model": 2, "template": 2}
    assert told["degraded"] == {"deadline": 1}
    assert told["failed"] == {"no answer no problem document": 1}
