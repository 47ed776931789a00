"""A page's spans at a real OTLP receiver: whose child each is, what they say, and that nobody waits for a receiver that is gone."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from common.log import traceparent
from serve_app.telemetry.tracing import going_on

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def receiver(receiving: Any) -> Iterator[Any]:
    with receiving() as receiver:
        yield receiver


PAGE = {"request": None, "doors": "request", "features": "request", "generate": "request", "judge": "request", "sign": "request"}
"""Stage of api -> the one above it."""
BEYOND = {"features contexts": "api features", "generator write": "api generate", "quality judge": "api judge"}


def test_every_stage_of_a_page_is_a_span_below_the_callers_own_across_all_deployments(
    graph: Callable[..., TestClient], receiver: Any, earbuds: dict[str, Any]
) -> None:
    client = graph(telemetry={"otlp_endpoint": receiver.url, "sample": 0, "service_name": "shop"})
    answer = client.post("/v1/reasons", json={"items": [earbuds]}, headers={"traceparent": PARENT})
    spans = receiver.waited(len(PAGE) + len(BEYOND))
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    assert spans["api request"].parent_span_id.hex() == SPAN
    above = {f"api {name}": f"api {parent}" for name, parent in PAGE.items() if parent} | BEYOND
    assert {name: span.parent_span_id for name, span in spans.items() if name != "api request"} == {
        name: spans[parent].span_id for name, parent in above.items()
    }
    assert answer.headers["traceparent"] == f"00-{TRACE}-{spans['api request'].span_id.hex()}-01"


def test_a_span_says_nothing_that_a_caller_sent(
    graph: Callable[..., TestClient], receiver: Any, earbuds: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = graph(telemetry={"otlp_endpoint": receiver.url, "sample": 1})
    user = {"user_id": "u-sentinel", "events": []}
    client.post("/v1/reasons", json={"items": [earbuds], "user": user}, headers={"X-Request-ID": "r-sentinel"})
    client.get("/v1/users/u-sentinel")

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("u-sentinel")

    monkeypatch.setattr("serve_app.graph.page.Page.answer", broken)
    client.post("/v1/reasons", json={"items": [earbuds], "user": user})
    receiver.waited(len(PAGE) + len(BEYOND) + 1 + 2)
    told = b"".join(span.SerializeToString() for _, span in receiver.spans)
    assert b"sentinel" not in told
    assert "静音".encode() not in told
    statuses = [one.value.int_value for _, span in receiver.spans for one in span.attributes if one.key == "http.response.status_code"]
    assert sorted(statuses) == [200, 404, 500]
    assert sum(span.status.code == span.status.STATUS_CODE_ERROR for _, span in receiver.spans) == 1, "the page that failed"


@pytest.mark.parametrize(("sample", "flags", "kept"), [(1, None, True), (0, None, False), (1, "00", False), (0, "01", True)])
def test_the_caller_decides_whether_its_page_is_traced_and_else_the_share_that_is_configured(
    graph: Callable[..., TestClient], receiver: Any, sample: float, flags: str | None, kept: bool
) -> None:
    client = graph(telemetry={"otlp_endpoint": receiver.url, "sample": sample})
    answer = client.get("/v1/keys", headers={"traceparent": f"00-{TRACE}-{SPAN}-{flags}"} if flags else {})
    assert answer.headers["traceparent"].endswith("-01" if kept else "-00")
    client.ingress.telemetry.close()  # type: ignore[attr-defined]
    assert len(receiver.spans) == kept


def test_probes_are_no_traces(graph: Callable[..., TestClient], receiver: Any) -> None:
    client = graph(telemetry={"otlp_endpoint": receiver.url, "sample": 1})
    client.get("/livez")
    client.get("/readyz")
    client.get("/v1/keys")
    assert receiver.waited(1).keys() == {"api request"}


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1/v1/traces", None], ids=["gone", "none"])
def test_without_a_receiver_pages_are_answered_and_still_carry_their_trace(
    graph: Callable[..., TestClient], earbuds: dict[str, Any], endpoint: str | None, lines: Callable[[], str]
) -> None:
    client = graph(telemetry={"otlp_endpoint": endpoint, "sample": 1})
    for _ in range(3):
        answer = client.post("/v1/reasons", json={"items": [earbuds]}, headers={"traceparent": PARENT, "X-Deadline-Ms": "5000"})
        assert answer.json()["items"][0]["source"] == "model"
        assert answer.headers["traceparent"].split("-")[1] == TRACE
    assert f'"trace_id": "{TRACE}"' in lines()
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", client.get("/v1/keys").headers["traceparent"])
    assert traceparent.get() is None


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [PARENT, PARENT],
        ["rubbish"],
        [PARENT.upper()],
        [f"00-{'0' * 32}-{SPAN}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"ff-{TRACE}-{SPAN}-01"],
        [f"{PARENT}-more"],
        [f"00-{TRACE}-{SPAN}"],
        [PARENT + "\n" + PARENT],
    ],
    ids=["none", "two", "rubbish", "capitals", "no trace", "no span", "version ff", "00 with more", "no flags", "two lines"],
)
def test_a_traceparent_that_is_not_valid_begins_a_new_trace(headers: list[str]) -> None:
    assert going_on(headers) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert going_on([f"cc-{TRACE}-{SPAN}-01-what-comes"]) == PARENT
    assert going_on([PARENT]) == PARENT
