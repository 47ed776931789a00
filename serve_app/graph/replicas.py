"""The deployments behind the ingress as Serve starts them: each reads its part of the bundle and answers one call a page.

Heavy imports stand in the constructors: the ingress and the builder import this file and no torch. Each replica finds the bundle by itself,
on its own node, and is ready only when its constructor is done: a generator whose canaries fail never takes a request.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from common.contract.wire import ItemReason, ReasonsRequest
from common.domain.context import Context
from common.domain.reason import Attribution, QualityVerdict
from common.errors import Unavailable
from common.generation.answer import Written
from common.generation.candidates import Candidate
from serve_app.autoscaling import SECONDS_A_SEQUENCE, SEQUENCES
from serve_app.config import ServeConfig
from serve_app.graph.admission import Tenant
from serve_app.state.live import check_policy, locate_bundle, read_live
from serve_app.state.policy import open_policies
from serve_app.telemetry.metrics import BUNDLE_LOAD_SECONDS, CANARY_NATS, ENGINE_SEQUENCE_SECONDS, ENGINE_SEQUENCES
from serve_app.telemetry.replica_log import discreet
from serve_app.telemetry.stages import open_telemetry
from serve_app.telemetry.tracing import Call

log = logging.getLogger("ray.serve")  # the logger whose records Serve writes to the replica's file, request id and all

LAST_WORDS_S = 0.2
"""For the errors of a replica that ends itself to reach their callers."""
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


class FeaturesReplica:
    def __init__(self, config: ServeConfig) -> None:
        from common.features.snapshot import Snapshot
        from serve_app.graph.features_deployment import Features

        discreet()
        self.telemetry = open_telemetry(config.telemetry, deployment="features")
        folder = locate_bundle(config.bundle, registry=config.registry)
        pack = read_live(folder, pack=config.pack, policy_version=config.policy_version).pack
        snapshot = Snapshot.open(config.snapshot) if config.snapshot else None
        self.policies = open_policies(config, pack, threshold=0.0, record=self.telemetry.record)
        self.features = Features(snapshot, checker=self.policies.in_force.checker, now=lambda: datetime.now(UTC))
        self.policies.follow_beside(every_s=config.policy.every_s)

    def contexts(self, request: ReasonsRequest, *, policy: str | None, call: Call) -> list[Context | ItemReason]:
        """Not async: Serve runs it in a thread, so that a user with a long past keeps no other page from being taken."""
        call.joined()
        with self.telemetry.span("contexts"):
            return self.features.contexts(request, checker=self.policies.named(policy))

    async def ready(self) -> bool:
        return True


class GeneratorReplica:
    def __init__(self, config: ServeConfig) -> None:
        import torch

        from common.bundle.load import load_bundle
        from common.language.base_model import has_bf16
        from serve_app.graph.generator_deployment import Generator

        began_s = time.monotonic()
        discreet()
        self.telemetry = open_telemetry(config.telemetry, deployment="generator")
        own = config.generator
        torch.set_num_threads(own.threads)
        folder = locate_bundle(config.bundle, registry=config.registry)
        dtype = own.dtype and DTYPES[own.dtype]
        if own.dtype == "bf16" and not has_bf16(own.on):
            dtype = DTYPES["fp32"]
            log.warning("generator.dtype: bf16 was asked for and this processor has none: it decodes in float32")
        bundle = load_bundle(folder, dtype=dtype, device=own.on, base=config.base, policy=config.pack)
        self.generator = Generator(bundle, slots=own.slots, max_len=own.max_len, engine=own.engine, compile=own.compile)
        self.generator.warm_up()
        log.info("bundle %s on %s: canaries passed: %s", bundle.manifest.bundle_id, own.on, bundle.canaries)
        self.telemetry.record(BUNDLE_LOAD_SECONDS, time.monotonic() - began_s)
        found = bundle.canaries
        assert found is not None
        for name, nats in (("trained", found.from_trained), ("base", found.from_base), ("allowed", found.tolerance)):
            self.telemetry.record(CANARY_NATS, nats, {"from": name})

    async def write(
        self, contexts: Sequence[Context], *, k: int, attempt: int, within_s: float | None, tenant: Tenant, call: Call
    ) -> list[Written]:
        call.joined()
        with self._with_engine(), self.telemetry.span("write"):
            return await self.generator.write(contexts, k=k, attempt=attempt, within_s=within_s, tenant=tenant)

    async def each(
        self, contexts: Sequence[Context], *, k: int, attempt: int, within_s: float | None, tenant: Tenant, call: Call
    ) -> AsyncIterator[tuple[int, Written]]:
        call.joined()
        with self._with_engine(), self.telemetry.span("write"):
            async for part in self.generator.each(contexts, k=k, attempt=attempt, within_s=within_s, tenant=tenant):
                yield part

    async def attributed(self, contexts: Sequence[Context], texts: Sequence[str], *, call: Call) -> list[tuple[Attribution, ...]]:
        call.joined()
        with self._with_engine(), self.telemetry.span("attribute"):
            return await self.generator.attributed(contexts, texts)

    @contextmanager
    def _with_engine(self) -> Iterator[None]:
        try:
            yield
        except Unavailable:
            if self.generator.thread.broken is not None:
                # Until a health check it would fail every page at once, and the quickest replica is sent the most of them.
                asyncio.get_running_loop().call_later(LAST_WORDS_S, os._exit, 1)
            raise

    async def ready(self) -> bool:
        self.check_health()
        return True

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What `serve_app.autoscaling` reads; Serve asks by itself."""
        return {SEQUENCES: float(self.generator.thread.num_running), SECONDS_A_SEQUENCE: self.generator.thread.seconds_a_sequence}

    def check_health(self) -> None:
        """Serve asks every five seconds, and replaces a replica that raises here."""
        self.telemetry.record(ENGINE_SEQUENCES, self.generator.thread.num_running)
        self.telemetry.record(ENGINE_SEQUENCE_SECONDS, self.generator.thread.seconds_a_sequence)
        if (broken := self.generator.thread.broken) is not None:
            raise Unavailable(f"the decode engine broke ({type(broken).__name__})")


class QualityReplica:
    def __init__(self, config: ServeConfig) -> None:
        import torch

        from common.bundle.load import load_bundle
        from serve_app.graph.quality_deployment import Quality, panel_of

        discreet()
        self.telemetry = open_telemetry(config.telemetry, deployment="quality")
        torch.set_num_threads(config.quality.threads)
        folder = locate_bundle(config.bundle, registry=config.registry)
        # The embedding as in training, whatever the generator has; the canaries are the generator's business, whose model answers.
        bundle = load_bundle(folder, base=config.base, verify=False, policy=config.pack)
        check_policy(bundle.pack, config.policy_version)
        self.policies = open_policies(config, bundle.pack, threshold=bundle.threshold, record=self.telemetry.record)
        self.quality = Quality(panel_of(bundle, self.policies.in_force.checker))
        self.policies.follow_beside(every_s=config.policy.every_s)

    def judge(
        self, contexts: Sequence[Context], candidates: Sequence[Sequence[Candidate]], *, policy: str | None, call: Call
    ) -> list[list[QualityVerdict]]:
        """Not async: Serve runs it in a thread, so that a page being judged keeps no other from being taken."""
        call.joined()
        with self.telemetry.span("judge"):
            return self.quality.judge(contexts, candidates, checker=self.policies.named(policy))

    async def ready(self) -> bool:
        return True
