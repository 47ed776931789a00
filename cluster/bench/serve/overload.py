"""Ten times more than the served graph can do, for two minutes, and what becomes of it. `make bench-overload`.

Pages of 20, no cache, one thread of the engine, the driver on the same cores. Capacity is what pages that wait for one another get: items
accepted in time, a second. The overload is an open loop. All is one run: capacity, the overload, and how soon a page is
answered in full again.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from cluster.bench.first_run import commit, machine
from cluster.bench.serve.engine import OUT, shop
from cluster.bench.serve.graph import Served, served
from cluster.load.drive import Outcome, drive
from cluster.load.plan import Page, plan
from common.errors import LiyouError
from common.features.snapshot import Snapshot

RESULTS = Path("docs/results/overload.json")
PAGE, TIMES = 20, 10.0
DEADLINE_MS = 3000
CALLERS, CAPACITY_S, OVERLOAD_S, AGAIN_S = 3, 30.0, 120.0, 5.0
GOODPUT_BAR, REFUSED_BAR_MS, MEMORY_BAR_MB = 0.90, 50.0, 30.0


def settings(dtype: str, snapshot: Path) -> dict[str, Any]:
    return {
        "snapshot": str(snapshot),
        "generator": {"dtype": dtype, "compile": dtype == "bf16", "threads": 1},
        "answer": {"k": 1},
        "cache": {"max_entries": 0},
    }


def pool(snapshot: Snapshot) -> tuple[list[dict[str, object]], list[str]]:
    people = dict.fromkeys(row.user_id for row in snapshot.reasons() if row.user_id is not None)
    return [{"product_id": one.product_id} for one in islice(snapshot.products(), 400)], list(people)


def accepted(outcomes: Sequence[Outcome]) -> int:
    return sum(source == "model" for one in outcomes if one.status == 200 and one.latency_s <= DEADLINE_MS / 1000 for source in one.sources)


async def closed(url: str, items: Sequence[dict[str, object]], users: Sequence[str], *, seconds: float, seed: int) -> tuple[float, float]:
    """Items accepted in time, and items answered at all, a second, with CALLERS pages in flight."""
    rng, until, found = random.Random(seed), time.monotonic() + seconds, []

    async def call() -> None:
        while time.monotonic() < until:
            found.extend(
                await drive([Page(0.0, tuple(rng.sample(items, PAGE)), rng.choice(users))], url=url, key=None, deadline_ms=DEADLINE_MS)
            )

    began = time.monotonic()
    await asyncio.gather(*(call() for _ in range(CALLERS)))
    took_s = time.monotonic() - began
    return accepted(found) / took_s, PAGE * len(found) / took_s


async def recovered(url: str, items: Sequence[dict[str, object]], users: Sequence[str]) -> float | None:
    """Seconds until a page was answered by the model without an item that found no room; None: not within AGAIN_S twice over."""
    began = time.monotonic()
    while (now := time.monotonic()) - began < 2 * AGAIN_S:
        [one] = await drive([Page(0.0, tuple(items[:PAGE]), users[0])], url=url, key=None, deadline_ms=DEADLINE_MS)
        if one.status == 200 and "overloaded" not in one.degraded and "deadline" not in one.degraded:
            return round(now - began, 2)
        await asyncio.sleep(0.1)
    return None


def memory_mb(server: Served) -> float:
    total = 0.0
    for process in server.processes:
        try:
            total += process.memory_info().rss / 1e6
        except psutil.Error:
            continue
    return total


async def overloaded(server: Served, pages: Sequence[Page]) -> tuple[list[Outcome], list[float]]:
    """Outcomes, and the server's memory every five seconds."""
    memory: list[float] = []

    async def look() -> None:
        while True:
            memory.append(round(await asyncio.to_thread(memory_mb, server), 1))
            await asyncio.sleep(5)

    looking = asyncio.create_task(look())
    try:
        return await drive(pages, url=server.url, key=None, deadline_ms=DEADLINE_MS), memory
    finally:
        looking.cancel()


