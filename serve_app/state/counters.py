"""How much a key has asked for lately: counted here, or in a Redis that all replicas share. When that is gone each allows less."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from redis.asyncio import ConnectionPool

log = logging.getLogger("ray.serve")

ANSWER_WITHIN_S = 0.1
"""A Redis that takes longer counts as gone."""
ASK_AGAIN_S = 5.0
CONNECTIONS = 1024
"""More than pages in flight at a replica: one that has to wait for a connection would take Redis for gone."""


@dataclass(frozen=True, slots=True)
class Taken:
    allowed: bool
    limit: int
    remaining: int
    reset_s: float
    """seconds until there is one more"""
    window_s: float

    def wait_s(self, cost: int) -> float:
        """Until `cost` may be taken, if nobody else takes any: what a window holds is given back evenly over the next."""
        missing = max(0, cost - self.remaining)
        return min(max(1.0, self.reset_s, missing * self.window_s / self.limit), 2 * self.window_s)


class Counters:
    """A sliding window (two fixed ones, the earlier weighed by what it still covers): a few bytes a limit, no burst at an edge."""

    def __init__(self, shared: "RedisCounter | None", *, local_share: float, clock: Callable[[], float], now: Callable[[], float]) -> None:
        """`shared` None: this process counts alone. `now` is the calendar's, which the windows are of."""
        self._redis = shared
        self._shared = None if shared is None else SlidingWindowCounterRateLimiter(shared.storage)
        self._local = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._local_share, self._clock, self._now = local_share, clock, now
        self._gone_until_s = 0.0

    async def look(self, limit: RateLimitItem, key: str, *, cost: int) -> Taken:
        """Whether `cost` could be taken now; counts nothing. Never fails."""
        return await self._asked(limit, key, cost, count=False)

    async def take(self, limit: RateLimitItem, key: str, *, cost: int) -> Taken:
        """Counts `cost` where the limit allows it, and says what is left. Never fails."""
        return await self._asked(limit, key, cost, count=True)

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.close()

    async def _asked(self, limit: RateLimitItem, key: str, cost: int, *, count: bool) -> Taken:
        if self._shared is None:
            return await self._ask(self._local, limit, key, cost, count=count)
        if self._clock() >= self._gone_until_s:
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    return await self._ask(self._shared, limit, key, cost, count=count)
            except (StorageError, TimeoutError) as error:
                log.error("counters: Redis does not answer (%s): limits are %.2f of themselves until it does", error, self._local_share)
                self._gone_until_s = self._clock() + ASK_AGAIN_S
        share = max(1, int(limit.amount * self._local_share))
        # A page larger than the share would never pass while Redis is gone: it takes all of it.
        return await self._ask(self._local, type(limit)(share, limit.multiples, limit.namespace), key, min(cost, share), count=count)

    async def _ask(self, counter: SlidingWindowCounterRateLimiter, limit: RateLimitItem, key: str, cost: int, *, count: bool) -> Taken:
        allowed = await (counter.hit if count else counter.test)(limit, key, cost=cost)
        left = await counter.get_window_stats(limit, key)
        return Taken(allowed, limit.amount, left.remaining, max(0.0, left.reset_time - self._now()), limit.get_expiry())


class RedisCounter:
    """A counter in Redis and the connections it keeps; it connects when it is first asked."""

    def __init__(self, url: str) -> None:
        """`url` is redis://HOST:PORT/NUMBER, with credentials where they are wanted."""
        self._pool = open_pool(url)
        self.storage = RedisStorage(
            f"async+{url}",
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix="liyou",
            connection_pool=self._pool,  # type: ignore[arg-type]  # it takes one, and says so in words
        )

    async def close(self) -> None:
        await self._pool.disconnect()


def open_pool(url: str) -> ConnectionPool:
    return ConnectionPool.from_url(url, socket_connect_timeout=ANSWER_WITHIN_S, socket_timeout=ANSWER_WITHIN_S, max_connections=CONNECTIONS)
