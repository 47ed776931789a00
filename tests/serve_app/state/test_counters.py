"""Counting goes on when the shared counter does not, and allows less."""

import asyncio
import time

import pytest
from limits import RateLimitItemPerMinute

from serve_app.state.counters import Counters
from serve_app.state.redis_link import ASK_AGAIN_S, RedisLink

TEN = RateLimitItemPerMinute(10, namespace="items_per_minute")


class Time:
    s = 0.0

    def __call__(self) -> float:
        return self.s


def allowed(counters: Counters, *costs: int, key: str = "k") -> list[bool]:
    async def ask() -> list[bool]:
        return [(await counters.take(TEN, key, cost=cost)).allowed for cost in costs]

    return asyncio.run(ask())


def counters(shared: object, moment: Time) -> Counters:
    return Counters(shared, local_share=0.5, clock=moment, now=time.time)  # type: ignore[arg-type]


def test_a_key_has_its_limit_and_another_its_own() -> None:
    own = counters(None, Time())
    assert allowed(own, 4, 4, 4, 2) == [True, True, False, True]
    assert allowed(own, 10, key="another") == [True]


def test_a_limit_that_is_used_up_comes_back_as_its_clock_goes_on_and_not_as_the_calendar_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = Time()
    own = counters(None, moment)
    assert allowed(own, 10, 1) == [True, False]
    for jump_s in (3600, -7200, 86_400):
        monkeypatch.setattr(time, "time", lambda real=time.time, jump_s=jump_s: real() + jump_s)
        assert allowed(own, 1) == [False], jump_s
    moment.s = 59.0
    assert allowed(own, 1) == [False]
    moment.s = 90.0
    assert allowed(own, 5, 1) == [True, False], "half of the window before is still covered"
    moment.s = 240.0
    assert allowed(own, 10, 1) == [True, False], "no window of these two was of late"


def test_looking_counts_nothing_and_says_how_long_to_wait() -> None:
    async def ask() -> tuple[list[bool], float]:
        own = counters(None, Time())
        looked = [(await own.look(TEN, "k", cost=10)).allowed for _ in range(3)]
        taken = await own.take(TEN, "k", cost=10)
        return [*looked, taken.allowed], (await own.look(TEN, "k", cost=5)).wait_s(5)

    found, wait_s = asyncio.run(ask())
    assert found == [True] * 4
    assert 30 <= wait_s <= 120, "five of ten come back in half a window at the earliest"


def test_without_redis_a_replica_allows_its_share_and_asks_again_later(caplog: pytest.LogCaptureFixture) -> None:
    moment = Time()
    alone = counters(RedisLink("redis://127.0.0.1:1/0", use="limits", clock=moment, until_then="less"), moment)
    assert allowed(alone, 3, 3, 2) == [True, False, True], "half of ten"
    assert allowed(alone, 8, 6, 7, 9, key="large pages") == [True, False, False, False], (
        "a page larger than the share passes once, whatever its size"
    )
    told = [record for record in caplog.records if "Redis does not answer" in record.message]
    assert len(told) == 1, "asked once, not at every page"
    moment.s = ASK_AGAIN_S
    allowed(alone, 1, key="later")
    assert len([record for record in caplog.records if "Redis does not answer" in record.message]) == 2
