"""Who is let in, how often, and what the others are told."""

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from common.contract.deadline import Deadline
from common.contract.wire import ItemReason, ModelsResponse, ReasonsRequest, ReasonsResponse
from common.errors import ConfigError
from serve_app.http.api import create_api
from serve_app.http.doors import Caller, Doors
from serve_app.state import api_keys
from serve_app.state.api_keys import KeyStore, digest, new_key
from serve_app.state.counters import Counters

KEY, MODELS_ONLY, LATE, SANDBOX, SLOW, DAILY = (new_key() for _ in range(6))
NOW = datetime(2026, 11, 30, 8, 0, tzinfo=UTC).timestamp()


def entry(key: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "tenant": "shop", "sha256": digest(key), **fields}


KEYS = [
    entry(KEY, "storefront"),
    entry(MODELS_ONLY, "watcher", scopes=["models"]),
    entry(LATE, "old", expires="2026-11-30T07:59:59Z"),
    entry(SANDBOX, "tests", sandbox=True),
    entry(DAILY, "daily", limits={"items_per_minute": 6, "items_per_day": 7}),
    entry(SLOW, "slow", limits={"requests_per_minute": 3, "items_per_minute": 10}),
]


class Time:
    s = 0.0

    def __call__(self) -> float:
        return self.s


async def answer_page(
    request: ReasonsRequest, *, request_id: str, deadline: Deadline, caller: Caller, explain: bool = False
) -> ReasonsResponse:
    text = f"{caller.tenant} {caller.sandbox}"
    items = tuple(ItemReason(product_id=item.names, status="ok", text=text) for item in request.items)
    return ReasonsResponse(request_id=request_id, bundle_id="b1", policy_version="v1", degraded=False, items=items)


async def ready() -> str | None:
    return None


async def models() -> ModelsResponse:
    return ModelsResponse(models=())


def keep(path: Path, keys: list[dict[str, Any]]) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps({"keys": keys}))
    os.replace(beside, path)


@pytest.fixture
def moment() -> Time:
    return Time()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    keep(tmp_path / "keys.json", KEYS)
    return tmp_path / "keys.json"


@pytest.fixture
def client(file: Path, moment: Time) -> Iterator[TestClient]:
    counters = Counters(None, local_share=0.5, clock=time.monotonic, now=time.time)
    doors = Doors(KeyStore(file, clock=moment), counters, now=lambda: NOW)
    with TestClient(create_api(answer_page, ready=ready, models=models, doors=doors)) as client:
        yield client


def ask(client: TestClient, key: str | None, *, items: int = 1, header: str | None = None) -> Any:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    headers |= {} if header is None else {"authorization": header}
    return client.post("/v1/reasons", json={"items": [{"product_id": f"p{at}"} for at in range(items)]}, headers=headers)


