"""Dashboards, alerts and scraping as texts: complete, and about metrics that exist. `tests/prove/test_prometheus.py` runs them."""

import importlib.util
import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.config import parse
from serve_app.config import ServeConfig
from serve_app.telemetry.metrics import METRICS, VALUES

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "k8s" / "monitoring"
BOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
OURS = {f"ray_{metric.name}" for metric in METRICS}
THEIRS = {line.split("{")[0] for line in (ROOT / "tests" / "prove" / "ray_metrics.txt").read_text(encoding="utf-8").splitlines()}


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((MONITORING / "rules.yaml").read_text(encoding="utf-8"))
    return [rule for group in document["spec"]["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    boards = [json.loads(path.read_text(encoding="utf-8")) for path in BOARDS]
    return [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]] + [r["expr"] for r in rules()]


@pytest.fixture(scope="module")
def applied(kubectl: str) -> list[dict[str, Any]]:
    done = subprocess.run([kubectl, "kustomize", str(MONITORING)], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def test_the_dashboards_are_what_their_script_writes() -> None:
    spec = importlib.util.spec_from_file_location("dashboards", MONITORING / "dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.rendered() == {path.name: path.read_text(encoding="utf-8") for path in BOARDS}


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_panel_has_title_unit_description_and_place(path: Path) -> None:
    board = json.loads(path.read_text(encoding="utf-8"))
    assert board["uid"] == f"liyou-{path.stem}"
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["expr"] and target["legendFormat"] for target in panel["targets"])
    places = Counter((panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"])
    assert max(places.values()) == 1
    assert len({panel["title"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_asks_for_metrics_labels_and_values_that_exist(expression: str) -> None:
    names = set(re.findall(r"\bray_[a-z_]+", expression))
    histograms = {f"ray_{metric.name}_{part}" for metric in METRICS if metric.kind == "histogram" for part in ("bucket", "count")}
    assert names
    assert names <= OURS | histograms | THEIRS
    for label, value in re.findall(r'(\w+)=~?"([^"]+)"', expression):
        if label in VALUES:
            assert set(value.split("|")) <= set(VALUES[label]), f"{label}={value}"


def test_every_metric_is_on_a_dashboard_or_in_an_alert() -> None:
    told = " ".join(expressions())
    assert not [name for name in OURS if name not in told]


def test_an_alert_says_how_bad_it_is_and_is_tested_and_in_the_runbook() -> None:
    tested = (MONITORING / "rules_test.yaml").read_text(encoding="utf-8")
    runbook = (ROOT / "docs" / "observe.md").read_text(encoding="utf-8")
    alerts = [rule["alert"] for rule in rules()]
    assert len(set(alerts)) == len(alerts)
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"].endswith(".")
        assert tested.count(f"alertname: {rule['alert']}") >= 2 or rule["alert"] == "LiyouSilent"
        assert f"| `{rule['alert']}` |" in runbook


def test_every_metric_stands_in_the_guide_with_its_labels() -> None:
    guide = (ROOT / "docs" / "observe.md").read_text(encoding="utf-8")
    for metric in METRICS:
        labels = "{" + ",".join(metric.labels) + "}" if metric.labels else ""
        assert f"`{metric.name.removeprefix('reco_reason_')}{labels}`" in guide


def test_what_is_applied_reaches_the_pods_and_finds_the_dashboards(applied: list[dict[str, Any]]) -> None:
    kinds = Counter(one["kind"] for one in applied)
    assert kinds == {"ConfigMap": 1, "NetworkPolicy": 2, "PodMonitor": 1, "PrometheusRule": 1}
    of = {one["kind"]: one for one in applied}
    pods = {"app.kubernetes.io/part-of": "liyou"}
    assert of["PodMonitor"]["spec"]["selector"]["matchLabels"] == pods
    assert of["ConfigMap"]["data"].keys() == {path.name for path in BOARDS}
    assert of["ConfigMap"]["metadata"]["labels"] == {"grafana_dashboard": "1"}
    for one in applied:
        assert one["metadata"]["namespace"] == "liyou"
        if one["kind"] == "NetworkPolicy":
            assert one["spec"]["podSelector"]["matchLabels"] == pods
            rules = one["spec"].get("ingress", []) + one["spec"].get("egress", [])
            assert all((rule.get("from") or rule["to"]) and rule["ports"] for rule in rules), "open to a namespace and a port alone"


def test_what_the_guide_tells_to_configure_and_apply_is_there() -> None:
    lines = [line.strip() for line in (ROOT / "docs" / "observe.md").read_text(encoding="utf-8").splitlines() if line.startswith("    ")]
    configured, applied = lines
    assert parse(yaml.safe_load(configured), ServeConfig, source="docs/observe.md").telemetry.otlp_endpoint
    (folder,) = re.findall(r"apply -k (\S+) --server-side$", applied)
    assert ROOT / folder == MONITORING
