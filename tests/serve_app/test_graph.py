"""The served graph as it runs: a local Ray, the composed application, real HTTP."""

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from ray import serve

from cluster import LiyouClient
from cluster.commands.serve import RAY_ENVIRONMENT
from cluster.session import connect
from common.artifacts.registry import Registry
from common.artifacts.signing import Keyring, generate_private_key, public_key
from common.artifacts.storage import open_storage
from common.contract.audit import Shown, pseudonym, read_segment
from common.contract.wire import KeysResponse, ReasonsResponse
from common.errors import Unauthorised
from common.features.snapshot_build import build_snapshot
from common.packs.load import load_pack
from common.packs.policy import publish_policy
from serve_app.app import build
from serve_app.state.api_keys import digest, new_key

pytestmark = pytest.mark.ray

PORT = 18765
EARBUDS = {"product_id": "p1", "title": "静音蓝牙耳机", "category": "蓝牙耳机", "price": 299}
CONCISE = {"style": "concise"}
KEY = new_key()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key, a secret, and later the record of what was shown."""
    folder: Path = tmp_path_factory.mktemp("kept")
    (folder / "private.pem").write_text(generate_private_key())
    (folder / "keys.json").write_text(json.dumps({"keys": [{"name": "tests", "tenant": "shop", "sha256": digest(KEY)}]}))
    (folder / "secret").write_text("0123456789abcdef0123456789abcdef")
    return folder


@pytest.fixture(scope="module")
def client(tiny_bundle: Any, kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    raw: Path = tmp_path_factory.mktemp("raw")
    (raw / "products.jsonl").write_bytes(orjson.dumps({"product_id": "p2", "title": "轻云跑鞋", "category": "跑鞋"}))
    build_snapshot(raw, raw.parent / "snapshot")
    arguments = {
        "bundle": str(tiny_bundle.path),
        "snapshot": str(raw.parent / "snapshot"),
        "producer": "test shop",
        "answer": {"expected_s": 0.05, "varied": False},
        "cache": {"max_entries": 0},
        "signing": {"key": str(kept / "private.pem")},
        "doors": {"keys": str(kept / "keys.json")},
        "policy": {"at": str(kept / "registry"), "every_s": 0.2},
        "audit": {"to": str(kept / "record"), "secret": str(kept / "secret"), "flush_s": 300},
    }
    os.environ.update(RAY_ENVIRONMENT)
    with connect(num_cpus=2):
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": PORT})
        serve.run(build(arguments), name="liyou", route_prefix="/")
        with httpx2.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=60, headers={"Authorization": f"Bearer {KEY}"}) as client:
            yield client
        serve.shutdown()


def ask(client: httpx2.Client, *items: dict[str, Any], headers: dict[str, str] | None = None, **fields: Any) -> httpx2.Response:
    return client.post("/v1/reasons", json={"items": items} | fields, headers=headers)


def test_a_page_by_id_and_inline_is_written_by_the_model(client: httpx2.Client, tiny_bundle: Any) -> None:
    answer = ask(
        client, {"product": EARBUDS}, {"product_id": "p2"}, {"product_id": "gone"}, controls=CONCISE, headers={"X-Request-ID": "r-1"}
    )
    assert answer.status_code == 200
    body = answer.json()
    assert [item["product_id"] for item in body["items"]] == ["p1", "p2", "gone"]
    assert [item["source"] for item in body["items"]] == ["model", "model", None]
    assert body["items"][0]["text"] == tiny_bundle.sentence
    assert body["items"][0]["verdict"]["score"] is not None
    assert body["items"][2]["error"]["code"] == "product_not_found"
    assert (body["bundle_id"], body["request_id"]) == (tiny_bundle.bundle_id, "r-1")


def test_every_answer_carries_exactly_one_request_id_and_the_bodys_is_the_same(client: httpx2.Client) -> None:
    for headers in ({"X-Request-ID": "r-2"}, {}):
        for answer in (ask(client, {"product": EARBUDS}, headers=headers), client.get("/nowhere", headers=headers)):
            assert answer.headers.get_list("x-request-id") == [answer.json()["request_id"]]
            assert headers.get("X-Request-ID", answer.json()["request_id"]) == answer.json()["request_id"]


def test_a_request_id_that_is_no_text_is_replaced_by_one_that_is(client: httpx2.Client) -> None:
    answer = client.post("/v1/reasons", json={"items": [{"product": EARBUDS}]}, headers=[(b"X-Request-ID", b"\xc3(")])
    assert answer.status_code == 200
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_without_a_key_nobody_is_answered_and_the_client_brings_one(client: httpx2.Client) -> None:
    url = str(client.base_url)
    with LiyouClient(url, key=KEY) as known:
        assert known.reasons({"product": EARBUDS}, personalise=False).items[0].status == "ok"
    with LiyouClient(url) as unknown, pytest.raises(Unauthorised, match="expected Bearer KEY"):
        unknown.reasons({"product": EARBUDS})


def test_models_and_health_answer_over_http(client: httpx2.Client, tiny_bundle: Any) -> None:
    assert client.get("/v1/models").json()["models"][0]["bundle_id"] == tiny_bundle.bundle_id
    assert (client.get("/livez").status_code, client.get("/readyz").status_code) == (200, 200)


@pytest.mark.parametrize(
    ("content", "media", "status", "code"),
    [
        (b'{"items": "' + b"x" * 20_000_000 + b'"}', "application/json", 413, "too_large"),
        (b'{"items": [', "application/json", 400, "bad_request"),
        (b'{"items": [{"product_id": "p2"}]}', "text/plain", 415, "unsupported_media_type"),
        (orjson.dumps({"items": [{"product_id": "p2"}] * 51}), "application/json", 422, "bad_input"),
        (b'{"items": [{"product_id": "p2", "controls": {"style": "loud"}}]}', "application/json", 422, "bad_control"),
    ],
    ids=["20 MB", "broken JSON", "text/plain", "51 items", "bad code"],
)
def test_refusals_reach_the_caller_as_problems(client: httpx2.Client, content: bytes, media: str, status: int, code: str) -> None:
    answer = client.post("/v1/reasons", content=content, headers={"Content-Type": media})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_answer_is_signed_and_verifies_over_http_and_offline(client: httpx2.Client) -> None:
    answer = ask(client, {"product": EARBUDS}, {"product_id": "p2"}, controls=CONCISE).json()
    assert [one["valid"] for one in client.post("/v1/reasons:verify", json=answer).json()["items"]] == [True, True]
    answer["items"][1]["text"] += "。"
    page, keys = ReasonsResponse.model_validate(answer), KeysResponse.model_validate(client.get("/v1/keys").json())
    assert [one.code for one in LiyouClient.verify(page, keys=keys)] == [None, "signature_invalid"]


def test_a_policy_that_is_published_is_followed_by_every_replica_and_back(client: httpx2.Client, kept: Path, tiny_bundle: Any) -> None:
    store, shop = Registry(open_storage(kept / "registry")), load_pack("shop")
    why: dict[str, Any] = {"reason": "tests", "by": "tests", "at": datetime.now(UTC)}
    rule = shop.lexicon.rules[0].model_copy(update={"patterns": (tiny_bundle.sentence[:8],)})
    strict = shop.model_copy(update={"lexicon": shop.lexicon.model_copy(update={"rules": (rule,)})})
    for policy, source in ((strict, "template"), (shop, "model")):
        before = ask(client, {"product": EARBUDS}).json()["policy_version"]
        store.promote("policy", publish_policy(store, policy), **why)
        end_s = time.monotonic() + 60
        while (answer := ask(client, {"product": EARBUDS})).json()["policy_version"] == before:
            assert time.monotonic() < end_s, "the ingress did not follow"
            time.sleep(0.1)
        assert written_by(answer) == source, "judged by the policy that the answer names, whether or not quality has looked"
    assert before != shop.policy_version == answer.json()["policy_version"]
    assert client.get("/readyz").json()["warnings"] == []


def descendants(root: int) -> dict[int, str]:
    """Process id -> title of everything that this process started; others on the machine are none of our business."""
    parents, titles = {}, {}
    for folder in Path("/proc").iterdir():
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            titles[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
        except (ValueError, OSError):
            continue
    ours = {root}
    while grown := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= grown
    return {pid: titles[pid] for pid in ours if pid in titles}


def test_a_killed_generator_costs_no_page_and_the_model_comes_back(client: httpx2.Client) -> None:
    (victim,) = [pid for pid, title in descendants(os.getpid()).items() if "ServeReplica:liyou:generator" in title]
    os.kill(victim, signal.SIGKILL)
    answer = ask(client, {"product": EARBUDS}, headers={"X-Deadline-Ms": "1500"})
    assert answer.status_code == 200
    assert answer.json()["items"][0]["text"]
    end_s = time.monotonic() + 60
    while (source := written_by(ask(client, {"product": EARBUDS}))) != "model":
        assert time.monotonic() < end_s, f"the generator did not come back: {source}"
        time.sleep(0.5)


def test_a_replica_that_is_stopped_has_put_on_record_what_it_showed(client: httpx2.Client, kept: Path) -> None:
    """The last test: it ends the application."""
    answer = ask(client, {"product": EARBUDS}, user={"user_id": "u-77"}, headers={"X-Request-ID": "r-last"}).json()
    serve.delete("liyou")
    keys = Keyring.of_pems([public_key((kept / "private.pem").read_text())])
    (segment,) = (kept / "record").rglob("*.jsonl")
    entries, _ = read_segment(segment.read_bytes(), place=None, keys=keys)
    assert isinstance(entries[-1], Shown)
    assert (entries[-1].request_id, entries[-1].text) == ("r-last", answer["items"][0]["text"])
    assert entries[-1].user == pseudonym("u-77", tenant="shop", secret=(kept / "secret").read_bytes())
    assert "u-77" not in segment.read_text()


def written_by(answer: httpx2.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["items"][0]["source"])
