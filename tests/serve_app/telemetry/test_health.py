"""Ready means: pages can be answered, by the model that was trained. What is missing is said, all of it."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from common.bundle import load
from common.errors import CanaryFailed, Unavailable
from serve_app.config import ServeConfig
from serve_app.graph.replicas import GeneratorReplica


def test_ready_names_everything_that_is_missing_and_alive_stays_true(
    graph: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = graph()
    assert client.get("/readyz").json() == {"status": "ok", "warnings": []}

    async def lost() -> bool:
        raise Unavailable("no judge here")

    monkeypatch.setattr(client.generator.generator.thread, "_broken", RuntimeError("secret path"))  # type: ignore[attr-defined]
    monkeypatch.setattr(client.quality, "ready", lost)  # type: ignore[attr-defined]
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.json()["detail"] == "generator: the decode engine broke (RuntimeError); quality: no judge here"
    assert client.get("/livez").status_code == 200


def test_a_replica_whose_model_says_what_the_bare_base_says_never_takes_a_request(
    tiny_bundle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "merge_adapter", lambda *_: None)
    with pytest.raises(CanaryFailed, match="bare base"):
        GeneratorReplica(ServeConfig(bundle=str(tiny_bundle.path)))
