"""The deployed graph through HTTP beside the bare engine, and what the graph costs besides. `make bench-serve`.

The same requests in the same order: three pages of 20 in flight, or 32 single items; one candidate an item, one attempt, no cache. The bare
engine decodes the very sequences that the graph decodes (same prompts, same seeds), fed in the same way, in this process while the graph
idles. Rounds alternate; the first is not counted. Cached pages are asked of the default proxy and of HAProxy, which runs beside.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import psutil  # type: ignore[import-untyped]
import torch
import yaml

from cluster.bench.first_run import commit, machine
from cluster.bench.serve.engine import DTYPES, OUT, shop, users_with_a_past
from cluster.local_server import free_port, local_server
from common.bundle.load import LoadedBundle, load_bundle
from common.contract.wire import ReasonsRequest
from common.domain.context import Context
from common.errors import LiyouError
from common.features.snapshot import Snapshot
from common.generation.candidates import sequences
from common.generation.engine import Sequence as Prompted
from common.generation.hf import HfEngine
from common.quality.verdict import Checker
from serve_app.graph.features_deployment import Features
from serve_app.state.live import STARTER

RESULTS = Path("docs/results/serve.json")
SLOTS, DEADLINE_MS = 32, 60_000
LOADS = {"pages": (3, 20, 12), "items": (32, 1, 240)}
"""Callers, items of a request, requests of a round."""
BARS = {"pages": 0.90, "items": 0.80}
"""What the graph is to reach of the bare engine's items a second; the issue's figures."""
CPU_BAR_MS, PROXY_BAR = 35.0, 5.0
"""CPU of a page of 20 without generation; cached pages a second, HAProxy's over the default proxy's."""
CACHED_CALLERS, CACHED_S = 8, 6.0
ENGINES = {"fp32": False, "bf16": True}
"""Precision -> compiled or not."""
Body = dict[str, Any]


def bodies(snapshot: Snapshot) -> dict[str, list[Body]]:
    """A user a page, who has looked at something; no item twice in a page."""
    users = users_with_a_past(snapshot)
    ids = [product.product_id for product in islice(snapshot.products(), 400)]

    def body(number: int, size: int) -> Body:
        chosen = [ids[(number * size + at) % len(ids)] for at in range(size)]
        return {"items": [{"product_id": one} for one in chosen], "user": {"user_id": users[number % len(users)]}}

    return {load: [body(number, size) for number in range(requests)] for load, (_, size, requests) in LOADS.items()}


class Bare:
    """The engine alone, in this process."""

    def __init__(self, bundle: LoadedBundle, snapshot: Snapshot, *, compile: bool) -> None:
        self.bundle, language = bundle, bundle.language
        self.features = Features(snapshot, checker=Checker(bundle.pack), now=lambda: datetime.now(UTC))
        self.engine = HfEngine(
            language.model,
            eos_ids=[language.eos_id],
            max_len=1024,
            slots=SLOTS,
            keep_features=bundle.discriminator is not None,
            compile=compile,
        )

    def prompted(self, body: Body) -> list[Prompted]:
        contexts = [one for one in self.features.contexts(ReasonsRequest.model_validate(body)) if isinstance(one, Context)]
        language, vocabulary = self.bundle.language, self.bundle.pack.vocabulary
        return sequences(contexts, language=language, vocabulary=vocabulary, run_id=self.bundle.manifest.bundle_id, k=1, attempt=0)

    def run(self, asked: Sequence[list[Prompted]], *, callers: int) -> float:
        """Seconds for all requests, `callers` of them in flight."""
        decoding, waiting = self.bundle.manifest.answering.decoding, list(asked)[::-1]
        open_: dict[int, int] = {}
        left: dict[int, int] = {}
        began, number = time.perf_counter(), 0
        while waiting or open_:
            while waiting and len(left) < callers:
                one = waiting.pop()
                left[number] = len(one)
                open_ |= {self.engine.submit(sequence, decoding=decoding): number for sequence in one}
                number += 1
            for sequence_id, _ in self.engine.step():
                whose = open_.pop(sequence_id)
                left[whose] -= 1
                if not left[whose]:
                    del left[whose]
        return time.perf_counter() - began


async def asked(url: str, wanted: Sequence[Body], *, callers: int) -> tuple[float, list[float], list[dict[str, Any]]]:
    """-> seconds for all requests with `callers` in flight, seconds of each, and the answers. Raises LiyouError for anything but a 200."""
    waiting, seconds, answers = list(wanted)[::-1], [], []
    limits = httpx2.Limits(max_connections=callers, max_keepalive_connections=callers)
    async with httpx2.AsyncClient(base_url=url, headers={"X-Deadline-Ms": str(DEADLINE_MS)}, limits=limits, timeout=120) as client:

        async def call() -> None:
            while waiting:
                body, began = waiting.pop(), time.perf_counter()
                response = await client.post("/v1/reasons", json=body)
                if response.status_code != 200:
                    raise LiyouError(f"{url}: {response.status_code}: {response.text:.200}")
                seconds.append(time.perf_counter() - began)
                answers.append(response.json())

        began = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(callers)))
        return time.perf_counter() - began, seconds, answers


@dataclass(frozen=True, slots=True)
class Served:
    url: str
    processes: list[psutil.Process]

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far, by part; the engine's thread apart from the rest of its replica."""
        found: dict[str, float] = {}
        for process in self.processes:
            try:
                times, words = process.cpu_times(), " ".join(process.cmdline()) or process.name()
                part = next(
                    (one for one in ("generator", "quality", "features", ":api") if f"{one}" in words and "ServeReplica" in words), None
                )
                part = part or ("proxy" if "ProxyActor" in words or "haproxy" in words else "ray")
                total = times.user + times.system
                if part == "generator":
                    engine = max(thread.user_time + thread.system_time for thread in process.threads())
                    found["engine"] = found.get("engine", 0.0) + engine
                    total -= engine
                found[part.strip(":")] = found.get(part.strip(":"), 0.0) + total
            except psutil.Error:
                continue
        return found


