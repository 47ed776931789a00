"""A few hundred of the requests that `make fuzz` sends, and whether it would notice what it looks for."""

import asyncio
import json
import random
from typing import Any

import pytest

from cluster.bench.serve.bodies import Asked, page, request
from cluster.bench.serve.fuzz import called, complaint, documented, fuzzed
from cluster.bench.serve.rehearsal import Rehearsal
from serve_app.config import ServeConfig

PAGE = Asked("POST", "/v1/reasons", b"", ((b"content-type", b"application/json"),), b"{}")
PROBLEM = {"type": "t", "title": "t", "status": 422, "detail": "d", "code": "c", "request_id": "r", "retryable": False, "errors": []}
JSON = {"content-type": "application/json"}


def test_no_request_breaks_the_app_and_every_answer_is_of_its_schema() -> None:
    found = asyncio.run(fuzzed(150, seed=1))
    assert found.wrong == []
    assert found.valid > 0.3 * 150
    assert {"200", "400", "415", "422"} <= set(found.statuses)
    assert found.sources["model"] > found.sources["error"]


def test_the_same_seed_asks_the_same() -> None:
    first, again = ([request(random.Random(f"1 {number}")) for number in range(50)] for _ in range(2))
    assert first == again
    assert len({one.body for one in first}) > 45


def test_most_pages_are_valid_before_anything_is_changed() -> None:
    async def run() -> list[int]:
        async with Rehearsal(ServeConfig()) as rehearsal:
            bodies = [json.dumps(page(random.Random(number))).encode() for number in range(40)]
            return [(await called(rehearsal.app, Asked("POST", PAGE.path, b"", PAGE.headers, body)))[0] for body in bodies]

    assert asyncio.run(run()).count(200) >= 36


@pytest.mark.parametrize(
    ("status", "headers", "body", "told"),
    [
        (500, JSON, {}, "status 500"),
        (418, JSON, {}, "not in the document"),
        (200, JSON, {"request_id": "r"}, "Field required"),
        (422, JSON, PROBLEM | {"status": 400}, "the problem's status is another"),
        (200, JSON, {"request_id": "r", "bundle_id": "b", "policy_version": "p", "degraded": False, "items": [], "more": 1}, "does not"),
    ],
)
def test_what_should_not_be_answered_is_noticed(status: int, headers: dict[str, str], body: Any, told: str) -> None:
    assert told in str(complaint(PAGE, status, headers, json.dumps(body).encode(), documented()))
