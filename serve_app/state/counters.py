"""How much a key has asked for lately: counted here, or in a Redis that all replicas share. When that is gone each allows less.

Neither counts by this machine's calendar: when that is set, no key has its limit twice and none is kept waiting.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from serve_app.state.redis_link import RedisGone, RedisLink


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

    def __init__(self, shared: RedisLink | None, *, local_share: float, clock: Callable[[], float], now: Callable[[], float]) -> None:
        """`shared` None: this process counts alone, by `clock`, which is never set. `now` is the calendar's, in which Redis is read."""
        self._link = shared
        self._shared = None if shared is None else SlidingWindowCounterRateLimiter(storage_in(shared))
        self._local = _Windows(clock)
        self._local_share, self._now = local_share, now

    async def look(self, limit: RateLimitItem, key: str, *, cost: int) -> Taken:
        """Whether `cost` could be taken now; counts nothing. Never fails."""
        return await self._asked(limit, key, cost, count=False)

    async def take(self, limit: RateLimitItem, key: str, *, cost: int) -> Taken:
        """Counts `cost` where the limit allows it, and says what is left. Never fails."""
        return await self._asked(limit, key, cost, count=True)

    async def close(self) -> None:
        if self._link is not None:
            await self._link.close()

    async def _asked(self, limit: RateLimitItem, key: str, cost: int, *, count: bool) -> Taken:
        if self._link is None or self._shared is None:
            return self._local.ask(limit, key, cost, count=count)
        with suppress(RedisGone):
            return await self._link.ask(partial(self._ask_redis, self._shared, limit, key, cost, count=count))
        share = max(1, int(limit.amount * self._local_share))
        # A page larger than the share would never pass while Redis is gone: it takes all of it.
        return self._local.ask(type(limit)(share, limit.multiples, limit.namespace), key, min(cost, share), count=count)

    async def _ask_redis(
        self, counter: SlidingWindowCounterRateLimiter, limit: RateLimitItem, key: str, cost: int, *, count: bool
    ) -> Taken:
        allowed = await (counter.hit if count else counter.test)(limit, key, cost=cost)
        left = await counter.get_window_stats(limit, key)
        return Taken(allowed, limit.amount, left.remaining, max(0.0, left.reset_time - self._now()), limit.get_expiry())


class _Windows:
    """Of this process. Never emptied: there are as many as keys have limits."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._taken: dict[str, tuple[float, int, int]] = {}
        """number of a window, what was taken in the one before, and in it"""

    def ask(self, limit: RateLimitItem, key: str, cost: int, *, count: bool) -> Taken:
        window_s, name = limit.get_expiry(), limit.key_for(key)
        number, into_s = divmod(self._clock(), window_s)
        then, before, taken = self._taken.get(name, (number, 0, 0))
        if then != number:
            before, taken = taken if then == number - 1 else 0, 0
        left_s = window_s - into_s
        weighed = math.floor(before * left_s / window_s) + taken
        if (allowed := weighed + cost <= limit.amount) and count:
            self._taken[name] = number, before, taken + cost
            weighed, taken = weighed + cost, taken + cost
        reset_s = min(left_s % (window_s / before) if before else math.inf, left_s if taken else math.inf)
        return Taken(allowed, limit.amount, max(0, limit.amount - weighed), reset_s if math.isfinite(reset_s) else 0.0, window_s)


def storage_in(link: RedisLink) -> RedisStorage:
    return RedisStorage(
        f"async+{link.url}",
        implementation="redispy",
        key_prefix="liyou",
        connection_pool=link.pool,  # type: ignore[arg-type]  # it takes one, and says so in words
    )
