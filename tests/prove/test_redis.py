"""Limits and kept reasons in a real Redis, whole, tampered with, hanging and gone. Installs redis-server from Debian."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from limits import RateLimitItemPerMinute
from redis.asyncio import client

from cluster.bench.faults.redis_server import RedisServer, redis_server
from common.domain.reason import CheckResult, QualityVerdict
from serve_app.state.cache import Kept, RedisStore
from serve_app.state.counters import Counters
from serve_app.state.redis_link import RedisLink

pytestmark = pytest.mark.prove

TWENTY = RateLimitItemPerMinute(20, namespace="items_per_minute")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as running:
        yield running


@asynccontextmanager
async def replica(redis: RedisServer) -> AsyncIterator[Counters]:
    link = RedisLink(redis.url, use="limits", clock=time.monotonic, until_then="less")
    counters = Counters(link, local_share=0.25, clock=time.monotonic, now=time.time)
    yield counters
    await counters.close()


def test_two_replicas_share_a_keys_limit(redis: RedisServer) -> None:
    async def ask() -> list[bool]:
        async with replica(redis) as first, replica(redis) as second:
            return [(await one.take(TWENTY, "storefront", cost=8)).allowed for one in (first, second, first, second)]

    assert asyncio.run(ask()) == [True, True, False, False]


def test_while_redis_hangs_or_is_gone_each_replica_allows_its_share_and_no_page_waits(redis: RedisServer) -> None:
    async def ask() -> tuple[list[bool], list[float]]:
        took = []
        async with replica(redis) as one, replica(redis) as other:
            allowed = [(await one.take(TWENTY, "storefront", cost=1)).allowed]
            redis.hang()
            for _ in range(8):
                began = time.monotonic()
                allowed.append((await one.take(TWENTY, "storefront", cost=1)).allowed)
                took.append(time.monotonic() - began)
            redis.kill()
            allowed += [(await other.take(TWENTY, "storefront", cost=1)).allowed for _ in range(6)]
        return allowed, took

    allowed, took = asyncio.run(ask())
    assert allowed == [True] + [True] * 5 + [False] * 3 + [True] * 5 + [False]
    assert took[0] < 1, "the first waits for Redis no longer than it may"
    assert max(took[1:]) < 0.1, "the others do not ask it"


VERDICT = QualityVerdict(accepted=True, score=0.8, checks={"facts": CheckResult(name="facts", passed=True)})
ENTRIES = {f"{at:064x}": Kept(text=f"第{at}句。", verdict=VERDICT, attempts=1) for at in range(3)}
FIRST, SECOND, THIRD = ENTRIES


@asynccontextmanager
async def store(redis: RedisServer, *, secret: bytes = b"s" * 32, lifetime_s: float = 60) -> AsyncIterator[RedisStore]:
    opened = RedisStore(redis.url, secret=secret, lifetime_s=lifetime_s, clock=time.monotonic)
    yield opened
    await opened.close()


def test_what_one_replica_kept_another_finds_until_its_time_is_over(redis: RedisServer) -> None:
    async def use() -> list[object]:
        async with store(redis, lifetime_s=0.3) as one, store(redis) as other:
            await one.put(ENTRIES)
            found = [await other.get([FIRST, "f" * 64, THIRD]), await other.get([])]
            await asyncio.sleep(0.4)
            return [*found, await other.get(list(ENTRIES))]

    assert asyncio.run(use()) == [{FIRST: ENTRIES[FIRST], THIRD: ENTRIES[THIRD]}, {}, {}]


def test_an_entry_that_was_changed_moved_or_written_by_somebody_else_is_not_found(redis: RedisServer) -> None:
    async def use() -> list[object]:
        async with store(redis) as ours, store(redis, secret=b"t" * 32) as theirs:
            await ours.put(ENTRIES)
            raw = client.Redis.from_url(redis.url)
            first = await raw.get(f"liyou:reason:{FIRST}")
            await raw.set(f"liyou:reason:{FIRST}", first.replace("第0句".encode(), "第9句".encode()))
            await raw.set(f"liyou:reason:{SECOND}", await raw.get(f"liyou:reason:{THIRD}"))
            await raw.aclose()
            return [await ours.get(list(ENTRIES)), await theirs.get(list(ENTRIES))]

    assert asyncio.run(use()) == [{THIRD: ENTRIES[THIRD]}, {}]


def test_while_redis_hangs_or_is_gone_nothing_is_found_and_no_page_waits(redis: RedisServer) -> None:
    async def use() -> list[float]:
        took = []
        async with store(redis) as one, store(redis) as other:
            await one.put(ENTRIES)
            redis.hang()
            for _ in range(3):
                began = time.monotonic()
                assert await one.get(list(ENTRIES)) == {}
                await one.put(ENTRIES)
                took.append(time.monotonic() - began)
            redis.kill()
            assert await other.get(list(ENTRIES)) == {}
        return took

    first, *others = asyncio.run(use())
    assert first < 1
    assert max(others) < 0.1
