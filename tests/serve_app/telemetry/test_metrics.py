"""What is counted of pages, and that however many users, products, keys and paths come, the series stay few."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ray.util.metrics import Counter, Gauge, Histogram
from starlette.testclient import TestClient

from common.domain.reason import CheckResult, QualityVerdict
from common.errors import Overloaded
from serve_app.state.api_keys import digest, new_key
from serve_app.telemetry import metrics
from serve_app.telemetry.counting import count_verdicts
from serve_app.telemetry.ray_metrics import RayMetrics


def test_a_page_counts_by_route_outcome_source_stage_and_verdict(
    graph: Callable[..., TestClient], recorded: Any, earbuds: dict[str, Any], shoes: dict[str, Any]
) -> None:
    client = graph(cache={"max_entries": 10})
    detailed = earbuds | {"controls": {"style": "detailed"}}
    for _ in range(2):
        client.post("/v1/reasons", json={"items": [shoes, detailed, {"product_id": "gone"}]})
    assert recorded.of(metrics.REQUESTS) == {("/v1/reasons", "degraded"): 2}
    assert recorded.of(metrics.ITEMS) == {
        ("model", "accepted"): 1,
        ("cache", "accepted"): 1,
        ("template", "no_candidate_accepted"): 2,
        ("none", "product_not_found"): 2,
    }
    assert recorded.of(metrics.CACHE_LOOKUPS) == {("hit",): 1, ("miss",): 3}
    stages = {stage for (stage,) in recorded.of(metrics.STAGE_SECONDS)}
    assert stages == set(metrics.VALUES["stage"])
    accepted, refused = (recorded.of(metrics.CANDIDATES).get((verdict,), 0) for verdict in ("accepted", "refused"))
    assert (accepted > 0, refused > 0, accepted + refused) == (True, True, 6), "two candidates an item that was written"
    assert recorded.of(metrics.GUARD_BLOCKS).keys() & {("controls",), ("length",)}
    assert recorded.of(metrics.REQUEST_SECONDS) == {("/v1/reasons",): 2}
    assert recorded.of(metrics.DEADLINE_LEFT) == {(): 2}
    assert recorded.of(metrics.INFLIGHT) == {(): 0}


def test_a_replica_tells_its_bundle_and_how_far_its_canaries_are_from_trained_and_from_the_base(
    graph: Callable[..., TestClient], recorded: Any, tiny_bundle: Any
) -> None:
    client = graph()
    ((bundle, _),) = recorded.of(metrics.BUNDLE_INFO)
    assert bundle == tiny_bundle.bundle_id
    nats = recorded.of(metrics.CANARY_NATS)
    assert nats[("trained",)] <= nats[("allowed",)]
    assert nats[("base",)] > nats[("trained",)]
    assert recorded.of(metrics.BUNDLE_LOAD_SECONDS)[()] > 0
    client.generator.check_health()  # type: ignore[attr-defined]
    assert recorded.of(metrics.ENGINE_SEQUENCES) == {(): 0}


@pytest.mark.parametrize(
    ("error", "outcome", "shed"), [(Overloaded("full"), "unavailable", {("overloaded",): 1}), (ValueError("bug"), "failed", {})]
)
def test_a_page_that_fails_is_counted_as_what_its_caller_got(
    graph: Callable[..., TestClient],
    recorded: Any,
    earbuds: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    outcome: str,
    shed: Any,
) -> None:
    client = graph()

    async def answer(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("serve_app.graph.page.Page.answer", answer)
    client.post("/v1/reasons", json={"items": [earbuds]})
    assert recorded.of(metrics.REQUESTS) == {("/v1/reasons", outcome): 1}
    assert recorded.of(metrics.SHED) == shed


def test_many_users_products_keys_ids_and_paths_make_no_more_series_than_a_few(
    graph: Callable[..., TestClient], recorded: Any, earbuds: dict[str, Any], tmp_path: Path
) -> None:
    keys = {f"key-{at}": new_key() for at in range(8)}
    (tmp_path / "keys.json").write_text(
        json.dumps({"keys": [{"name": name, "tenant": name, "sha256": digest(key)} for name, key in keys.items()]})
    )
    client = graph(doors={"keys": str(tmp_path / "keys.json")}, telemetry={"otlp_endpoint": None})

    def rush(first: int) -> int:
        for at in range(first, first + 8):
            product = earbuds["product"] | {"product_id": f"p{at}", "title": f"静音耳机{at}"}
            user = {"user_id": f"u{at}", "events": [{"kind": "view", "product_id": f"p{at}", "at": datetime.now(UTC).isoformat()}]}
            headers = {"Authorization": f"Bearer {keys[f'key-{at % 8}']}", "X-Request-ID": f"r{at}"}
            page = {"items": [{"product": product}], "user": user}
            client.post("/v1/reasons", json=page | {"channel": "search", "query": f"静音耳机{at}"}, headers=headers)
            client.post("/v1/reasons", json=page | {"channel": f"c{at}"}, headers=headers)
            client.get(f"/v1/users/u{at}")
            client.request(f"M{at}", f"/v1/{at}/reasons")
            client.post("/v1/reasons", json={}, headers={"Authorization": f"Bearer {at}"})
        return len(recorded.series)

    few = rush(0)
    assert rush(8) == rush(16) == few
    assert few < 40


def test_a_verdict_that_no_check_explains_is_the_discriminators(recorded: Any) -> None:
    passed, failed = CheckResult(name="facts", passed=True), CheckResult(name="facts", passed=False)
    verdicts = [
        QualityVerdict(accepted=True, checks={"facts": passed}),
        QualityVerdict(accepted=False, checks={"facts": passed}, score=0.1),
        QualityVerdict(accepted=False, checks={"facts": failed}),
    ]
    count_verdicts(recorded, verdicts)
    assert recorded.of(metrics.CANDIDATES) == {("accepted",): 1, ("refused",): 2}
    assert recorded.of(metrics.GUARD_BLOCKS) == {("discriminator",): 1, ("facts",): 1}


def test_rays_metrics_take_each_metric_with_its_labels() -> None:
    kinds = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
    record = RayMetrics()
    for metric in metrics.METRICS:
        record(metric, 1, dict.fromkeys(metric.labels, "x"))
        record(metric, 0, dict.fromkeys(metric.labels, "x"))
        made = record._made[metric.name]
        assert isinstance(made, kinds[metric.kind])
        assert made.info["tag_keys"] == metric.labels


@pytest.mark.parametrize("metric", metrics.METRICS, ids=lambda metric: metric.name)
def test_names_say_their_unit_and_kind(metric: metrics.Metric) -> None:
    assert metric.name.startswith("reco_reason_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    if metric.kind == "histogram":
        assert metric.name.endswith("_seconds")
        assert list(metric.buckets) == sorted(set(metric.buckets))
    assert set(metric.labels) <= metrics.VALUES.keys() | {"verdict", "bundle", "policy"}
    assert metric.description
