"""What a log line says, and that no user, key or word of a caller is ever in one, whatever went wrong."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from common.log import request_id, wordless
from serve_app.state.api_keys import digest, new_key
from serve_app.telemetry.replica_log import discreet

USER, WORDS = "u-sentinel-4711", "哨兵说的话"


@pytest.fixture
def key(tmp_path: Path) -> str:
    key = new_key()
    (tmp_path / "keys.json").write_text(
        json.dumps({"keys": [{"name": "storefront", "tenant": "shop", "sha256": digest(key), "limits": {"items_per_minute": 60}}]})
    )
    return key


@pytest.fixture
def client(graph: Callable[..., TestClient], key: str, tmp_path: Path) -> TestClient:
    (tmp_path / "secret").write_text("a-secret-sentinel-of-32-bytes-000")
    audit = {"to": str(tmp_path / "record"), "secret": str(tmp_path / "secret")}
    client = graph(doors={"keys": str(tmp_path / "keys.json")}, audit=audit)
    client.headers["Authorization"] = f"Bearer {key}"
    return client


def body(earbuds: dict[str, Any], **item: Any) -> dict[str, Any]:
    events = [{"kind": "review", "product_id": "p1", "at": "2026-05-01T12:00:00+08:00", "text": WORDS}]
    return {"user": {"user_id": USER, "events": events}, "items": [earbuds | item]}


def entries(lines: Callable[[], str], message: str) -> list[dict[str, Any]]:
    return [entry for entry in map(json.loads, lines().splitlines()) if message in entry["message"]]


def test_a_request_ends_in_one_line_with_its_route_status_sources_time_and_the_name_of_its_key(
    client: TestClient, earbuds: dict[str, Any], lines: Callable[[], str]
) -> None:
    answer = client.post("/v1/reasons", json=body(earbuds), headers={"X-Request-ID": "r-1"})
    (line,) = entries(lines, "/v1/reasons")
    assert line["ms"] > 0
    assert (line["request_id"], line["trace_id"]) == ("r-1", answer.headers["traceparent"].split("-")[1])
    told = {name: line[name] for name in ("http_route", "status", "outcome", "items", "key")}
    assert told == {"http_route": "/v1/reasons", "status": 200, "outcome": "ok", "items": {"model": 1}, "key": "storefront"}


def test_nothing_of_a_user_a_key_or_a_callers_words_is_logged_whatever_happens(
    client: TestClient, earbuds: dict[str, Any], key: str, lines: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.post("/v1/reasons", json=body(earbuds)).status_code == 200
    asked = body(earbuds, must_mention=[WORDS]) | {"channel": "chat", "query": WORDS}
    assert client.post("/v1/reasons", json=asked).json()["items"][0]["error"]["code"] == "constraints_unmet"
    refused: list[tuple[int, Any]] = [
        (422, body(earbuds) | {"query": WORDS}),
        (422, body(earbuds) | {"channel": USER}),
        (422, body(earbuds, must_mention=[WORDS], must_avoid=[WORDS])),
        (422, body(earbuds) | {"channel": "chat", "query": f"{WORDS}\0"}),
        (422, body(earbuds) | {USER: WORDS}),
        (422, body(earbuds, controls={"style": USER})),
        (422, {"user": {"user_id": USER, "events": [{"kind": WORDS}]}, "items": [earbuds]}),
    ]
    for status, page in refused:
        assert client.post("/v1/reasons", json=page).status_code == status
    assert (
        client.post("/v1/reasons", content=f'{{"user": "{USER}"'.encode(), headers={"Content-Type": "application/json"}).status_code == 400
    )
    assert client.get(f"/v1/users/{USER}?key={key}").status_code == 404
    assert client.post("/v1/reasons", json=body(earbuds), headers={"Authorization": f"Bearer {USER}{key}"}).status_code == 401
    for _ in range(2):
        limited = client.post("/v1/reasons", json={"user": {"user_id": USER}, "items": [earbuds] * 40})
    assert limited.status_code == 429

    class Quoting(Exception):
        pass

    async def broken(_: Any, request: Any, **__: Any) -> None:
        try:
            raise Quoting(f"inner {request!r} {key}")
        except Quoting as error:
            raise RuntimeError(f"could not answer {request!r}") from error

    monkeypatch.setattr("serve_app.graph.page.Page.answer", broken)
    failed = client.post("/v1/reasons", json=body(earbuds), headers={"X-Request-ID": "r-failed"})
    assert failed.status_code == 500
    told = lines()
    for secret in (USER, WORDS, WORDS.encode("unicode_escape").decode(), key, digest(key), "a-secret-sentinel"):
        assert secret not in told
        assert secret not in failed.text
    (trouble,) = entries(lines, "unexpected error")
    assert trouble["request_id"] == "r-failed"
    assert trouble["trace_id"] == failed.headers["traceparent"].split("-")[1]
    assert "Quoting" in trouble["exc_text"], "what it was is told"
    assert "builtins.RuntimeError" in trouble["exc_text"]
    assert "in broken" in trouble["exc_text"], "and where"


def test_what_serve_itself_logs_of_an_error_is_as_discreet(lines: Callable[[], str]) -> None:
    discreet()
    discreet()
    token = request_id.set("r-2")
    try:
        raise ValueError(USER)
    except ValueError:
        logging.getLogger("ray.serve").exception("Request failed.")
    request_id.reset(token)
    (line,) = entries(lines, "Request failed.")
    assert (USER in lines(), line["request_id"]) == (False, "r-2")
    assert "ValueError" in line["exc_text"]


def test_probes_are_told_at_debug_alone(client: TestClient, lines: Callable[[], str]) -> None:
    client.get("/livez")
    (line,) = entries(lines, "/livez 200")
    assert line["levelname"] == "DEBUG"


def test_an_error_without_words_names_what_it_was_raised_from_once() -> None:
    def loop() -> BaseException:
        try:
            try:
                raise KeyError(USER)
            except KeyError as error:
                raise OSError(USER) from error
        except OSError as error:
            return error

    told = wordless(loop())
    assert told.count("builtins.OSError") == told.count("builtins.KeyError") == 1
    assert told.index("OSError") < told.index("KeyError")
    assert USER not in told
