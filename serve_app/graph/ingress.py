"""What HTTP requests reach: the API, the page, and the calls to the other deployments. Holds no model and imports no torch."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import chain

from fastapi import FastAPI
from ray.serve.handle import DeploymentHandle

from common.contract.deadline import Deadline
from common.contract.takedown import Standing
from common.contract.wire import ItemReason, ModelsResponse, ReasonsRequest, ReasonsResponse, WarmResponse
from common.domain.context import Context
from common.domain.reason import Attribution, QualityVerdict
from common.errors import Refused, Unavailable
from common.features.snapshot import Snapshot
from common.generation.answer import OVERLOADED, AnswerPolicy, Written
from common.generation.candidates import Candidate
from serve_app.config import AnswerConfig, ServeConfig
from serve_app.graph.admission import Tenant
from serve_app.graph.cached import Cached
from serve_app.graph.hop import Hop
from serve_app.graph.page import LeftS, Page
from serve_app.http.api import create_api
from serve_app.http.doors import Caller, open_doors
from serve_app.http.lines import TellItem
from serve_app.http.traffic import Press, Traffic
from serve_app.state.audit import open_audit
from serve_app.state.cache import open_store
from serve_app.state.following import follow
from serve_app.state.keys import read_keys
from serve_app.state.live import Live, locate_bundle, read_live
from serve_app.state.policy import open_policies
from serve_app.state.takedown import open_takedowns
from serve_app.telemetry.counting import count_answer, count_verdicts
from serve_app.telemetry.metrics import BUNDLE_INFO, DEADLINE_LEFT
from serve_app.telemetry.replica_log import discreet
from serve_app.telemetry.stages import Telemetry, open_telemetry
from serve_app.telemetry.tracing import Call
from serve_app.web.shelf import Shelf
from serve_app.web.storefront import storefront

log = logging.getLogger("ray.serve")
Handle = DeploymentHandle[object]
READY_TIMEOUT_S = 2.0


class Ingress:
    """`features`, `generator` and `quality` are handles; the app is built in the replica, from `__serve_build_asgi_app__`."""

    def __init__(self, config: ServeConfig, features: Handle, generator: Handle, quality: Handle) -> None:
        discreet()
        self.config = config
        self.telemetry = open_telemetry(config.telemetry, deployment="api")
        self.traffic = Traffic(self.telemetry.record, press=Press(config.http.busy))
        folder = locate_bundle(config.bundle, registry=config.registry)
        live = read_live(folder, pack=config.pack, policy_version=config.policy_version)
        self.hops = HandleHops(config, features, generator, quality, telemetry=self.telemetry)
        voucher, self.keys = read_keys(config.signing)
        self.audit = open_audit(config.audit, signer=voucher.signer if voucher else None, record=self.telemetry.record)
        self.doors = open_doors(config.doors, record=self.telemetry.record)
        self.store = open_store(config.cache, record=self.telemetry.record)
        self.takedowns = open_takedowns(config.takedowns)
        self.policies = open_policies(config, live.pack, threshold=live.manifest.threshold, record=self.telemetry.record)
        self.page = Page(
            live=live,
            hops=self.hops,
            checker=self.policies.in_force.checker,
            policy=policy_of(live, config.answer),
            varied=config.answer.varied,
            producer=config.producer,
            clock=time.monotonic,
            voucher=voucher,
            cached=Cached(self.store, self.telemetry) if self.store else None,
            standing=self._standing,
            telemetry=self.telemetry,
        )
        self._begin_under_policy()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Serve's proxy echoes the request id itself, hence `echo_request_id=False`."""
        app = create_api(
            self.answer,
            warm_page=self.warm,
            ready=self.ready,
            warnings=self.warnings,
            models=self.models,
            limits=self.config.http,
            keys=self.keys,
            doors=self.doors,
            standing=self._standing,
            lifespan=self.running,
            echo_request_id=False,
            telemetry=self.telemetry,
            traffic=self.traffic,
        )
        if self.config.demo and self.config.snapshot:
            app.include_router(storefront(Shelf(Snapshot.open(self.config.snapshot), self.page.live.pack.vocabulary), doors=self.doors))
        return app

    async def answer(
        self,
        request: ReasonsRequest,
        *,
        request_id: str,
        deadline: Deadline,
        caller: Caller,
        explain: bool = False,
        tell: TellItem | None = None,
    ) -> ReasonsResponse:
        page = self.page
        ask = partial(
            page.answer,
            request,
            request_id=request_id,
            deadline=deadline,
            tenant=caller.tenant,
            sandbox=caller.sandbox,
            explain=explain,
        )
        if tell is None:
            answer = await ask()
            self._note(request, answer, deadline=deadline, caller=caller)
            return answer
        told: list[ItemReason] = []

        def telling(at: int, item: ItemReason) -> None:
            told.append(item)
            tell(at, item)

        try:
            return await ask(tell=telling)
        finally:  # a page that is broken off was shown as far as it was told
            self._note(request, page.response(told, request_id=request_id), deadline=deadline, caller=caller)

    async def warm(self, request: ReasonsRequest, *, request_id: str, deadline: Deadline, caller: Caller) -> WarmResponse:
        """Raises Refused where nothing is kept."""
        if self.store is None:
            raise Refused("nothing is kept here, cache.max_entries is 0; there is nothing to write ahead for")
        answer = await self.page.answer(
            request, request_id=request_id, deadline=deadline, tenant=caller.tenant, sandbox=caller.sandbox, warming=True
        )
        sources = [item.source for item in answer.items]
        return WarmResponse(
            request_id=request_id,
            bundle_id=answer.bundle_id,
            policy_version=answer.policy_version,
            num_items=len(sources),
            written=sources.count("model"),
            kept=sources.count("cache"),
            failed=len(sources) - sources.count("model") - sources.count("cache"),
        )

    def _note(self, request: ReasonsRequest, answer: ReasonsResponse, *, deadline: Deadline, caller: Caller) -> None:
        self.telemetry.record(DEADLINE_LEFT, deadline.left_s(now_s=time.monotonic()))
        count_answer(self.telemetry.record, answer)
        if any(item.degraded == OVERLOADED for item in answer.items):
            self.traffic.press.crowded()
        if self.audit is not None and not caller.sandbox:
            self.audit.note(request, answer, tenant=caller.tenant)

    @asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        """Serve leaves it before it stops a replica: what was shown is on record before that is gone."""
        audit = self.audit
        auditing = asyncio.create_task(audit.run(every_s=self.config.audit.flush_s)) if audit else None
        following = [asyncio.create_task(one) for one in self._followed()]
        yield
        for one in following:
            one.cancel()
        if audit is not None and auditing is not None:
            auditing.cancel()
            await audit.close()
        await self.doors.close()
        if self.store is not None:
            await self.store.close()
        await asyncio.to_thread(self.telemetry.close)

    def _followed(self) -> Iterator[Coroutine[None, None, None]]:
        yield self.traffic.press.watch()
        if self.takedowns:
            yield follow("takedowns", self.takedowns.refresh, every_s=self.config.takedowns.every_s, on_new=self._purge)
        if self.policies.followed:
            yield follow("policy", self.policies.refresh, every_s=self.config.policy.every_s, on_new=self._new_policy)

    async def drain(self, *, within_s: float) -> int:
        """Who deploys us asks it before it stops us: how many requests are still inside then."""
        return await self.traffic.drain(within_s=within_s)

    def _standing(self) -> Standing:
        return self.takedowns.standing if self.takedowns else Standing()

    async def _purge(self) -> None:
        """What is kept is looked at before it is shown in any case; this is for what must not be kept either."""
        standing = self._standing()
        if self.store is None or not standing.has("phrase"):
            return
        if gone := await self.store.purge(lambda kept: standing.of_text(kept.text) is not None):
            log.warning("takedowns: %d texts were taken out of the cache", gone)

    def _begin_under_policy(self) -> None:
        """Pages that begin from now on; those that have begun are judged to their end by the policy that they began with."""
        now, live = self.policies.in_force, self.page.live
        bundle = {"bundle": live.manifest.bundle_id}
        self.telemetry.record(BUNDLE_INFO, 0, bundle | {"policy": live.pack.policy_version})
        self.telemetry.record(BUNDLE_INFO, 1, bundle | {"policy": now.checker.pack.policy_version})
        self.page = replace(self.page, live=replace(live, pack=now.checker.pack, policy=now.version), checker=now.checker)

    async def _new_policy(self) -> None:
        """What the one before let through is under other keys, and never found; nor does it have to be kept. A Redis may hold what others
        judge by policies of their own: that stays."""
        before = self.page.live.pack.policy_version
        self._begin_under_policy()
        if self.store is not None and self.page.live.pack.policy_version != before:
            gone = await self.store.purge(lambda kept: kept.verdict.policy_version == before)
            log.warning("policy: %d texts of %s were taken out of the cache", gone, before)

    def warnings(self) -> list[str]:
        """What is not as it should be, though pages are answered."""
        return [self.policies.refused] if self.policies.refused else []

    async def ready(self) -> str | None:
        end_s = time.monotonic() + READY_TIMEOUT_S
        try:
            await self.hops.ready(left_s=lambda: end_s - time.monotonic())
        except Unavailable as error:
            return str(error)
        return None

    async def models(self) -> ModelsResponse:
        return ModelsResponse(models=(self.page.live.card(),))


