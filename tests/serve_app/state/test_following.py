"""What goes wrong while something is followed is told, and it is followed on."""

import asyncio

import pytest

from common.errors import StorageUnreachable
from serve_app.state.following import follow


def test_how_long_nothing_was_heard_is_told_and_what_is_new_then_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    looks = iter([StorageUnreachable("no route to host"), ValueError("a bug"), False, True])
    told: list[str] = []

    async def look() -> bool:
        found = next(looks)
        if isinstance(found, Exception):
            raise found
        return found

    async def until_new() -> None:
        heard = asyncio.Event()

        async def on_new() -> None:
            told.append("new")
            heard.set()

        task = asyncio.create_task(follow("orders", look, every_s=0.001, on_new=on_new))
        await asyncio.wait_for(heard.wait(), 5)
        task.cancel()

    asyncio.run(until_new())
    assert told == ["new"]
    assert "orders: not read for 0 s; what was known until then stands: no route to host" in caplog.text
    assert "orders: could not be read" in caplog.text
