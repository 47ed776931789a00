"""A server that is told to stop: first it says so, then those inside are answered, and nobody is lost."""

import asyncio
from typing import Any

import httpx2

from common.contract.deadline import Deadline
from common.contract.wire import ItemReason, ModelsResponse, ReasonsRequest, ReasonsResponse
from serve_app.http.api import create_api
from serve_app.http.doors import Caller
from serve_app.http.traffic import Traffic

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
