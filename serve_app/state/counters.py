"""How much a key has asked for lately: counted here, or in a Redis that all replicas share. When that is gone each allows less."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from redis.asyncio import ConnectionPool

log = logging.getLogger("ray.serve")

ANSWER_WITHIN_S = 0.1
"""A Redis that takes longer counts as gone."""
ASK_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Taken:
    allowed: bool
    limit: int
    remaining: int
    reset_s: float
    """seconds until there is more"""


class Counters:
    """A sliding window (two fixed ones, the earlier weighed by what it still covers): a few bytes a limit, no burst at an edge."""

    def __init__(self, shared: Storage | None, *, local_share: float, clock: Callable[[], float], now: Callable[[], float]) -> None:
        """`shared` None: this process counts alone. `now` is the calendar's, which the windows are of."""
        self._shared = None if shared is None else SlidingWindowCounterRateLimiter(shared)
        self._local = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._local_share, self._clock, self._now = local_share, clock, now
        self._gone_until_s = 0.0

    async def take(self, limit: RateLimitItem, key: str, *, cost: int) -> Taken:
        """Counts `cost` where the limit allows it, and says what is left. Never fails."""
        if self._shared is None:
            return await self._take(self._local, limit, key, cost)
        if self._clock() >= self._gone_until_s:
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    return await self._take(self._shared, limit, key, cost)
            except (StorageError, TimeoutError) as error:
                log.error("counters: Redis does not answer (%s): limits are %.2f of themselves until it does", error, self._local_share)
                self._gone_until_s = self._clock() + ASK_AGAIN_S
        # A page larger than the share would never pass while Redis is gone.
        least = max(1, int(limit.amount * self._local_share), min(cost, limit.amount))
        return await self._take(self._local, type(limit)(least, limit.multiples, limit.namespace), key, cost)

    async def _take(self, counter: SlidingWindowCounterRateLimiter, limit: RateLimitItem, key: str, cost: int) -> Taken:
        allowed = await counter.hit(limit, key, cost=cost)
        left = await counter.get_window_stats(limit, key)
        return Taken(allowed, limit.amount, left.remaining, max(0.0, left.reset_time - self._now()))


class RedisCounter:
    """A counter in Redis and the connections it keeps; it connects when it is first asked."""

    def __init__(self, url: str) -> None:
        """`url` is redis://HOST:PORT/NUMBER, with credentials where they are wanted."""
        self._pool = ConnectionPool.from_url(url, socket_connect_timeout=ANSWER_WITHIN_S, socket_timeout=ANSWER_WITHIN_S)
        self.storage = RedisStorage(
            f"async+{url}",
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix="liyou",
            connection_pool=self._pool,  # type: ignore[arg-type]  # it takes one, and says so in words
        )

    async def close(self) -> None:
        await self._pool.disconnect()
