"""What the ingress does with an answer besides sending it."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from common.contract.deadline import Deadline
from common.contract.wire import ItemReason, ReasonsRequest, ReasonsResponse
from serve_app.graph.ingress import Ingress
from serve_app.http.doors import Caller
from serve_app.telemetry.stages import OFF

REQUEST = ReasonsRequest.model_validate({"items": [{"product_id": "p1"}, {"product_id": "p2"}]})


def item(name: str) -> ItemReason:
    return ItemReason(product_id=name, status="ok", text="好")


def response(items: list[ItemReason], *, request_id: str) -> ReasonsResponse:
    return ReasonsResponse(request_id=request_id, bundle_id="b", policy_version="v", degraded=False, items=tuple(items))


def test_lines_that_are_broken_off_are_on_record_as_far_as_they_were_told() -> None:
    noted: list[ReasonsResponse] = []

    async def answer(request: ReasonsRequest, *, tell: Any = None, request_id: str, **_: Any) -> ReasonsResponse:
        if tell:
            tell(1, item("p2"))
            await asyncio.sleep(30)
        return response([item("p1"), item("p2")], request_id=request_id)

    ingress = Ingress.__new__(Ingress)
    ingress.page = SimpleNamespace(answer=answer, response=response)  # type: ignore[assignment]
    ingress.audit = SimpleNamespace(note=lambda request, told, *, tenant: noted.append(told))  # type: ignore[assignment]
    ingress.telemetry = OFF
    heard: list[int] = []

    async def leave() -> None:
        lines = ingress.answer(REQUEST, request_id="r", deadline=Deadline(9e9), caller=Caller(None), tell=lambda at, told: heard.append(at))
        task = asyncio.create_task(lines)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ingress.answer(REQUEST, request_id="r", deadline=Deadline(9e9), caller=Caller(None))

    asyncio.run(leave())
    assert heard == [1]
    assert [[told.product_id for told in page.items] for page in noted] == [["p2"], ["p1", "p2"]]
