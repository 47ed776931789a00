"""A Redis that may be gone: asked for a tenth of a second, and then not for a while. Knows not what it keeps."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from serve_app.telemetry.metrics import REDIS_FAILURES, Record, nothing

log = logging.getLogger("ray.serve")

ANSWER_WITHIN_S = 0.1
"""A Redis that takes longer counts as gone."""
ASK_AGAIN_S = 5.0
CONNECTIONS = 1024
"""More than pages in flight at a replica: one that has to wait for a connection would take Redis for gone."""
Found = TypeVar("Found")


class RedisGone(Exception):
    """It did not answer, now or lately."""


class RedisLink:
    """Connects when it is first asked."""

    def __init__(self, url: str, *, use: str, clock: Callable[[], float], until_then: str, record: Record = nothing) -> None:
        """`url` is redis://HOST:PORT/NUMBER, with credentials where wanted; `use` names it in a metric, `until_then` tells the log what
        happens without it."""
        self.url, self._use, self._clock, self._until_then, self._record = url, use, clock, until_then, record
        timeouts = {"socket_connect_timeout": ANSWER_WITHIN_S, "socket_timeout": ANSWER_WITHIN_S}
        self.pool = ConnectionPool.from_url(url, max_connections=CONNECTIONS, **timeouts)
        self._gone_until_s = 0.0

    async def ask(self, call: Callable[[], Awaitable[Found]]) -> Found:
        """What `call` brings. Raises RedisGone, at once where it was gone within ASK_AGAIN_S."""
        if self._clock() < self._gone_until_s:
            raise RedisGone
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await call()
        except (RedisError, OSError, TimeoutError) as error:
            log.error("Redis does not answer (%s): %s", error, self._until_then)
            self._record(REDIS_FAILURES, 1, {"use": self._use})
            self._gone_until_s = self._clock() + ASK_AGAIN_S
            raise RedisGone from error

    async def close(self) -> None:
        await self.pool.disconnect()