@contextmanager
def served(name: str, settings: dict[str, Any], *, haproxy: bool = False) -> Iterator[Served]:
    file = OUT / f"{name}.yaml"
    file.write_text(yaml.safe_dump(settings))
    before = set(psutil.Process().children(recursive=True))
    environment = {"RAY_SERVE_ENABLE_HA_PROXY": "1"} if haproxy else {}
    with local_server(["--config", str(file), "--port", str(free_port())], log=OUT / f"{name}.log", environment=environment) as told:
        yield Served(told["url"], [one for one in psutil.Process().children(recursive=True) if one not in before])


def settings_of(dtype: str, snapshot: Path, *, cache: bool) -> dict[str, Any]:
    return {
        "snapshot": str(snapshot),
        "generator": {"dtype": dtype, "compile": ENGINES[dtype], "slots": SLOTS},
        "answer": {"k": 1, "max_attempts": 1},
        "cache": {} if cache else {"max_entries": 0},
        "http": {"deadline": {"max_ms": DEADLINE_MS}},
    }


def beside_bare(dtype: str, snapshot: Snapshot, folder: Path, *, rounds: int) -> dict[str, Any]:
    """Items a second of both for each load, and where the graph's CPU goes."""
    bare = Bare(load_bundle(STARTER, dtype=DTYPES[dtype], verify=False), snapshot, compile=ENGINES[dtype])
    wanted = bodies(snapshot)
    prompted = {load: [bare.prompted(body) for body in own] for load, own in wanted.items()}
    found: dict[str, Any] = {}
    with served(f"graph-{dtype}", settings_of(dtype, folder, cache=False)) as graph:
        for turn in range(rounds + 1):
            for load, (callers, size, requests) in LOADS.items():
                before = graph.cpu()
                took, seconds, answers = asyncio.run(asked(graph.url, wanted[load], callers=callers))
                after = graph.cpu()
                alone = bare.run(prompted[load], callers=callers)
                if not turn:
                    continue
                own = found.setdefault(load, {"graph": [], "bare": [], "p50_ms": [], "p99_ms": [], "by_model": [], "cpu_ms": {}})
                own["graph"].append(round(requests * size / took, 2))
                own["bare"].append(round(requests * size / alone, 2))
                own["p50_ms"].append(round(1000 * statistics.median(seconds)))
                own["p99_ms"].append(round(1000 * sorted(seconds)[int(0.99 * (len(seconds) - 1))]))
                items = [item for answer in answers for item in answer["items"]]
                own["by_model"].append(round(statistics.fmean(item["source"] == "model" for item in items), 3))
                for part, used in after.items():
                    own["cpu_ms"].setdefault(part, []).append(round(1000 * (used - before.get(part, 0.0)) / requests, 2))
            print(f"{dtype}: round {turn} of {rounds}", flush=True)
    for own in found.values():
        own["share"] = round(statistics.median(graph / bare for graph, bare in zip(own["graph"], own["bare"], strict=True)), 3)
        own["cpu_ms"] = {part: round(statistics.median(values), 2) for part, values in own["cpu_ms"].items()}
        own["cpu_ms_besides_engine"] = round(sum(value for part, value in own["cpu_ms"].items() if part not in ("engine", "ray")), 2)
    return found