def measured(dtype: str, *, overload_s: float) -> dict[str, Any]:
    snapshot = shop()
    items, users = pool(snapshot)
    with served(f"overload-{dtype}", settings(dtype, (OUT / "snapshot").resolve())) as server:
        asyncio.run(closed(server.url, items, users, seconds=5, seed=0))
        before = server.cpu()
        capacity, asked = asyncio.run(closed(server.url, items, users, seconds=CAPACITY_S, seed=1))
        print(f"{dtype}: {capacity:.1f} accepted items a second", flush=True)
        rate = TIMES * asked / PAGE
        pages = plan(rate=rate, duration_s=overload_s, arrivals="poisson", sizes={PAGE: 1.0}, items=items, users=users, seed=2)
        between = server.cpu()
        outcomes, memory = asyncio.run(overloaded(server, pages))
        again = asyncio.run(recovered(server.url, items, users))
        after = server.cpu()
    return {"capacity": round(capacity, 2), "answered_items_per_s": round(asked, 2), "pages_per_s": round(rate, 2)} | summary(
        outcomes, memory, capacity=capacity, overload_s=overload_s, again=again
    ) | {
        "cpu_s_at_capacity": {part: round(between[part] - before.get(part, 0.0), 1) for part in between},
        "cpu_s_overloaded": {part: round(after[part] - between.get(part, 0.0), 1) for part in after},
    }  # fmt: skip


def summary(
    outcomes: Sequence[Outcome], memory: Sequence[float], *, capacity: float, overload_s: float, again: float | None
) -> dict[str, Any]:
    """Figures and verdicts of one overload. Pure."""
    answered = [one for one in outcomes if one.status == 200]
    refused = [one for one in outcomes if one.status in (429, 503)]
    lost = [one for one in outcomes if one.status not in (200, 429, 503) or (one.status == 200 and one.error)]
    written = [one for one in answered if "model" in one.sources]
    goodput = accepted(outcomes) / overload_s
    half = memory[len(memory) // 2 :]
    slope = max(half) - min(half) if half else 0.0
    at_once, in_time = _quantiles([one.latency_s - one.late_s for one in refused]), _quantiles([one.latency_s for one in written])
    figures = {
        "pages": len(outcomes),
        "statuses": {str(status): sum(one.status == status for one in outcomes) for status in sorted({one.status for one in outcomes})},
        "goodput": round(goodput, 2),
        "goodput_share": round(goodput / capacity, 3),
        "refused_ms": at_once,
        "answered_ms": _quantiles([one.latency_s for one in answered]),
        "with_model_ms": in_time,
        "driver_late_ms": _quantiles([one.late_s for one in outcomes]),
        "memory_mb": list(memory),
        "memory_spread_second_half_mb": round(slope, 1),
        "in_full_again_s": again,
        "lost": [f"{one.status} {one.error}" for one in lost][:10],
    }
    verdicts = {
        "goodput": goodput >= GOODPUT_BAR * capacity,
        "nothing_lost": not lost,
        "refused_at_once": not refused or at_once["p99"] <= REFUSED_BAR_MS,
        "admitted_in_time": in_time["p99"] <= DEADLINE_MS,
        "memory_flat": slope <= MEMORY_BAR_MB,
        "normal_again": again is not None and again < AGAIN_S,
    }
    return figures | {"verdicts": verdicts}


def _quantiles(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {"p50": 0.0, "p99": 0.0, "n": 0}
    ordered = sorted(seconds)
    return {
        "p50": round(1000 * statistics.median(ordered), 1),
        "p99": round(1000 * ordered[int(0.99 * (len(ordered) - 1))], 1),
        "n": len(ordered),
    }


def main() -> None:
    """Raises LiyouError where a bar is missed, figures written."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seconds", type=float, default=OVERLOAD_S, help="of overload")
    words.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    words.add_argument("--to", type=Path, default=RESULTS)
    given = words.parse_args()
    found = measured(given.dtype, overload_s=given.seconds)
    told = {"command": "make bench-overload", "commit": commit(), "machine": machine(), "times": TIMES, "deadline_ms": DEADLINE_MS} | found
    given.to.parent.mkdir(parents=True, exist_ok=True)
    given.to.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps({name: value for name, value in found.items() if name != "memory_mb"}, indent=1))
    print(f"figures: {given.to}")
    if missed := [name for name, ok in found["verdicts"].items() if not ok]:
        raise LiyouError(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    try:
        main()
    except LiyouError as error:
        sys.exit(str(error))
