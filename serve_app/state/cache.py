"""Accepted reasons, kept by what they were written from: in this process, or in a Redis that all replicas share.

A key covers everything that an answer depends on, so that what changed is simply not found; the time to live only bounds memory and how
long a text is repeated. Redis is not trusted: an entry is bound to its key by an HMAC, and one that is not is dropped. A store never fails:
what cannot be read is a miss, what cannot be written is not kept.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Protocol

from cachetools import TTLCache
from pydantic import ValidationError
from redis.asyncio import Redis

from common.artifacts.digest import canonical_json, sha256_bytes, sha256_file, tree_digest
from common.config import Frozen
from common.domain.context import Context
from common.domain.reason import QualityVerdict, Reason
from serve_app.config import CacheConfig
from serve_app.state.redis_link import RedisGone, RedisLink
from serve_app.state.secret import read_redis, read_secret
from serve_app.telemetry.metrics import Record, nothing

log = logging.getLogger("ray.serve")

PURGED_AT_ONCE = 500
COMMON = Path(__file__).resolve().parents[2] / "common"
Key = str


@cache
def code() -> str:
    """Of what judges a text and chooses among candidates: who mends a check shows nothing that passed the old one."""
    return tree_digest({path.relative_to(COMMON).as_posix(): sha256_file(path) for path in COMMON.rglob("*.py")})


class Kept(Frozen):
    """What is kept of a reason; its codes are its context's."""

    text: str
    verdict: QualityVerdict
    attempts: int


class ReasonStore(Protocol):
    async def get(self, keys: Sequence[Key]) -> dict[Key, Kept]: ...

    async def put(self, entries: Mapping[Key, Kept]) -> None: ...

    async def purge(self, gone: Callable[[Kept], bool]) -> int:
        """Forgets entries; how many."""

    async def close(self) -> None: ...


def cache_key(context: Context, *, tenant: str | None, bundle_id: str, policy_version: str, answering: str) -> Key:
    """`answering` names how answers are chosen (candidates, attempts). Of two tenants none learns what the other has asked."""
    told = {
        "code": code(),
        "tenant": tenant,
        "bundle": bundle_id,
        "policy": policy_version,
        "answering": answering,
        "context": context.model_dump(mode="json"),
    }
    return sha256_bytes(canonical_json(told))


class MemoryStore:
    """The least recently used entry goes when it is full."""

    def __init__(self, *, max_entries: int, lifetime_s: float, clock: Callable[[], float]) -> None:
        # As JSON: the objects of an entry take nine times its text.
        self._entries: TTLCache[Key, str] = TTLCache(max_entries, ttl=lifetime_s, timer=clock)

    async def get(self, keys: Sequence[Key]) -> dict[Key, Kept]:
        return {key: Kept.model_validate_json(told) for key in keys if (told := self._entries.get(key)) is not None}

    async def put(self, entries: Mapping[Key, Kept]) -> None:
        self._entries.update({key: entry.model_dump_json() for key, entry in entries.items()})

    async def purge(self, gone: Callable[[Kept], bool]) -> int:
        num_gone = 0
        for number, (key, told) in enumerate(list(self._entries.items())):
            if number % PURGED_AT_ONCE == 0:
                await asyncio.sleep(0)  # pages are answered meanwhile
            if gone(Kept.model_validate_json(told)):
                self._entries.pop(key, None)
                num_gone += 1
        return num_gone

    async def close(self) -> None:
        self._entries.clear()


class RedisStore:
    """Redis itself bounds its memory: `maxmemory` with `allkeys-lru`."""

    def __init__(self, url: str, *, secret: bytes, lifetime_s: float, clock: Callable[[], float], record: Record = nothing) -> None:
        self._link = RedisLink(url, use="cache", clock=clock, until_then="every item is written until it does", record=record)
        self._redis = Redis(connection_pool=self._link.pool)
        self._secret, self._lifetime_s = secret, lifetime_s

    async def get(self, keys: Sequence[Key]) -> dict[Key, Kept]:
        if not keys:
            return {}
        try:
            found = await self._link.ask(lambda: self._redis.mget([_named(key) for key in keys]))
        except RedisGone:
            return {}
        read = {key: self._opened(key, sealed) for key, sealed in zip(keys, found, strict=True) if isinstance(sealed, bytes)}
        return {key: kept for key, kept in read.items() if kept is not None}

    async def put(self, entries: Mapping[Key, Kept]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for key, kept in entries.items():
            pipe.set(_named(key), self._sealed(key, kept), px=int(self._lifetime_s * 1000))
        with suppress(RedisGone):
            await self._link.ask(pipe.execute)

    async def purge(self, gone: Callable[[Kept], bool]) -> int:
        num_gone, cursor = 0, 0
        with suppress(RedisGone):
            while True:
                cursor, names = await self._link.ask(partial(self._redis.scan, cursor, match=_named("*"), count=PURGED_AT_ONCE))
                keys = [name.decode().removeprefix(_named("")) for name in names if isinstance(name, bytes)]
                bad = [_named(key) for key, entry in (await self.get(keys)).items() if gone(entry)]
                if bad:
                    num_gone += await self._link.ask(partial(self._redis.delete, *bad))
                if not cursor:
                    break
        return num_gone

    async def close(self) -> None:
        await self._link.close()

    def _sealed(self, key: Key, kept: Kept) -> bytes:
        data = kept.model_dump_json().encode()
        return self._mac(key, data) + data

    def _opened(self, key: Key, sealed: bytes) -> Kept | None:
        mac, data = sealed[:32], sealed[32:]
        if hmac.compare_digest(mac, self._mac(key, data)):
            with suppress(ValidationError):
                return Kept.model_validate_json(data)
        log.warning("cache: an entry that was not written here was dropped")
        return None

    def _mac(self, key: Key, data: bytes) -> bytes:
        return hmac.digest(self._secret, key.encode() + data, "sha256")


def kept(reason: Reason) -> Kept:
    return Kept(text=reason.text, verdict=reason.verdict, attempts=reason.attempts)


def reason_of(found: Kept, context: Context) -> Reason:
    return Reason(text=found.text, source="cache", controls=context.controls, verdict=found.verdict, attempts=found.attempts)


def _named(key: Key) -> str:
    return f"liyou:reason:{key}"


def open_store(config: CacheConfig, *, clock: Callable[[], float] = time.monotonic, record: Record = nothing) -> ReasonStore | None:
    """None where nothing is kept. Raises ConfigError for a secret that cannot be read or is too short."""
    if config.redis is not None and config.secret is not None:
        secret = read_secret(config.secret, field="cache.secret")
        url = read_redis(config.redis, field="cache.redis")
        return RedisStore(url, secret=secret, lifetime_s=config.lifetime_s, clock=clock, record=record)
    return MemoryStore(max_entries=config.max_entries, lifetime_s=config.lifetime_s, clock=clock) if config.max_entries else None
