"""What a replica does beyond its deployment's own logic."""

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from common.errors import Unavailable
from serve_app.config import GeneratorConfig, ServeConfig
from serve_app.graph import replicas
from serve_app.graph.replicas import GeneratorReplica
from serve_app.telemetry.stages import OFF
from serve_app.telemetry.tracing import Call


@pytest.mark.parametrize("broken", [None, RuntimeError("out of memory")], ids=["busy", "broken"])
def test_a_replica_whose_engine_broke_ends_itself_and_one_that_is_busy_does_not(broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def write(*_: Any, **__: Any) -> None:
        raise Unavailable("no texts")

    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    monkeypatch.setattr(replicas, "LAST_WORDS_S", 0.0)
    replica = GeneratorReplica.__new__(GeneratorReplica)
    replica.telemetry = OFF
    replica.generator = SimpleNamespace(write=write, thread=SimpleNamespace(broken=broken))

    async def ask() -> None:
        with pytest.raises(Unavailable):
            await replica.write([], k=1, attempt=0, within_s=None, tenant=None, call=Call("r"))
        assert not exits, "its caller is told first"
        await asyncio.sleep(0.05)

    asyncio.run(ask())
    assert exits == ([1] if broken else [])


@pytest.mark.parametrize("hardware", [True, False])
def test_bf16_is_taken_where_the_processor_has_it(hardware: bool, tiny_bundle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.language.base_model.has_bf16", lambda device: hardware)
    replica = GeneratorReplica(ServeConfig(bundle=str(tiny_bundle.path), generator=GeneratorConfig(dtype="bf16")))
    replica.generator.close()
    assert replica.generator.bundle.language.model.dtype == (torch.bfloat16 if hardware else torch.float32)
