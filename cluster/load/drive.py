"""Sends a plan and notes what came of each page. A page that is due waits for no answer, so a slow server gets no less to do."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import httpx2
import orjson
from pydantic import ValidationError

from cluster.load.plan import Item, Page
from common.contract.deadline import HEADER
from common.contract.wire import ReasonsResponse

GRACE_S = 5.0
"""How long past its deadline an answer is still waited for: that it came so late has to be seen."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Times in seconds after the start. `late_s`: how long after its moment a page was sent, which is the driver's own fault."""

    at_s: float
    late_s: float
    latency_s: float
    """from the moment at which it was due, so that what waits in the driver is not called quick"""
    num_items: int
    status: int
    """0: no answer at all"""
    sources: tuple[str, ...] = ()
    """of each item: model, cache, template or error"""
    degraded: tuple[str, ...] = ()
    """why templates were shown"""
    error: str = ""
    request_id: str = ""
    asked: tuple[str, ...] = ()
    """ids of the products asked for"""
    answered: tuple[str, ...] = ()
    """ids of the products that the answer speaks of, in its order"""
    bundle_id: str = ""
    policy_version: str = ""


async def drive(
    pages: Sequence[Page],
    *,
    url: str,
    key: str | None,
    deadline_ms: int,
    on_done: Callable[[int], None] = lambda done: None,
    found_wrong: Callable[[ReasonsResponse], str] = lambda answer: "",
    enough: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> list[Outcome]:
    """An outcome for each page that was sent, in the plan's order: all of them, or those until there was `enough`. `found_wrong` says what
    is wrong with an answer beyond what is looked at here; its words are the outcome's error."""
    headers = {"Content-Type": "application/json", HEADER: str(deadline_ms)} | ({"Authorization": f"Bearer {key}"} if key else {})
    bodies = [_body(page) for page in pages]
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    done = 0
    async with httpx2.AsyncClient(base_url=url.rstrip("/"), headers=headers, limits=limits, timeout=deadline_ms / 1000 + GRACE_S) as client:
        started_s = clock()

        async def send(page: Page, body: bytes) -> Outcome:
            nonlocal done
            sent_s = clock() - started_s
            try:
                response = await client.post("/v1/reasons", content=body)
                outcome = _read(response, page, sent_s=sent_s, ended_s=clock() - started_s, found_wrong=found_wrong)
            except httpx2.TransportError as error:
                ended_s = clock() - started_s
                told = f"{type(error).__name__}: {error}"
                outcome = _outcome(page, sent_s=sent_s, ended_s=ended_s, status=0, error=told)
            done += 1
            on_done(done)
            return outcome

        running = []
        for page, body in zip(pages, bodies, strict=True):
            await asyncio.sleep(max(0.0, started_s + page.at_s - clock()))
            if enough():
                break
            running.append(asyncio.ensure_future(send(page, body)))
        return list(await asyncio.gather(*running))


def _body(page: Page) -> bytes:
    return orjson.dumps({"items": page.items} | ({"user": {"user_id": page.user}} if page.user else {}))


def product_of(item: Item) -> str:
    """Its id, however it was given."""
    product = item.get("product")
    return str(product["product_id"] if isinstance(product, dict) else item["product_id"])


def _outcome(page: Page, *, sent_s: float, ended_s: float, status: int, error: str = "", request_id: str = "") -> Outcome:
    return Outcome(
        page.at_s,
        sent_s - page.at_s,
        ended_s - page.at_s,
        len(page.items),
        status,
        error=error,
        request_id=request_id,
        asked=tuple(map(product_of, page.items)),
    )


def _read(
    response: httpx2.Response, page: Page, *, sent_s: float, ended_s: float, found_wrong: Callable[[ReasonsResponse], str]
) -> Outcome:
    request_id = response.headers.get("x-request-id", "")
    bare = _outcome(page, sent_s=sent_s, ended_s=ended_s, status=response.status_code, request_id=request_id)
    if response.status_code != 200:
        try:
            told = str(orjson.loads(response.content)["code"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            told = f"no problem document: {response.text:.100}"
        return replace(bare, error=told)
    try:
        answer = ReasonsResponse.model_validate_json(response.content)
    except ValidationError as error:
        return replace(bare, error=f"no page of reasons: {error!s:.100}")
    lost = len(page.items) - len(answer.items)
    return replace(
        bare,
        sources=tuple(item.source or "error" for item in answer.items),
        degraded=tuple(item.degraded for item in answer.items if item.degraded),
        error=f"{lost} items were not answered" if lost else found_wrong(answer),
        request_id=answer.request_id,
        answered=tuple(item.product_id for item in answer.items),
        bundle_id=answer.bundle_id,
        policy_version=answer.policy_version,
    )