def test_a_key_that_is_known_lets_its_tenant_in(client: TestClient) -> None:
    assert ask(client, KEY).json()["items"][0]["text"] == "shop False"
    assert ask(client, None, header=f"bearer {KEY}").status_code == 200
    assert ask(client, SANDBOX).json()["items"][0]["text"] == "shop True"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        KEY,
        f"Bearer {KEY}x",
        f"Bearer {LATE}",
        "Bearer " + "x" * 10_000,
        f"Bearer {digest(KEY)}",
    ],
    ids=["none", "empty", "no key", "blank", "basic", "bare", "another", "expired", "long", "the digest"],
)
def test_who_has_no_key_is_told_how_to_bring_one_and_nothing_else(client: TestClient, header: str | None) -> None:
    answer = ask(client, None, header=header)
    assert (answer.status_code, answer.json()["code"], answer.headers["www-authenticate"]) == (401, "unauthorised", "Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert KEY not in answer.text


def test_a_body_is_not_read_before_the_key_is(client: TestClient) -> None:
    assert client.post("/v1/reasons", content=b"{" * 2_000_000).status_code == 401


def test_a_key_does_what_its_scopes_say(client: TestClient) -> None:
    refused = ask(client, MODELS_ONLY)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "watcher: lacks the scope reasons" in refused.json()["detail"]
    assert client.get("/v1/models", headers={"authorization": f"Bearer {MODELS_ONLY}"}).status_code == 200
    assert client.get("/v1/models").status_code == 401


def test_health_keys_and_verification_need_no_key(client: TestClient) -> None:
    assert [client.get(path).status_code for path in ("/livez", "/readyz", "/v1/keys")] == [200, 200, 200]
    asked = {"bundle_id": "b", "policy_version": "v", "items": [{"product_id": "p", "status": "ok"}]}
    assert client.post("/v1/reasons:verify", json=asked).status_code == 200


def test_a_key_that_is_issued_or_revoked_counts_a_second_later_without_a_restart(client: TestClient, file: Path, moment: Time) -> None:
    another = new_key()
    assert ask(client, another).status_code == 401
    keep(file, [entry(another, "another")])
    moment.s += 1.1
    assert (ask(client, another).status_code, ask(client, KEY).status_code) == (200, 401)


def test_a_file_that_was_unreadable_for_a_while_is_read_when_it_is_not(file: Path, moment: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    store, read = KeyStore(file, clock=moment), api_keys.load_config
    monkeypatch.setattr(api_keys, "load_config", refused)
    keep(file, [])
    moment.s += 1.1
    assert store.find(KEY, now=datetime.fromtimestamp(NOW, UTC)) is not None
    monkeypatch.setattr(api_keys, "load_config", read)
    moment.s += 1.1
    assert store.find(KEY, now=datetime.fromtimestamp(NOW, UTC)) is None, "it was revoked meanwhile"


def refused(*_: object) -> None:
    raise ConfigError("no permission")


@pytest.mark.parametrize("text", ["{", '{"keys": [{"name": "x"}]}', None], ids=["no JSON", "no key", "gone"])
def test_a_file_that_became_unreadable_locks_nobody_out(client: TestClient, file: Path, moment: Time, text: str | None) -> None:
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    moment.s += 1.1
    assert ask(client, KEY).status_code == 200


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file"),
        ('{"keys": [{"name": "x", "tenant": "t", "sha256": "short"}]}', r"keys\.0\.sha256"),
        (json.dumps({"keys": [KEYS[0], KEYS[0] | {"sha256": "0" * 64}]}), "two are named storefront"),
        (json.dumps({"keys": [KEYS[0], KEYS[0] | {"name": "twin"}]}), "two have the same sha256"),
    ],
)
def test_a_file_that_is_wrong_at_the_start_is_refused_with_the_field(tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "keys.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        KeyStore(path, clock=Time())


def test_an_explained_item_counts_twice(client: TestClient) -> None:
    told = client.post("/v1/reasons?explain=true", json={"items": [{"product_id": "p1"}]}, headers={"Authorization": f"Bearer {SLOW}"})
    assert (told.status_code, told.headers["ratelimit-remaining"]) == (200, "8")


def test_what_is_left_is_told_and_more_than_that_is_429_with_when_to_come_again(client: TestClient) -> None:
    first = ask(client, SLOW)
    assert (first.headers["ratelimit-limit"], first.headers["ratelimit-remaining"]) == ("10", "9")
    assert ask(client, SLOW, items=6).status_code == 200
    refused = ask(client, SLOW, items=4)
    assert (refused.status_code, refused.json()["code"], refused.json()["retryable"]) == (429, "rate_limited", True)
    assert "items_per_minute is 10" in refused.json()["detail"]
    assert 1 <= int(refused.headers["retry-after"]) <= 120
    assert ask(client, KEY, items=50).status_code == 200, "another key has its own"
    assert "ratelimit-limit" not in ask(client, KEY).headers


def test_requests_count_whatever_their_bodies_are(client: TestClient) -> None:
    headers = {"authorization": f"Bearer {SLOW}", "content-type": "application/json"}
    statuses = [client.post("/v1/reasons", content=b"{", headers=headers).status_code for _ in range(3)]
    assert [*statuses, client.get("/v1/models", headers=headers).status_code] == [400, 400, 400, 429]


def test_what_is_refused_is_not_counted(client: TestClient) -> None:
    assert ask(client, DAILY, items=4).status_code == 200
    assert ask(client, DAILY, items=5).status_code == 429
    assert ask(client, DAILY, items=2).status_code == 200


def test_a_page_that_no_minute_allows_is_refused_for_good(client: TestClient) -> None:
    answer = ask(client, SLOW, items=11)
    assert (answer.status_code, answer.json()["retryable"]) == (403, False)
    assert "send smaller pages" in answer.json()["detail"]
