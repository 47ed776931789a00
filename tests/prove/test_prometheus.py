"""Every expression of the dashboards and alerts on a real Prometheus, which scrapes our metrics as Ray's agent tells them. From Debian.

`ray_metrics.txt` holds what else is asked for: series of Ray 2.60 itself, as its agent told them (those of GPUs as its source names them).
"""

import itertools
import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY, generate_latest
from ray._private.telemetry.open_telemetry_metric_recorder import OpenTelemetryMetricRecorder

from serve_app.telemetry import metrics

from .conftest import ROOT, free_port

pytestmark = pytest.mark.prove

MONITORING = ROOT / "k8s" / "monitoring"
RULES = yaml.safe_load((MONITORING / "rules.yaml").read_text(encoding="utf-8"))["spec"]
(SCRAPED,) = yaml.safe_load((MONITORING / "pods.yaml").read_text(encoding="utf-8"))["spec"]["podMetricsEndpoints"]
VERDICTS = ("accepted", "refused", "no_candidate_accepted", "too_alike", "engine_unavailable", "product_not_found")
THRESHOLD = re.compile(r"\s[<>]\s[\d.]+$")
FOUND_WITHIN_S = 60.0


class Agent:
    """Our metrics moving a little all the time, through the class that makes them text in Ray's agents, and Ray's own beside them."""

    def __init__(self) -> None:
        recorder = OpenTelemetryMetricRecorder(gauge_metric_ttl_seconds=3600)
        for metric in metrics.METRICS:
            if metric.kind == "histogram":
                recorder.register_histogram_metric(metric.name, metric.description, list(metric.buckets))
            elif metric.kind == "counter":
                recorder.register_counter_metric(metric.name, metric.description)
            else:
                recorder.register_gauge_metric(metric.name, metric.description)
        self.recorder, self.others = recorder, (Path(__file__).parent / "ray_metrics.txt").read_bytes()

    def move(self) -> None:
        rays = {"Component": "core_worker", "NodeAddress": "10.0.0.1", "SessionName": "session", "Version": "2.60.0", "WorkerId": "0a"}
        values = metrics.VALUES | {"verdict": VERDICTS, "bundle": ("lb-1",), "policy": ("p1",)}
        for metric in metrics.METRICS:
            for told in itertools.product(*(values[label] for label in metric.labels)):
                self.recorder.set_metric_value(metric.name, rays | dict(zip(metric.labels, told, strict=True)), 1.0)

    def text(self) -> bytes:
        self.move()
        return generate_latest(REGISTRY) + self.others


@pytest.fixture(scope="module")
def promtool() -> str:
    """Beside prometheus, in the same package."""
    if shutil.which("promtool") is None:
        subprocess.run(["apt-get", "update", "-qq"], check=True, capture_output=True)
        command = ["apt-get", "install", "-qq", "--no-install-recommends", "prometheus"]
        # Its package would start a service of its own.
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"})
    return "promtool"


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rules as a file of Prometheus' own, their tests beside it."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "rules.yaml").write_text(yaml.safe_dump(RULES), encoding="utf-8")
    shutil.copy(MONITORING / "rules_test.yaml", folder)
    return folder / "rules.yaml"


@pytest.fixture(scope="module")
def prometheus(promtool: str, rules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL; it scrapes the agent each second, and keeps of it what the PodMonitor keeps."""
    agent, folder, port = Agent(), tmp_path_factory.mktemp("prometheus"), free_port()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(agent.text())

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    names = {"sourceLabels": "source_labels"}
    relabel = [{names.get(key, key): value for key, value in rule.items()} for rule in SCRAPED["metricRelabelings"]]
    target = {"targets": [f"127.0.0.1:{server.server_address[1]}"]}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "liyou", "static_configs": [target], "metric_relabel_configs": relabel}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    words = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*words, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()
            server.shutdown()
            server.server_close()


def asked(url: str, path: str, **parameters: str) -> Any:
    """The answer's data, or None while nobody answers."""
    try:
        with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return None
        raise AssertionError(f"{parameters}: {json.load(error)['error']}") from error
    except OSError:
        return None


def found(url: str, expression: str) -> list[Any]:
    """Series with a number; waited for, since a rate wants two scrapes."""
    end_s = time.monotonic() + FOUND_WITHIN_S
    while time.monotonic() < end_s:
        data = asked(url, "query", query=expression)
        if data and (series := [one for one in data["result"] if one["value"][1] != "NaN"]):
            return series
        time.sleep(0.5)
    return []


def panels() -> list[tuple[str, str]]:
    return [
        (f"{path.stem}: {panel['title']}", target["expr"])
        for path in sorted((MONITORING / "dashboards").glob("*.json"))
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
        for target in panel["targets"]
    ]


@pytest.mark.parametrize("expression", [row[1] for row in panels()], ids=[row[0] for row in panels()])
def test_a_panel_shows_something(expression: str, prometheus: str) -> None:
    assert found(prometheus, expression.replace("$__rate_interval", "1m"))


ALERTS = {rule["alert"]: rule["expr"] for group in RULES["groups"] for rule in group["rules"]}


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_looks_at_something(alert: str, prometheus: str) -> None:
    """Without its threshold, which `rules_test.yaml` is about."""
    expression = ALERTS[alert].removeprefix("absent(").removesuffix(")") if ALERTS[alert].startswith("absent(") else ALERTS[alert]
    assert found(prometheus, THRESHOLD.sub("", expression))


def test_prometheus_evaluates_every_rule(prometheus: str) -> None:
    end_s, health = time.monotonic() + FOUND_WITHIN_S, {"unknown"}
    while "unknown" in health and time.monotonic() < end_s:
        time.sleep(0.5)
        groups = (asked(prometheus, "rules") or {"groups": []})["groups"]
        health = {rule["health"] for group in groups for rule in group["rules"]} or {"unknown"}
    assert health == {"ok"}


def test_each_alert_fires_on_a_bad_day_and_keeps_still_on_a_good_one(promtool: str, rules: Path) -> None:
    for words in (["check", "rules", str(rules)], ["test", "rules", str(rules.with_name("rules_test.yaml"))]):
        done = subprocess.run([promtool, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_dropped_at_the_scrape_leaves_no_series_of_an_agent_itself(prometheus: str) -> None:
    assert found(prometheus, "ray_reco_reason_inflight")
    assert asked(prometheus, "query", query="python_info")["result"] == []
    (one, *_) = asked(prometheus, "query", query="ray_reco_reason_inflight")["result"]
    assert not {name for name in one["metric"] if name.startswith("otel_")}
