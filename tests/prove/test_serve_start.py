"""Point 7: `liyou serve` on the starter bundle answers soon, asks for no key on this machine, and refuses in words a program can read."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import psutil
import pytest

from serve_app.state.live import STARTER

pytestmark = pytest.mark.prove

FIRST_REASON_S = 40.0
MILK = {
    "product_id": "inline-1",
    "title": "晨露保温杯",
    "category": "保温杯",
    "attributes": {"品牌": "晨露", "容量": "500毫升"},
    "price": 89,
}
JSON = "application/json"
OVER = b'{"items": "' + b"x" * 20_000_000 + b'"}'


@pytest.fixture(scope="module")
def started(bundle: Path, serving: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A server as the README starts it, asked for a reason the moment that it says it is there."""
    words = () if bundle == STARTER else ("--bundle", str(bundle))
    with serving(*words, log=tmp_path_factory.mktemp("start") / "serve.log") as server:
        answer = httpx2.post(f"{server.url}/v1/reasons", json={"items": [{"product": MILK}]}, timeout=60)
        yield {"server": server, "answer": answer, "first_reason_s": time.monotonic() - server.started}


def post(started: dict[str, Any], content: Any, media: str = JSON) -> httpx2.Response:
    return httpx2.post(f"{started['server'].url}/v1/reasons", content=content, headers={"Content-Type": media}, timeout=60)


def test_the_first_reason_comes_within_forty_seconds_on_port_8000_without_a_key(started: dict[str, Any], figures: Any) -> None:
    phases = {f"  {name}": seconds for name, seconds in started["server"].ready["phases_s"].items()}
    busy = ", ".join(f"{share:.1f}" for share in psutil.getloadavg())
    figures.table(
        "7 seconds from the command to the first reason", phases | {"first reason": started["first_reason_s"], "load average": busy}
    )
    assert started["server"].url == "http://127.0.0.1:8000"
    assert started["answer"].status_code == 200
    assert started["first_reason_s"] <= FIRST_REASON_S


def test_an_inline_product_without_currency_or_rating_is_answered(started: dict[str, Any], figures: Any) -> None:
    item = started["answer"].json()["items"][0]
    figures.table("7 an inline product", {"text": item["text"], "source": item["source"]})
    assert "currency" not in MILK
    assert "rating" not in MILK
    assert (item["status"], bool(item["text"])) == ("ok", True)


@pytest.mark.parametrize(
    ("content", "media", "status", "code"),
    [
        (orjson.dumps({"items": [{"product": MILK}] * 51}), JSON, 422, "bad_input"),
        (OVER, JSON, 413, "too_large"),
        (iter([OVER]), JSON, 413, "too_large"),
        (orjson.dumps({"items": [{"product": MILK}], "controls": {"style": "loud"}}), JSON, 422, "bad_control"),
        (orjson.dumps({"items": [{"product_id": "gone"}]}), JSON, 404, "product_not_found"),
        (b'{"items": [', JSON, 400, "bad_request"),
        (orjson.dumps({"items": [{"product": MILK}]}), "text/plain", 415, "unsupported_media_type"),
    ],
    ids=["51 items", "20 MB", "20 MB of unknown length", "a bad code", "an unknown product", "broken JSON", "wrong content type"],
)
def test_refusals_are_problems(
    started: dict[str, Any], figures: Any, request: Any, content: Any, media: str, status: int, code: str
) -> None:
    answer = post(started, content, media)
    problem = answer.json()
    figures.table(f"7 {request.node.callspec.id}", {"answer": f"{answer.status_code} {problem['code']}: {problem['detail'][:120]}"})
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:liyou:problem:{code}"
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["retryable"] is False


def test_an_unknown_product_is_an_error_of_its_item_and_costs_its_neighbour_nothing(started: dict[str, Any], figures: Any) -> None:
    answer = post(started, orjson.dumps({"items": [{"product_id": "gone"}, {"product": MILK}]}))
    unknown, known = answer.json()["items"]
    figures.table(
        "7 an unknown product beside a known one",
        {"answer": f"{answer.status_code}, its item {unknown['error']['code']}: {unknown['error']['message']}"},
    )
    assert (answer.status_code, unknown["status"], known["status"]) == (200, "error", "ok")
    assert (unknown["error"]["code"], unknown["error"]["retryable"]) == ("product_not_found", False)
