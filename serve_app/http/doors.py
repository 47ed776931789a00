"""Who may come in and how often: the key of a request, its scope, its limits. Knows neither the body nor who answers."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from limits import RateLimitItemPerDay, RateLimitItemPerMinute

from common.errors import Forbidden, RateLimited, Unauthorised
from serve_app.config import DoorsConfig
from serve_app.state.api_keys import ApiKey, KeyStore, Scope
from serve_app.state.counters import Counters, RedisCounter, Taken

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

    def caller(self, authorization: str | None, *, scope: Scope) -> Caller:
        """Raises Unauthorised without a key that is known and valid now, Forbidden where it lacks the scope. Tells no key."""
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
        return Caller(key)

    async def charge(self, caller: Caller, *, items: int) -> Headers:
        """Counts a page. RateLimit headers of the limit that is nearest. Raises RateLimited, naming limit and when to come again."""
        if caller.key is None:
            return {}
        nearest: Taken | None = None
        for name, per, cost in (
            ("requests_per_minute", RateLimitItemPerMinute, 1),
            ("items_per_minute", RateLimitItemPerMinute, items),
            ("items_per_day", RateLimitItemPerDay, items),
        ):
            amount: int | None = getattr(caller.key.limits, name)
            if amount is None:
                continue
            if cost > amount:
                raise Forbidden(f"key {caller.key.name}: {cost} items at once are more than its {name}, {amount}; send smaller pages")
            taken = await self.counters.take(per(amount, namespace=name), caller.key.name, cost=cost)
            if not taken.allowed:
                after_s = max(1, math.ceil(taken.reset_s))
                raise RateLimited(f"key {caller.key.name}: {name} is {taken.limit}; come again in {after_s} s", retry_after_s=after_s)
            if nearest is None or taken.remaining / taken.limit < nearest.remaining / nearest.limit:
                nearest = taken
        return {} if nearest is None else headers(nearest)


def open_doors(config: DoorsConfig) -> Doors:
    """As a replica of `api` has them. Raises ConfigError for a file of keys that is none."""
    shared = RedisCounter(config.redis).storage if config.redis else None
    counters = Counters(shared, local_share=config.local_share, clock=time.monotonic, now=time.time)
    return Doors(KeyStore(Path(config.keys), clock=time.monotonic) if config.keys else None, counters, now=time.time)


def headers(taken: Taken) -> Headers:
    return {
        "RateLimit-Limit": str(taken.limit),
        "RateLimit-Remaining": str(taken.remaining),
        "RateLimit-Reset": str(math.ceil(taken.reset_s)),
    }