def cached_pages(snapshot: Snapshot, folder: Path, *, rounds: int) -> dict[str, Any]:
    """Pages a second of one page of 20 that is kept, through the default proxy and through HAProxy, in turns."""
    page = bodies(snapshot)["pages"][0]
    rates: dict[str, list[float]] = {"default": [], "haproxy": []}
    with (
        served("cached-default", settings_of("fp32", folder, cache=True)) as default,
        served("cached-haproxy", settings_of("fp32", folder, cache=True), haproxy=True) as haproxy,
    ):
        urls = {"default": default.url, "haproxy": haproxy.url}
        for turn in range(rounds + 1):
            for name, url in urls.items():
                count, until = 0, time.perf_counter() + CACHED_S
                began = time.perf_counter()
                while time.perf_counter() < until:
                    asyncio.run(asked(url, [page] * 80, callers=CACHED_CALLERS))
                    count += 80
                if turn:
                    rates[name].append(round(count / (time.perf_counter() - began), 1))
            print(f"cached: round {turn} of {rounds}", flush=True)
    ratio = statistics.median(one / other for one, other in zip(rates["haproxy"], rates["default"], strict=True))
    return {"pages_per_s": rates, "ratio": round(ratio, 2)}


def verdicts(found: dict[str, Any]) -> list[dict[str, Any]]:
    told = [
        {
            "what": f"{dtype}, {load}: share of the bare engine",
            "value": found["beside_bare"][dtype][load]["share"],
            "bar": bar,
            "ok": found["beside_bare"][dtype][load]["share"] >= bar,
        }
        for dtype in found["beside_bare"]
        for load, bar in BARS.items()
    ]
    for dtype, own in found["beside_bare"].items():
        used = own["pages"]["cpu_ms_besides_engine"]
        told.append(
            {"what": f"{dtype}: CPU ms of a page of 20 besides the engine", "value": used, "bar": CPU_BAR_MS, "ok": used <= CPU_BAR_MS}
        )
    if "cached" in found:
        ratio = found["cached"]["ratio"]
        told.append(
            {
                "what": "cached pages a second, HAProxy's over the default proxy's",
                "value": ratio,
                "bar": PROXY_BAR,
                "ok": ratio >= PROXY_BAR,
            }
        )
    return told


def main() -> None:
    """Raises LiyouError where a bar is missed, figures written."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rounds", type=int, default=5, help="rounds that count")
    words.add_argument("--only", choices=("fp32", "bf16", "cached"), help="only this part; what the file holds of the others stays")
    words.add_argument("--to", type=Path, default=RESULTS)
    given = words.parse_args()
    torch.set_num_threads(1)
    snapshot = shop()
    folder = (OUT / "snapshot").resolve()
    before: dict[str, Any] = json.loads(given.to.read_text()) if given.only and given.to.exists() else {}
    told: dict[str, Any] = before | {"command": "make bench-serve", "commit": commit(), "machine": machine()}
    told.setdefault("beside_bare", {})
    for dtype in ENGINES:
        if given.only in (None, dtype):
            told["beside_bare"][dtype] = beside_bare(dtype, snapshot, folder, rounds=given.rounds)
    if given.only in (None, "cached"):
        told["cached"] = cached_pages(snapshot, folder, rounds=given.rounds)
    told["verdicts"] = verdicts(told)
    given.to.parent.mkdir(parents=True, exist_ok=True)
    given.to.write_text(json.dumps(told, indent=1) + "\n")
    for one in told["verdicts"]:
        print(f"{'ok  ' if one['ok'] else 'MISS'} {one['what']}: {one['value']} (asked {one['bar']})")
    print(f"figures: {given.to}")
    if missed := [one["what"] for one in told["verdicts"] if not one["ok"]]:
        raise LiyouError(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    try:
        main()
    except LiyouError as error:
        sys.exit(str(error))