def policy_of(live: Live, config: AnswerConfig) -> AnswerPolicy:
    """As the bundle was evaluated, but for what the configuration overrides."""
    answering = live.manifest.answering
    policy = AnswerPolicy(
        k=config.k or answering.k,
        max_attempts=config.max_attempts or answering.max_attempts,
        reserve_s=config.reserve_s,
    )
    return policy if config.expected_s is None else replace(policy, expected_s=config.expected_s)


class HandleHops:
    """Calls to the other deployments, one a page."""

    def __init__(self, config: ServeConfig, features: Handle, generator: Handle, quality: Handle, *, telemetry: Telemetry) -> None:
        self.features, self.generator, self.quality = features, generator, quality
        self.judge_s = config.answer.judge_s
        self.telemetry, record = telemetry, telemetry.record
        self._features = Hop[list[Context | ItemReason]]("features", timeout_s=config.features.timeout_s, record=record)
        self._generator = Hop[list[Written]]("generator", record=record)
        self._streaming = Hop[tuple[int, Written]]("generator", record=record)
        self._attributed = Hop[list[tuple[Attribution, ...]]]("generator", record=record)
        self._quality = Hop[list[list[QualityVerdict]]]("quality", record=record)
        self._ready = [
            (Hop[bool](name, timeout_s=READY_TIMEOUT_S), handle)
            for name, handle in (("features", features), ("generator", generator), ("quality", quality))
        ]

    async def contexts(self, request: ReasonsRequest, *, policy: str | None, left_s: LeftS) -> list[Context | ItemReason]:
        with self.telemetry.stage("features"):
            return await self._features(partial(self.features.contexts.remote, request, policy=policy, call=Call.current()), left_s=left_s)

    async def write(self, contexts: Sequence[Context], *, k: int, attempt: int, tenant: Tenant, left_s: LeftS) -> list[Written]:
        """The generator gives back what it has in time for judging; a call of its own time limit would lose it."""

        def start() -> object:
            return self.generator.write.remote(contexts, k=k, attempt=attempt, **self._asked(tenant, left_s))

        with self.telemetry.stage("generate"):
            return await self._generator(start, left_s=left_s)

    async def each(
        self, contexts: Sequence[Context], *, k: int, attempt: int, tenant: Tenant, left_s: LeftS
    ) -> AsyncIterator[tuple[int, Written]]:
        open_at = list(range(len(contexts)))
        streaming, asked = self.generator.options(stream=True), open_at

        def start() -> object:
            nonlocal asked
            asked = list(open_at)
            return streaming.each.remote([contexts[at] for at in asked], k=k, attempt=attempt, **self._asked(tenant, left_s))

        with self.telemetry.stage("generate"):
            async for at, written in self._streaming.each(start, left_s=left_s):
                open_at.remove(asked[at])
                yield asked[at], written

    def _asked(self, tenant: Tenant, left_s: LeftS) -> dict[str, object]:
        return {"within_s": max(0.0, left_s() - self.judge_s), "tenant": tenant, "call": Call.current()}

    async def judge(
        self, contexts: Sequence[Context], candidates: Sequence[Sequence[Candidate]], *, policy: str | None, left_s: LeftS
    ) -> list[list[QualityVerdict]]:
        with self.telemetry.stage("judge"):
            ask = partial(self.quality.judge.remote, contexts, candidates, policy=policy, call=Call.current())
            verdicts = await self._quality(ask, left_s=left_s)
        count_verdicts(self.telemetry.record, chain.from_iterable(verdicts))
        return verdicts

    async def attributed(self, contexts: Sequence[Context], texts: Sequence[str], *, left_s: LeftS) -> list[tuple[Attribution, ...]]:
        with self.telemetry.stage("attribute"):
            return await self._attributed(partial(self.generator.attributed.remote, contexts, texts, call=Call.current()), left_s=left_s)

    async def ready(self, *, left_s: LeftS) -> bool:
        """Raises Unavailable that names all that do not answer."""
        asked = (hop(handle.ready.remote, left_s=left_s) for hop, handle in self._ready)
        told = await asyncio.gather(*asked, return_exceptions=True)
        if missing := [str(error).removesuffix("; try again") for error in told if isinstance(error, BaseException)]:
            raise Unavailable("; ".join(missing))
        return True
