"""SIGTERM under load (F26): not ready first, everybody inside answered, exit code 0; and what Ray's agent and the log files hold then."""

import json
import signal
import subprocess
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
import yaml

from serve_app.telemetry.metrics import (
    BUNDLE_INFO,
    CANARY_NATS,
    CANDIDATES,
    INFLIGHT,
    ITEMS,
    REQUEST_SECONDS,
    REQUESTS,
    STAGE_SECONDS,
)

from .conftest import STOP_S, free_port

pytestmark = [pytest.mark.prove, pytest.mark.ray]

PAGES = 6
USER = "u-sentinel-4711"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ABOVE = {name: "request" for name in ("doors", "features", "generate", "judge", "sign")}
BEYOND = {"features contexts": "features", "generator write": "generate", "quality judge": "judge"}
"""Span -> the one of api above it; of a page that is written once."""
MOVED = (REQUESTS, REQUEST_SECONDS, INFLIGHT, ITEMS, STAGE_SECONDS, CANDIDATES, BUNDLE_INFO, CANARY_NATS)
"""By a page, or by what a replica says when it starts."""
SEEN_WITHIN_S = 40.0
"""Ray's processes tell their agent every ten seconds."""


@pytest.fixture(scope="module")
def stopped(liyou: Any, receiving: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was seen of a server that was told to stop while it had pages inside."""
    folder: Path = tmp_path_factory.mktemp("stop")
    port, metrics_port = free_port(), free_port()
    words = ("--config", str(folder / "serve.yaml"), "--port", str(port), "--metrics-port", str(metrics_port), "--json")
    seen: dict[str, Any] = {"health": [], "url": f"http://127.0.0.1:{port}"}

    def page(number: int, **more: str) -> httpx2.Response:
        items = [
            {"product": {"product_id": f"p{number}-{at}", "title": f"静音耳机{number}{at}", "category": "蓝牙耳机"}} for at in range(12)
        ]
        body = {"items": items, "user": {"user_id": USER, "events": []}}
        headers = {"X-Deadline-Ms": "30000", "X-Request-ID": f"r-{number}"} | more
        return httpx2.post(f"{seen['url']}/v1/reasons", json=body, headers=headers, timeout=60)

    with receiving() as receiver:
        spans = {"otlp_endpoint": receiver.url, "sample": 0}
        config = {"cache": {"max_entries": 0}, "answer": {"max_attempts": 1}, "telemetry": spans}
        (folder / "serve.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        with liyou("serve", *words, stderr=subprocess.PIPE) as process:
            see(process, page, receiver, metrics_port, seen)
    return seen


def see(process: Any, page: Any, receiver: Any, metrics_port: int, seen: dict[str, Any]) -> None:
    """Asks, stops it with pages inside, and reads what it leaves."""
    assert orjson.loads(process.stdout.readline())["pid"] == process.pid
    page(0, traceparent=f"00-{TRACE}-{SPAN}-01")
    seen["spans"] = receiver.waited(1 + len(ABOVE) + len(BEYOND))
    seen["metrics"] = told_by_the_agent(metrics_port)
    logs = Path("/tmp/ray/session_latest/logs/serve").resolve()
    with ThreadPoolExecutor(PAGES) as pool:
        inside = [pool.submit(page, number) for number in range(1, PAGES + 1)]
        time.sleep(0.5)
        threading.Thread(target=watch, args=(seen,), daemon=True).start()
        process.send_signal(signal.SIGTERM)
        seen["pages"] = [one.result() for one in inside]
    seen["code"] = process.wait(STOP_S)
    seen["said"] = process.stderr.read().decode(errors="replace")
    seen["lines"] = [line for path in logs.glob("replica_*.log") for line in path.read_text(encoding="utf-8").splitlines()]


def watch(seen: dict[str, Any]) -> None:
    """Asks whether it is ready until nobody answers."""
    while True:
        try:
            answer = httpx2.get(f"{seen['url']}/readyz", timeout=5)
            seen["health"].append((answer.status_code, answer.text))
        except httpx2.HTTPError:
            return
        time.sleep(0.05)


def told_by_the_agent(port: int) -> str:
    end_s, text = time.monotonic() + SEEN_WITHIN_S, ""
    while not all(f"TYPE ray_{metric.name} " in text for metric in MOVED) and time.monotonic() < end_s:
        time.sleep(1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    return text


def test_everybody_inside_is_answered_and_it_ends_with_success(stopped: dict[str, Any], figures: Any) -> None:
    answers = [answer.status_code for answer in stopped["pages"]]
    sources = [item["source"] for answer in stopped["pages"] for item in answer.json()["items"]]
    figures.table("F26 SIGTERM with pages inside", {"answers": str(answers), "written by the model": sources.count("model") / len(sources)})
    assert answers == [200] * PAGES
    assert stopped["code"] == 0
    assert "stopping: pages inside are answered first" in stopped["said"]
    assert "still inside" not in stopped["said"]


def test_it_says_that_it_is_not_ready_before_it_is_gone(stopped: dict[str, Any]) -> None:
    refused = [text for status, text in stopped["health"] if status == 503]
    assert refused
    assert "draining" in refused[0]


def test_a_pages_spans_hang_together_over_four_processes(stopped: dict[str, Any]) -> None:
    spans = stopped["spans"]
    above = {f"api {name}": f"api {parent}" for name, parent in ABOVE.items()} | {name: f"api {parent}" for name, parent in BEYOND.items()}
    assert {name: spans[name].parent_span_id for name in above} == {name: spans[parent].span_id for name, parent in above.items()}
    assert spans["api request"].parent_span_id.hex() == SPAN
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}


def test_prometheus_sees_each_metric_that_a_page_moves_under_its_name(stopped: dict[str, Any]) -> None:
    told = stopped["metrics"]
    for metric in MOVED:
        assert f"# TYPE ray_{metric.name} {metric.kind}" in told
        (line, *_) = [line for line in told.splitlines() if line.startswith(f"ray_{metric.name}")]
        assert all(f'{label}="' in line for label in metric.labels)
    assert USER not in told


def test_log_files_are_json_lines_that_name_requests_and_traces_and_no_user(stopped: dict[str, Any]) -> None:
    entries = [json.loads(line) for line in stopped["lines"]]
    ends = {entry["request_id"]: entry for entry in entries if entry.get("http_route") == "/v1/reasons"}
    assert ends.keys() == {f"r-{number}" for number in range(PAGES + 1)}
    assert all(entry["trace_id"] and entry["status"] == 200 and entry["ms"] > 0 for entry in ends.values())
    assert not [line for line in stopped["lines"] if USER in line]
