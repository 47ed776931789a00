"""Accepted reasons, kept by what they were written from: in this process, or in a Redis that all replicas share.

A key covers everything that an answer depends on, so that what changed is simply not found; the time to live only bounds memory and how
long a text is repeated. Redis is not trusted: an entry is bound to its key by an HMAC, and one that is not is dropped. A store never fails:
what cannot be read is a miss, what cannot be written is not kept.
"""

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import orjson
from cachetools import TTLCache
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.artifacts.digest import sha256_file, tree_digest
from common.config import Frozen
from common.domain.context import Context
from common.domain.reason import QualityVerdict, Reason
from serve_app.config import CacheConfig
from serve_app.state.counters import ANSWER_WITHIN_S, ASK_AGAIN_S, open_pool
from serve_app.state.secret import read_redis, read_secret

log = logging.getLogger("ray.serve")

COMMON = Path(__file__).resolve().parents[2] / "common"
CODE = tree_digest({path.relative_to(COMMON).as_posix(): sha256_file(path) for path in COMMON.rglob("*.py")})
"""Of what judges a text and chooses among candidates: who mends a check shows nothing that passed the old one."""
Key = str
Found = TypeVar("Found")


class Kept(Frozen):
    """What is kept of a reason; its codes are its context's."""

    text: str
    verdict: QualityVerdict
    attempts: int


class ReasonStore(Protocol):
    async def get(self, keys: Sequence[Key]) -> dict[Key, Kept]: ...

    async def put(self, entries: Mapping[Key, Kept]) -> None: ...

    async def close(self) -> None: ...


def cache_key(context: Context, *, tenant: str | None, bundle_id: str, policy_version: str, answering: str) -> Key:
    """`answering` names how answers are chosen (candidates, attempts). Of two tenants none learns what the other has asked."""
    told = {
        "code": CODE,
        "tenant": tenant,
        "bundle": bundle_id,
        "policy": policy_version,
        "answering": answering,
        "context": context.model_dump(mode="json"),
    }
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


class MemoryStore:
    """The least recently used entry goes when it is full."""

    def __init__(self, *, max_entries: int, lifetime_s: float, clock: Callable[[], float]) -> None:
        # As JSON: the objects of an entry take nine times its text.
        self._entries: TTLCache[Key, str] = TTLCache(max_entries, ttl=lifetime_s, timer=clock)

    async def get(self, keys: Sequence[Key]) -> dict[Key, Kept]:
        return {key: Kept.model_validate_json(told) for key in keys if (told := self._entries.get(key)) is not None}

    async def put(self, entries: Mapping[Key, Kept]) -> None:
        self._entries.update({key: entry.model_dump_json() for key, entry in entries.items()})

    async def close(self) -> None:
        self._entries.clear()


class RedisStore:
    """Redis itself bounds its memory: `maxmemory` with `allkeys-lru`."""

    def __init__(self, url: str, *, secret: bytes, lifetime_s: float, clock: Callable[[], float]) -> None:
        self._pool = open_pool(url)
        self._redis = Redis(connection_pool=self._pool)
        self._secret, self._lifetime_s, self._clock = secret, lifetime_s, clock
        self._gone_until_s = 0.0

    async def get(self, keys: Sequence[Key]) -> dict[Key, Kept]:
        if not keys:
            return {}
        nothing: list[bytes | str | None] = []
        found = await self._asked(lambda: self._redis.mget([_named(key) for key in keys]), otherwise=nothing)
        read = {key: self._opened(key, sealed) for key, sealed in zip(keys, found, strict=False) if isinstance(sealed, bytes)}
        return {key: kept for key, kept in read.items() if kept is not None}

    async def put(self, entries: Mapping[Key, Kept]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for key, kept in entries.items():
            pipe.set(_named(key), self._sealed(key, kept), px=int(self._lifetime_s * 1000))
        await self._asked(pipe.execute, otherwise=[])

    async def close(self) -> None:
        await self._pool.disconnect()

    async def _asked(self, ask: Callable[[], Awaitable[Found]], *, otherwise: Found) -> Found:
        if self._clock() < self._gone_until_s:
            return otherwise
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await ask()
        except (RedisError, OSError, TimeoutError) as error:
            log.error("cache: Redis does not answer (%s): every item is written until it does", error)
            self._gone_until_s = self._clock() + ASK_AGAIN_S
            return otherwise

    def _sealed(self, key: Key, kept: Kept) -> bytes:
        data = kept.model_dump_json().encode()
        return self._mac(key, data) + data

    def _opened(self, key: Key, sealed: bytes) -> Kept | None:
        mac, data = sealed[:32], sealed[32:]
        try:
            if hmac.compare_digest(mac, self._mac(key, data)):
                return Kept.model_validate_json(data)
        except ValidationError:
            pass
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


def open_store(config: CacheConfig, *, clock: Callable[[], float] = time.monotonic) -> ReasonStore | None:
    """None where nothing is kept. Raises ConfigError for a secret that cannot be read or is too short."""
    if config.redis is not None and config.secret is not None:
        secret = read_secret(config.secret, field="cache.secret")
        return RedisStore(read_redis(config.redis, field="cache.redis"), secret=secret, lifetime_s=config.lifetime_s, clock=clock)
    return MemoryStore(max_entries=config.max_entries, lifetime_s=config.lifetime_s, clock=clock) if config.max_entries else None
