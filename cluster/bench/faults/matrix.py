"""What a fault is, what was seen of it, and the table of all. Knows none of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.bench.faults.history import Promise, complaints, recovered_s, summary
from cluster.bench.faults.scene import Scene
from cluster.load.drive import Outcome


@dataclass(frozen=True, slots=True)
class Seen:
    """`told`: in a sentence. `wrong`: each thing that was promised not to happen."""

    told: str
    wrong: Sequence[str] = ()
    figures: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """`on` breaks the scene that faults share; `own` makes another in a folder."""

    id: str
    name: str
    done: str
    expected: str
    on: Callable[[Scene], Seen] | None = None
    own: Callable[[Path], Seen] | None = None


def seen(
    told: str, pages: Sequence[Outcome], promise: Promise, *, wrong: Sequence[str] = (), since_s: float | None = None, **figures: object
) -> Seen:
    """Of a fault under traffic: what the history says, and what the recipe found `wrong` beside it. `since_s`: when it was broken."""
    if since_s is not None:
        figures["recovered_s"] = round(max(0.0, recovered_s(pages, since_s=since_s)), 2)
    return Seen(told, [*complaints(pages, promise), *wrong], figures | {"history": summary(pages)})


def unless(kept: object, otherwise: str) -> list[str]:
    return [] if kept else [otherwise]


def markdown(results: Mapping[str, Any]) -> str:
    """Of the JSON that was written beside it."""
    rows = [
        f"| {one['id']} {one['name']} | {one['done']} | {one['expected']} | {_seen(one)} | {'kept' if one['kept'] else '**not kept**'} |"
        for one in results["faults"]
    ]
    commits = sorted({one["commit"] for one in results["faults"]})
    ran = f"at {', '.join(commits)}, {sum(one['seconds'] for one in results['faults']) / 60:.0f} minutes in all"
    return "\n".join(
        [
            "# Faults",
            "",
            f"`make faults` on {results['machine']}, {ran}. Histories and figures: `faults.json`.",
            "Traffic is an open loop that never asks again; a page is sound when it is a 200 within its deadline that answers each product",
            "asked for once, under one bundle and one policy, by signatures that hold.",
            "",
            "| fault | what was done | what was promised | what was seen | verdict |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _seen(one: Mapping[str, Any]) -> str:
    history = one["figures"].get("history")
    pages = f" {history['pages']} pages: {_counts(history['statuses'])}, p99 {history['p99_ms'] / 1000:.1f} s." if history else ""
    return _cell(one["told"] + pages + "".join(f" **Not kept:** {wrong}." for wrong in one["wrong"]))


def _counts(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {status}" for status, count in statuses.items())


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
