"""A server that is told to stop: first it says so, then those inside are answered. One that is overrun: who may come in."""

import asyncio
import time
from typing import Any

import httpx2

from common.contract.deadline import Deadline
from common.contract.wire import ItemReason, ModelsResponse, ReasonsRequest, ReasonsResponse
from serve_app.http.api import create_api
from serve_app.http.doors import Caller
from serve_app.http.traffic import CROWDED_S, Press, Traffic

PAGE = {"items": [{"product_id": "p1"}]}


class Slow:
    """Answers once it may."""

    def __init__(self) -> None:
        self.may, self.asked = asyncio.Event(), asyncio.Event()

    async def __call__(
        self, request: ReasonsRequest, *, request_id: str, deadline: Deadline, caller: Caller, explain: bool = False
    ) -> ReasonsResponse:
        self.asked.set()
        await self.may.wait()
        items = tuple(ItemReason(product_id=item.names, status="ok", text="好") for item in request.items)
        return ReasonsResponse(request_id=request_id, bundle_id="b1", policy_version="v1", degraded=False, items=items)


async def ready() -> str | None:
    return None


async def models() -> ModelsResponse:
    return ModelsResponse(models=())


def served(traffic: Traffic, page: Slow) -> httpx2.AsyncClient:
    app = create_api(page, ready=ready, models=models, traffic=traffic)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test")


def test_draining_is_told_first_those_inside_are_answered_and_who_comes_later_is_told_to_come_again() -> None:
    async def run() -> tuple[list[Any], int]:
        page, traffic = Slow(), Traffic()
        async with served(traffic, page) as client:
            assert (await client.get("/readyz")).status_code == 200
            inside = [asyncio.create_task(client.post("/v1/reasons", json=PAGE)) for _ in range(5)]
            while traffic.num_inside < 5:
                await asyncio.sleep(0)
            draining = asyncio.create_task(traffic.drain(within_s=10))
            await asyncio.sleep(0)
            health = [await client.get(path) for path in ("/readyz", "/livez")]
            late = await client.post("/v1/reasons", json=PAGE)
            assert not draining.done(), "five are inside"
            page.may.set()
            return [health, late, await asyncio.gather(*inside)], await draining

    ((not_ready, alive), late, inside), left = asyncio.run(run())
    assert (not_ready.status_code, not_ready.json()["detail"].partition(":")[0]) == (503, "draining")
    assert alive.status_code == 200
    assert (late.status_code, late.json()["code"], late.json()["retryable"]) == (503, "unavailable", True)
    assert "retry-after" in late.headers
    assert [answer.status_code for answer in inside] == [200] * 5
    assert left == 0


def test_who_stays_inside_for_too_long_is_counted_and_not_waited_for() -> None:
    async def run() -> int:
        page, traffic = Slow(), Traffic()
        async with served(traffic, page) as client:
            inside = asyncio.create_task(client.post("/v1/reasons", json=PAGE))
            await page.asked.wait()
            left = await traffic.drain(within_s=0.05)
            page.may.set()
            await inside
            return left

    assert asyncio.run(run()) == 1


def test_a_caller_that_goes_away_is_not_inside_any_more() -> None:
    async def run() -> int:
        page, traffic = Slow(), Traffic()
        async with served(traffic, page) as client:
            inside = asyncio.create_task(client.post("/v1/reasons", json=PAGE))
            await page.asked.wait()
            inside.cancel()
            await asyncio.gather(inside, return_exceptions=True)
            return traffic.num_inside

    assert asyncio.run(run()) == 0


def test_while_the_engines_are_full_a_process_that_is_busy_lets_no_page_in_and_stays_ready() -> None:
    async def run() -> list[Any]:
        clock, used = [100.0], [0.0]
        press = Press(0.5, clock=lambda: clock[0], cpu=lambda: used[0])
        page, traffic = Slow(), Traffic(press=press)
        page.may.set()
        answers = []
        async with served(traffic, page) as client:

            async def after(seconds: float, share: float, *, crowded: bool) -> None:
                clock[0], used[0] = clock[0] + seconds, used[0] + seconds * share
                if crowded:
                    press.crowded()
                answers.append((await client.post("/v1/reasons", json=PAGE)).status_code)

            await after(0.2, 0.9, crowded=False)  # busy with what it can answer
            await after(0.2, 0.3, crowded=True)  # full engines, and time for templates
            await after(0.2, 0.9, crowded=True)
            refused = await client.post("/v1/reasons", json=PAGE)
            answers.append((await client.get("/readyz")).status_code)
            await after(CROWDED_S, 0.9, crowded=False)
        return [answers, refused]

    answers, refused = asyncio.run(run())
    assert answers == [200, 200, 503, 200, 200]
    assert (refused.json()["code"], refused.json()["retryable"], "retry-after" in refused.headers) == ("overloaded", True, True)


def test_while_the_engines_are_full_a_loop_that_is_behind_lets_no_page_in() -> None:
    async def run() -> list[bool]:
        press = Press(1.0)
        watching = asyncio.create_task(press.watch())
        await asyncio.sleep(0)
        time.sleep(0.2)
        await asyncio.sleep(0.01)
        behind = [press.too_much]
        press.crowded()
        behind.append(press.too_much)
        watching.cancel()
        return behind

    assert asyncio.run(run()) == [False, True]
