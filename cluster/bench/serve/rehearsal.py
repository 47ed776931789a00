"""The served graph in one process, without Ray, model and discriminator: all else that a page costs and can go wrong in.

Everything between a body and an answer is what `liyou serve` runs: doors, features, checks, cache, signing. What the model would write
is a template's text and one that no check passes, so that items are accepted, rejected and alike as on a real page.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from common import starter
from common.domain.context import Context
from common.domain.reason import Attribution, QualityVerdict
from common.errors import Refused
from common.features.snapshot import Snapshot
from common.generation.answer import Written
from common.generation.candidates import Candidate
from common.generation.panel import Panel
from common.generation.template import fill_template
from common.quality.verdict import Checker
from serve_app.config import ServeConfig
from serve_app.graph.features_deployment import Features
from serve_app.graph.ingress import Ingress
from serve_app.graph.quality_deployment import Quality
from serve_app.state.live import locate_bundle, read_live

STARTER = str(Path(starter.__file__).parent / "bundle")
NONSENSE = "全球第一，包治百病。"


class Local:
    """A deployment's handle whose replica is an object of this process."""

    def __init__(self, replica: object, *, stream: bool = False) -> None:
        self._replica, self._stream = replica, stream

    def options(self, *, stream: bool) -> "Local":
        return Local(self._replica, stream=stream)

    def __getattr__(self, name: str) -> "_Method":
        return _Method(getattr(self._replica, name), stream=self._stream)


class _Method:
    def __init__(self, call: Callable[..., Any], *, stream: bool) -> None:
        self._call, self._stream = call, stream

    def remote(self, *args: object, **named: object) -> Any:
        if self._stream:
            return _Parts(self._call(*args, **named))
        made = self._call(*args, **named)
        return asyncio.ensure_future(made if isinstance(made, Awaitable) else _done(made))


async def _done(made: object) -> object:
    return made


class _Parts:
    """An async generator that can be cancelled as a response can."""

    def __init__(self, parts: AsyncIterator[object]) -> None:
        self._parts = parts

    def __aiter__(self) -> "_Parts":
        return self

    async def __anext__(self) -> object:
        return await anext(self._parts)

    def cancel(self) -> None:
        self._closing = asyncio.ensure_future(self._parts.aclose())  # type: ignore[attr-defined]


class Looking:
    def __init__(self, features: Features) -> None:
        self.features = features

    def contexts(self, request: Any, *, policy: str | None, call: object) -> Any:
        return self.features.contexts(request)

    async def ready(self) -> bool:
        return True


class Rehearsed:
    """Writes what a template says, and something worse."""

    def __init__(self, checker: Checker) -> None:
        self.checker = checker

    async def write(self, contexts: Sequence[Context], *, k: int, attempt: int, **_: object) -> list[Written]:
        return [[_candidate(text) for text in self._texts(one)] for one in contexts]

    async def each(self, contexts: Sequence[Context], *, k: int, attempt: int, **_: object) -> AsyncIterator[tuple[int, Written]]:
        for at, one in enumerate(contexts):
            yield at, [_candidate(text) for text in self._texts(one)]

    async def attributed(self, contexts: Sequence[Context], texts: Sequence[str], **_: object) -> list[tuple[Attribution, ...]]:
        return [() for _ in contexts]

    async def ready(self) -> bool:
        return True

    def _texts(self, context: Context) -> list[str]:
        try:
            return [fill_template(context, checker=self.checker)[0], NONSENSE]
        except Refused:
            return [NONSENSE]


def _candidate(text: str) -> Candidate:
    return Candidate(text=text, ids=(), num_tokens=len(text), mean_logprob=-1.0, min_logprob=-1.0, features=None)


class Judging:
    def __init__(self, quality: Quality) -> None:
        self.quality = quality

    def judge(
        self, contexts: Sequence[Context], candidates: Sequence[Sequence[Candidate]], *, policy: str | None, call: object
    ) -> list[list[QualityVerdict]]:
        return self.quality.judge(contexts, candidates)

    async def ready(self) -> bool:
        return True


class Rehearsal:
    """`async with Rehearsal(config) as rehearsal`: its `app` answers, its `ingress` is the real one."""

    def __init__(self, config: ServeConfig) -> None:
        config = config.model_copy(update={"bundle": config.bundle or STARTER})
        live = read_live(locate_bundle(config.bundle, registry=config.registry), pack=config.pack)
        checker = Checker(live.pack)
        snapshot = Snapshot.open(config.snapshot) if config.snapshot else None
        features = Features(snapshot, checker=checker, now=lambda: datetime.now(UTC))
        handles: Any = (Local(Looking(features)), Local(Rehearsed(checker)), Local(Judging(Quality(Panel(checker, None)))))
        self.ingress = Ingress(config, *handles)
        self.app: FastAPI = self.ingress.__serve_build_asgi_app__()
        self._running = AsyncExitStack()

    async def __aenter__(self) -> "Rehearsal":
        await self._running.enter_async_context(self.app.router.lifespan_context(self.app))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._running.aclose()
