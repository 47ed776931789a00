"""Another policy comes while pages are answered, on the whole graph in one process: a page is judged by one, and none is shown what the
new one forbids."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from common.artifacts.registry import Registry
from common.artifacts.signing import generate_private_key
from common.artifacts.storage import open_storage
from common.packs.lexicon import Lexicon
from common.packs.load import load_pack
from common.packs.policy import ALIAS, publish_policy
from common.packs.schema import Pack
from serve_app.telemetry.metrics import BUNDLE_INFO, POLICY_REFUSED

SHOP = load_pack("shop")
WHY: dict[str, Any] = {"reason": "why", "by": "mei", "at": datetime(2026, 11, 30, tzinfo=UTC)}
SOON_S = 30


def forbidding(phrase: str, *, scope: tuple[str, ...] = ("all",)) -> Pack:
    """The shop's policy with one rule more."""
    rule = {
        "id": "house-style",
        "level": "block",
        "scope": scope,
        "basis": "店铺规范",
        "why": "不说",
        "patterns": [phrase],
        "refused": [phrase],
    }
    lexicon = SHOP.lexicon.model_dump()
    parts = {name: getattr(SHOP, name) for name in Pack.model_fields}
    return Pack.model_validate(parts | {"lexicon": Lexicon.model_validate(lexicon | {"rules": (*lexicon["rules"], rule)})})


STRICT = forbidding("随时拿起来")


@pytest.fixture
def store(tmp_path: Path) -> Registry:
    return Registry(open_storage(tmp_path / "registry"))


@pytest.fixture
def client(graph: Callable[..., TestClient], store: Registry, tmp_path: Path) -> TestClient:
    (tmp_path / "private.pem").write_text(generate_private_key())
    return graph(
        policy={"at": str(tmp_path / "registry"), "every_s": 0.05},
        cache={"max_entries": 10},
        signing={"key": str(tmp_path / "private.pem")},
    )


def publish(store: Registry, pack: Pack) -> None:
    store.promote(ALIAS, publish_policy(store, pack), **WHY)


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def in_force(client: TestClient) -> str:
    return str(client.get("/v1/models").json()["models"][0]["policy_version"])


def ask(client: TestClient, *items: dict[str, Any]) -> dict[str, Any]:
    """The answer, every item of which is signed as it stands."""
    answer = client.post("/v1/reasons", json={"items": items}, headers={"X-Deadline-Ms": "30000"}).json()
    assert all(one["valid"] for one in client.post("/v1/reasons:verify", json=answer).json()["items"])
    return dict(answer)


def told(answer: dict[str, Any]) -> tuple[str, str]:
    return answer["policy_version"], answer["items"][0]["source"]


def test_what_is_published_judges_the_next_page_and_what_was_kept_is_not_shown_again(
    client: TestClient, store: Registry, earbuds: dict[str, Any], recorded: Any
) -> None:
    assert [told(ask(client, earbuds)) for _ in range(2)] == [(SHOP.policy_version, "model"), (SHOP.policy_version, "cache")]
    publish(store, STRICT)
    until(lambda: in_force(client) == STRICT.policy_version)
    answer = ask(client, earbuds)
    assert told(answer) == (STRICT.policy_version, "template")
    assert "随时拿起来" not in answer["items"][0]["text"]
    until(lambda: len(client.ingress.store._entries) == 0)  # type: ignore[attr-defined]
    assert {policy: value for (_, policy), value in recorded.of(BUNDLE_INFO).items()} == {SHOP.policy_version: 0, STRICT.policy_version: 1}
    store.promote(ALIAS, publish_policy(store, SHOP), **WHY)
    until(lambda: in_force(client) == SHOP.policy_version)
    assert told(ask(client, earbuds)) == (SHOP.policy_version, "model")


def test_a_page_that_has_begun_is_judged_to_its_end_by_the_policy_that_it_began_with(
    client: TestClient, store: Registry, earbuds: dict[str, Any], tiny_bundle: Any
) -> None:
    hops, detailed = client.ingress.hops, earbuds | {"controls": {"style": "detailed"}}  # type: ignore[attr-defined]
    write = hops.write

    async def meanwhile(*words: Any, **more: Any) -> Any:
        hops.write = write
        written = await write(*words, **more)
        publish(store, forbidding("蓝牙耳机|" + tiny_bundle.sentence[:6]))
        end_s = time.monotonic() + SOON_S
        while client.ingress.page.live.pack.policy_version == SHOP.policy_version:  # type: ignore[attr-defined]
            assert time.monotonic() < end_s
            await asyncio.sleep(0.02)
        return written

    hops.write = meanwhile
    begun = ask(client, earbuds, detailed)
    assert begun["policy_version"] == SHOP.policy_version != in_force(client)
    assert [item["source"] for item in begun["items"]] == ["model", "template"]
    assert "蓝牙耳机" in begun["items"][1]["text"], "its template too was judged by the first policy"
    assert told(ask(client, earbuds)) == (in_force(client), "template")


def test_a_judge_that_is_behind_judges_by_the_policy_that_the_page_names(
    graph: Callable[..., TestClient], store: Registry, earbuds: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "private.pem").write_text(generate_private_key())
    client = graph(policy={"at": str(tmp_path / "registry"), "every_s": 60}, signing={"key": str(tmp_path / "private.pem")})
    ingress, quality = client.ingress, client.quality  # type: ignore[attr-defined]
    publish(store, STRICT)
    assert asyncio.run(ingress.policies.refresh())
    asyncio.run(ingress._new_policy())
    assert told(ask(client, earbuds)) == (STRICT.policy_version, "template")
    assert quality.policies.in_force.version is None
    asyncio.run(quality.policies.refresh())
    publish(store, SHOP)
    asyncio.run(quality.policies.refresh())
    assert told(ask(client, earbuds)) == (STRICT.policy_version, "template"), "nor does one that is ahead judge by its own"


def test_a_policy_that_is_refused_is_told_where_readiness_is_asked_and_pages_go_on(
    client: TestClient, store: Registry, earbuds: dict[str, Any], recorded: Any
) -> None:
    publish(store, forbidding("随时拿起来", scope=("哪里都没有",)))
    until(lambda: bool(client.get("/readyz").json()["warnings"]))
    answer = client.get("/readyz")
    (warning,) = answer.json()["warnings"]
    assert (answer.status_code, "refused here (bad_config)" in warning) == (200, True)
    until(lambda: bool(recorded.of(POLICY_REFUSED) == {(): 1}))
    assert told(ask(client, earbuds)) == (SHOP.policy_version, "model")
    publish(store, STRICT)
    until(lambda: in_force(client) == STRICT.policy_version)
    assert client.get("/readyz").json()["warnings"] == []
