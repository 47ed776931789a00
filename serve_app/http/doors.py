"""Who may come in and how often: the key of a request, its scope, its limits. Knows neither the body nor who answers."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute

from common.errors import Forbidden, RateLimited, Unauthorised
from serve_app.config import DoorsConfig
from serve_app.state.api_keys import ApiKey, KeyStore, Scope
from serve_app.state.counters import Counters, Taken
from serve_app.state.redis_link import RedisLink
from serve_app.state.secret import read_redis
from serve_app.telemetry.metrics import Record, nothing

MAX_HEADER = 256
Headers = dict[str, str]


@dataclass(frozen=True, slots=True)
class Caller:
    key: ApiKey | None = None
    """None: no keys are asked for"""

    @property
    def tenant(self) -> str | None:
        return self.key.tenant if self.key else None

    @property
    def sandbox(self) -> bool:
        return self.key is not None and self.key.sandbox


@dataclass(frozen=True, slots=True)
class Doors:
    """Open to anybody where `keys` is None."""

    keys: KeyStore | None
    counters: Counters
    now: Callable[[], float]

    async def enter(self, authorization: str | None, *, scope: Scope) -> Caller:
        """Counts the request, before its body is read. Raises Unauthorised without a key that is known and valid now, Forbidden where it
        lacks the scope, RateLimited. Tells no key."""
        if self.keys is None:
            return Caller()
        kind, _, given = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not given or len(given) > MAX_HEADER or not given.isascii():
            raise Unauthorised("Authorization: expected Bearer KEY, a key of this API")
        key = self.keys.find(given.strip(), now=datetime.fromtimestamp(self.now(), UTC))
        if key is None:
            raise Unauthorised("Authorization: the key is not known, or no longer")
        if scope not in key.scopes:
            raise Forbidden(f"key {key.name}: lacks the scope {scope}; it has {', '.join(key.scopes) or 'none'}")
        if key.limits.requests_per_minute is not None:
            await self._take(key, {"requests_per_minute": RateLimitItemPerMinute(key.limits.requests_per_minute)}, cost=1)
        return Caller(key)

    async def charge(self, caller: Caller, *, items: int) -> Headers:
        """Counts a page's items. RateLimit headers of the limit of which least is left. Raises RateLimited, naming the limit and when
        to come again, and counts nothing then; Forbidden where no time of waiting would help."""
        if caller.key is None:
            return {}
        of = caller.key.limits
        limits: dict[str, RateLimitItem] = {}
        if of.items_per_minute is not None:
            limits["items_per_minute"] = RateLimitItemPerMinute(of.items_per_minute)
        if of.items_per_day is not None:
            limits["items_per_day"] = RateLimitItemPerDay(of.items_per_day)
        for name, limit in limits.items():
            if items > limit.amount:
                raise Forbidden(f"key {caller.key.name}: {items} items at once are over its {name}, {limit.amount}; send smaller pages")
        taken = await self._take(caller.key, limits, cost=items)
        return headers(min(taken, key=lambda one: one.remaining / one.limit)) if taken else {}

    async def _take(self, key: ApiKey, limits: Mapping[str, RateLimitItem], *, cost: int) -> list[Taken]:
        for name, limit in limits.items():
            left = await self.counters.look(limit, f"{key.name} {name}", cost=cost)
            if not left.allowed:
                after_s = math.ceil(left.wait_s(cost))
                raise RateLimited(f"key {key.name}: {name} is {left.limit}; come again in {after_s} s", retry_after_s=after_s)
        return [await self.counters.take(limit, f"{key.name} {name}", cost=cost) for name, limit in limits.items()]

    async def close(self) -> None:
        await self.counters.close()


def open_doors(config: DoorsConfig, *, record: Record = nothing) -> Doors:
    """As a replica of `api` has them. Raises ConfigError for a file of keys that is none."""
    shared = None
    if config.redis:
        url, told = read_redis(config.redis, field="doors.redis"), f"limits are {config.local_share:.2f} of themselves until it does"
        shared = RedisLink(url, use="limits", clock=time.monotonic, until_then=told, record=record)
    counters = Counters(shared, local_share=config.local_share, clock=time.monotonic, now=time.time)
    return Doors(KeyStore(Path(config.keys), clock=time.monotonic) if config.keys else None, counters, now=time.time)


def headers(taken: Taken) -> Headers:
    return {
        "RateLimit-Limit": str(taken.limit),
        "RateLimit-Remaining": str(taken.remaining),
        "RateLimit-Reset": str(math.ceil(taken.reset_s)),
    }
