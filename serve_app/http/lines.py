"""A page as lines of JSON (application/x-ndjson), an item a line as soon as it is accepted. Knows nothing of how it is answered."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson
from fastapi import Request

from common.contract import problems
from common.contract.wire import LINES, ItemReason, ReasonsEnd, ReasonsLine, ReasonsResponse
from common.errors import LiyouError

TellItem = Callable[[int, ItemReason], None]
"""Hears of each item as soon as it can be shown, by its place in the request."""
log = logging.getLogger("ray.serve")


def wants_lines(request: Request) -> bool:
    """Whether `Accept` names it; what else it names does not matter, for nobody asks for lines by accident."""
    parts = [part.strip().lower() for header in request.headers.getlist("accept") for part in header.split(",")]
    return any(re.fullmatch(rf"{re.escape(LINES)}(\s*;(?!\s*q=0(\.0*)?\s*$).*)?", part) for part in parts)


class Lines:
    """Begins to answer when it is made; iterated once. Whoever leaves early ends the answer."""

    def __init__(
        self,
        answer: Callable[[TellItem], Awaitable[ReasonsResponse]],
        *,
        request_id: str,
        at_end: Callable[[ReasonsResponse | str | None], object] = lambda ended: None,
    ) -> None:
        """`at_end` hears once how it ended: with the whole answer, with the code of a problem, or with None where the caller left."""
        self._request_id, self._at_end = request_id, at_end
        self._told: asyncio.Queue[ReasonsLine | None] = asyncio.Queue()
        self._first: ReasonsLine | None = None
        self._page = asyncio.ensure_future(answer(self._tell))
        self._page.add_done_callback(lambda _: self._told.put_nowait(None))

    def _tell(self, at: int, item: ItemReason) -> None:
        self._told.put_nowait(ReasonsLine(index=at, item=item))

    async def begun(self) -> None:
        """Waits for the first line. What the answer raises before there is any is raised here: no status has been sent yet."""
        try:
            self._first = await self._told.get()
        except asyncio.CancelledError:
            self._page.cancel()
            raise
        if self._first is None:
            self._page.result()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        ended: ReasonsResponse | str | None = None
        try:
            line = self._first
            while line is not None:
                yield _rendered(line)
                line = await self._told.get()
            last, ended = self._last()
            yield _rendered(last)
        finally:
            self._page.cancel()
            self._at_end(ended)

    def _last(self) -> tuple[ReasonsLine, ReasonsResponse | str]:
        try:
            answer = self._page.result()
        except LiyouError as error:
            problem = problems.from_error(error, request_id=self._request_id)
        except Exception:
            log.exception("unexpected error in a page of which lines were sent")
            problem = problems.unexpected(request_id=self._request_id)
        else:
            told = ReasonsEnd(num_items=len(answer.items), **answer.model_dump(include=set(ReasonsEnd.model_fields)))
            return ReasonsLine(end=told), answer
        return ReasonsLine(problem=problem), problem.code


def _rendered(line: ReasonsLine) -> bytes:
    return orjson.dumps(line.model_dump(mode="json", exclude_none=True), option=orjson.OPT_APPEND_NEWLINE)
