"""`make fuzz`: 100,000 generated requests against the ASGI app, 5,000 by schemathesis through Serve; figures to docs/results/fuzz.json.

What may not happen: a 500, a status that the OpenAPI document does not list, a body outside its schema, memory that grows.
"""

import argparse
import asyncio
import gc
import json
import logging
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil  # type: ignore[import-untyped]
from pydantic import BaseModel, ValidationError

from cluster.bench.first_run import commit, machine
from cluster.bench.serve.bodies import Asked, request
from cluster.bench.serve.rehearsal import Rehearsal
from common.contract.problems import Problem
from common.contract.wire import (
    LINES,
    ModelsResponse,
    ReasonsLine,
    ReasonsResponse,
    VerifyResponse,
    WarmResponse,
)
from common.errors import LiyouError
from serve_app.config import CacheConfig, ServeConfig

RESULTS = Path("docs/results/fuzz.json")
SCHEMA = Path("serve_app/openapi.json")
SEED = 26
KINDS: dict[str, type[BaseModel]] = {
    "/v1/reasons": ReasonsResponse,
    "/v1/reasons:verify": VerifyResponse,
    "/v1/reasons:warm": WarmResponse,
    "/v1/models": ModelsResponse,
}
UNROUTED = {"404", "405"}
"""What a path or a method answers that is in no document."""
GROWN_MB = 16.0
"""Resident memory after the last tenth over that after the second: the cache is full by then and every path was taken."""
KEPT = 2000
"""Entries of the cache: so few that it is full, and evicts, early on."""


@dataclass
class Found:
    """What was answered, and every answer that should not have been, with the request that got it."""

    statuses: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    wrong: list[dict[str, str]] = field(default_factory=list)
    valid: int = 0


async def called(app: Any, asked: Asked) -> tuple[int, dict[str, str], bytes]:
    """One request through ASGI as a server would make it, in as many parts as it likes."""
    parts = [asked.body[: len(asked.body) // 2], asked.body[len(asked.body) // 2 :]]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if parts:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}
        await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": asked.method, "scheme": "http", "path": asked.path,
        "raw_path": asked.path.encode(), "query_string": asked.query, "root_path": "", "headers": list(asked.headers),
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return int(sent[0]["status"]), headers, b"".join(part.get("body", b"") for part in sent[1:])


def complaint(asked: Asked, status: int, headers: dict[str, str], body: bytes, documented: dict[str, set[str]]) -> str | None:
    """What is wrong with an answer; None where it is as the document says."""
    if status >= 500 and status != 503 and status != 504:
        return f"status {status}"
    if str(status) not in documented.get(f"{asked.method} {asked.path}", UNROUTED) | UNROUTED:
        return f"status {status} is not in the document"
    kind = headers.get("content-type", "").partition(";")[0]
    try:
        if asked.method == "HEAD":
            return None  # whoever serves the app leaves the body out
        if status >= 400:
            same(body, Problem)
            return None if orjson.loads(body)["status"] == status else "the problem's status is another"
        if kind == LINES:
            for line in body.splitlines():
                same(line, ReasonsLine)
            return None
        same(body, KINDS[asked.path])
    except (ValidationError, ValueError, KeyError) as error:
        return f"{status} {kind}: {str(error)[:300]}"
    return None


def same(body: bytes, kind: type[BaseModel]) -> None:
    """Raises ValueError or ValidationError where the body is not exactly what the model says."""
    read, told = kind.model_validate_json(body), orjson.loads(body)
    if told not in (read.model_dump(mode="json"), read.model_dump(mode="json", exclude_none=True)):
        raise ValueError("it holds what the schema does not")


def documented() -> dict[str, set[str]]:
    paths = json.loads(SCHEMA.read_text())["paths"]
    return {f"{method.upper()} {path}": set(told["responses"]) for path, methods in paths.items() for method, told in methods.items()}


async def fuzzed(count: int, *, seed: int, told: Callable[[int, Found], None] = lambda done, found: None) -> Found:
    """`told` hears after every request how many there were and what was found so far."""
    found, listed = Found(), documented()
    async with Rehearsal(ServeConfig(cache=CacheConfig(max_entries=KEPT))) as rehearsal:
        for number in range(count):
            asked = request(random.Random(f"{seed} {number}"))
            try:
                status, headers, body = await called(rehearsal.app, asked)
                wrong = complaint(asked, status, headers, body, listed)
            except Exception as error:
                status, body, wrong = 0, b"", f"raised {type(error).__name__}: {error}"
            note(found, number, asked, status, body, wrong)
            told(number + 1, found)
    return found


def note(found: Found, number: int, asked: Asked, status: int, body: bytes, wrong: str | None) -> None:
    found.statuses[str(status)] += 1
    if wrong:
        found.wrong.append(
            {"number": str(number), "path": asked.path, "wrong": wrong, "body": asked.body[:2000].decode("utf-8", "replace")}
        )
    if 200 <= status < 300:
        found.valid += 1
    elif status >= 400 and asked.method != "HEAD" and not wrong:
        found.codes[orjson.loads(body)["code"]] += 1
    if status == 200 and asked.path == "/v1/reasons" and not wrong:
        lines = [orjson.loads(line) for line in body.splitlines()]
        items = [line["item"] for line in lines if line.get("item")] if "index" in lines[0] else lines[0]["items"]
        found.sources.update(item.get("source") or "error" for item in items)


async def app_part(count: int) -> dict[str, Any]:
    """Progress and memory on the way, figures at the end."""
    process, began, memory = psutil.Process(), time.monotonic(), []

    def told(done: int, found: Found) -> None:
        if done % max(1, count // 10) == 0:
            gc.collect()
            memory.append(round(process.memory_info().rss / 1e6, 1))
            print(f"{done} of {count}: {dict(found.statuses)}, {memory[-1]} MB, {len(found.wrong)} wrong", flush=True)

    found = await fuzzed(count, seed=SEED, told=told)
    return {
        "requests": count,
        "seed": SEED,
        "valid_share": round(found.valid / count, 4),
        "statuses": dict(sorted(found.statuses.items())),
        "codes": dict(found.codes.most_common()),
        "items_by_source": dict(found.sources.most_common()),
        "memory_mb_by_tenth": memory,
        "grown_mb": round(memory[-1] - memory[1], 1) if len(memory) > 1 else None,
        "wrong": found.wrong[:20],
        "num_wrong": len(found.wrong),
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> None:
    """Raises LiyouError where something was found, figures written."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--requests", type=int, default=100_000, help="against the ASGI app")
    words.add_argument("--served", type=int, default=5_000, help="by schemathesis through Serve; 0 leaves it out")
    asked = words.parse_args()
    told: dict[str, Any] = {"command": "make fuzz", "commit": commit(), "machine": machine(), "app": asyncio.run(app_part(asked.requests))}
    if asked.served:
        from cluster.bench.serve.schemathesis_run import served_part

        told["served"] = served_part(asked.served)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    app = told["app"]
    bad = [
        f"{app['num_wrong']} answers of the app are wrong" if app["num_wrong"] else "",
        f"only {app['valid_share']:.0%} of the requests were valid" if app["valid_share"] < 0.3 else "",
        f"memory grew by {app['grown_mb']} MB" if (app["grown_mb"] or 0) > GROWN_MB else "",
        f"schemathesis found {told['served']['failures']}" if asked.served and told["served"]["failures"] else "",
    ]
    print(f"figures: {RESULTS}")
    if any(bad):
        raise LiyouError("; ".join(one for one in bad if one))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # a line for each request is not what is looked at
    try:
        main()
    except LiyouError as error:
        sys.exit(str(error))
