"""What may not be in a history of pages, whatever was broken meanwhile. Pure: knows no server, no clock and no fault.

Each page was sent once and never again: what a caller who does not retry sees. A page that shows texts of two bundles or two policies is
found by its signatures, which bind every item to the ids that stand over the page; the driver looks at them and leaves its words as error.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from cluster.load.drive import Outcome
from cluster.load.verdict import quantile

LATE_S = 0.5
"""By which an answer may miss its page's deadline, counted from when it was sent: `http.grace_s`, and a driver that reads it late."""
SHOWN = 5
"""Complaints of a kind that are told in full."""

Excuse = Callable[[Outcome], bool]


@dataclass(frozen=True, slots=True)
class Promise:
    """`excused`: which pages may fail, None: none. `at_most`: how many of them, None: all that are excused."""

    bundles: Collection[str]
    policies: Collection[str]
    deadline_s: float
    excused: Excuse = lambda page: False
    at_most: int | None = None
    errors_are_answers: bool = False
    """Items may be errors, as where the texts asked for cannot be written."""


def sound(page: Outcome) -> bool:
    return page.status == 200 and not page.error


def complaints(pages: Sequence[Outcome], promise: Promise) -> list[str]:
    """A sentence for each kind of thing that was promised not to happen; empty: none did."""
    failed = [page for page in pages if page.status != 200]
    beyond = [page for page in failed if not promise.excused(page)]
    found = [_told("failed and may not", [f"{page.status} {page.error} at {sent_s(page):.2f} s" for page in beyond])]
    if promise.at_most is not None and len(failed) - len(beyond) > promise.at_most:
        found.append(f"{len(failed) - len(beyond)} pages failed that may, of at most {promise.at_most}")
    answered = [page for page in pages if page.status == 200]
    found += [
        _told("are not what was asked", [page.error for page in answered if page.error]),
        _told("answer other products than were asked", [_difference(page) for page in answered if page.answered != page.asked]),
        _told("hold an item that shows nothing", [page.request_id for page in answered if "error" in page.sources])
        if not promise.errors_are_answers
        else "",
        _told("name another bundle", [page.bundle_id for page in answered if page.bundle_id not in promise.bundles]),
        _told("name another policy", [page.policy_version for page in answered if page.policy_version not in promise.policies]),
        _told("came late", [f"{took_s(page):.2f} s" for page in answered if took_s(page) > promise.deadline_s + LATE_S]),
        "" if answered else "no page was answered at all",
    ]
    return [one for one in found if one]


def open_at(moment_s: float) -> Excuse:
    """A page that was being answered then."""
    return lambda page: sent_s(page) <= moment_s <= ended_s(page)


def sent_soon_after(moment_s: float, within_s: float) -> Excuse:
    """A page that was being answered then, or was sent before anybody could know that who was to answer it is gone."""
    return lambda page: sent_s(page) <= moment_s + within_s and ended_s(page) >= moment_s


def sent_between(from_s: float, until_s: float) -> Excuse:
    return lambda page: from_s <= sent_s(page) <= until_s


def in_flight(pages: Sequence[Outcome], moment_s: float) -> int:
    return sum(map(open_at(moment_s), pages))


def recovered_s(pages: Sequence[Outcome], *, since_s: float) -> float:
    """From a moment to when the last page was sent that was not answered soundly; 0 where none was."""
    return max((sent_s(page) - since_s for page in pages if not sound(page) and ended_s(page) >= since_s), default=0.0)


def summary(pages: Sequence[Outcome]) -> dict[str, object]:
    """For the table. Latencies are of all pages, in milliseconds."""
    ordered = sorted(1000 * page.latency_s for page in pages)
    return {
        "pages": len(pages),
        "items": sum(page.num_items for page in pages),
        "statuses": dict(sorted(Counter(str(page.status or "no answer") for page in pages).items())),
        "failed": dict(Counter(f"{page.status or 'no answer'} {page.error}" for page in pages if not sound(page))),
        "sources": dict(Counter(source for page in pages for source in page.sources).most_common()),
        "degraded": dict(Counter(why for page in pages for why in page.degraded).most_common()),
        "bundles": sorted({page.bundle_id for page in pages if page.bundle_id}),
        "policies": sorted({page.policy_version for page in pages if page.policy_version}),
        "p50_ms": round(quantile(ordered, 0.5), 1) if ordered else None,
        "p99_ms": round(quantile(ordered, 0.99), 1) if ordered else None,
        "longest_ms": round(ordered[-1], 1) if ordered else None,
    }


def sent_s(page: Outcome) -> float:
    return page.at_s + page.late_s


def took_s(page: Outcome) -> float:
    return page.latency_s - page.late_s


def ended_s(page: Outcome) -> float:
    return page.at_s + page.latency_s


def _difference(page: Outcome) -> str:
    twice = [product for product, count in Counter(page.answered).items() if count > Counter(page.asked)[product]]
    lost = [product for product in page.asked if product not in page.answered]
    return f"{page.request_id}: without {lost or 'none'}, too often {twice or 'none'}"


def _told(what: str, cases: Sequence[str]) -> str:
    return f"{len(cases)} pages {what}: {'; '.join(cases[:SHOWN])}" if cases else ""
