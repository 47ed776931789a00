"""One call to another deployment for a whole page: within the time that is left, once more elsewhere when a replica died.

Ray Serve never replays a request: what was in flight on a killed replica is lost unless its caller asks again. Our calls change nothing on
the other side, so asking again is safe. Only errors of common/errors.py come out of here.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, Protocol, TypeVar, cast

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException

from common.errors import LiyouError, Unavailable
from serve_app.telemetry.metrics import HOP_FAILURES, Record, nothing

log = logging.getLogger("ray.serve")

Answer = TypeVar("Answer", covariant=True)
ATTEMPTS = 2
TROUBLE = (TimeoutError, RayTaskError, RayActorError, RayServeException)
PAUSE_S = 0.05
"""Before the second attempt: long enough for a router to hear that a replica is gone, or for a full queue to move."""


class Response(Awaitable[Answer], Protocol[Answer]):
    """A DeploymentResponse, as far as it is used here."""

    def cancel(self) -> None: ...


class Parts(Protocol[Answer]):
    """A DeploymentResponseGenerator, as far as it is used here."""

    def __aiter__(self) -> AsyncIterator[Answer]: ...

    async def __anext__(self) -> Answer: ...

    def cancel(self) -> None: ...


class Hop(Generic[Answer]):
    """`start` sends the call and gives its response: `partial(handle.contexts.remote, request)`."""

    def __init__(self, name: str, *, timeout_s: float | None = None, record: Record = nothing) -> None:
        """`timeout_s`: longest that one attempt may take, None for all the time there is; a replica that hangs then costs only that."""
        self.name = name
        self.timeout_s = timeout_s
        self._record = record

    async def __call__(self, start: Callable[[], object], *, left_s: Callable[[], float]) -> Answer:
        """Raises the other side's LiyouError, or Unavailable when it died, hung, was full or broke twice or time ran out."""
        reason = "no time was left"
        for attempt in range(ATTEMPTS):
            if (left := left_s()) <= 0:
                break
            if attempt:
                await asyncio.sleep(min(PAUSE_S, left))
            try:
                return await self._once(cast(Response[Answer], start()), within_s=min(left_s(), self.timeout_s or left))
            except TROUBLE as error:
                reason = self._reason(error, attempt)
        raise Unavailable(f"{self.name}: {reason}; try again")

    async def each(self, start: Callable[[], object], *, left_s: Callable[[], float]) -> AsyncIterator[Answer]:
        """The parts of a response that streams, as they come; `start` asks again for those that did not. Raises as a call does."""
        reason = "no time was left"
        for attempt in range(ATTEMPTS):
            if (left := left_s()) <= 0:
                break
            if attempt:
                await asyncio.sleep(min(PAUSE_S, left))
            parts: Parts[Answer] | None = None
            try:
                parts = cast(Parts[Answer], start())
                while True:
                    async with asyncio.timeout(max(0.0, left_s())):
                        part = await anext(parts, None)
                    if part is None:
                        parts = None
                        return
                    yield part
            except TROUBLE as error:
                reason = self._reason(error, attempt)
            finally:
                if parts is not None:
                    parts.cancel()
        raise Unavailable(f"{self.name}: {reason}; try again")

    def _reason(self, error: Exception, attempt: int) -> str:
        """What to say of it when the next attempt fails as well. Raises what the other side says of the call itself."""
        if isinstance(error, TimeoutError):
            kind, reason = "timeout", "it did not answer in time"
        elif isinstance(error, RayTaskError):
            cause = error.cause
            if isinstance(cause, LiyouError) and not isinstance(cause, Unavailable):
                raise cause from error
            # Our own words; those of others are in the replica's log, as far as they may be.
            kind, reason = "failed", str(cause) if isinstance(cause, Unavailable) else f"it failed ({type(cause).__name__})"
        else:
            kind = "full" if isinstance(error, BackPressureError) else "lost"
            reason = f"no replica took the call ({type(error).__name__})"
        if kind != "timeout":
            log.warning("%s: %s, attempt %d", self.name, reason, attempt + 1)
        self._record(HOP_FAILURES, 1, {"deployment": self.name, "kind": kind})
        return reason

    async def _once(self, response: Response[Answer], *, within_s: float) -> Answer:
        async with asyncio.timeout(max(0.0, within_s)):
            try:
                return await response
            except asyncio.CancelledError:
                response.cancel()
                raise
