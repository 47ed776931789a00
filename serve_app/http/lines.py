"""A page as lines of JSON (application/x-ndjson), an item a line as soon as it is accepted. Knows nothing of how it is answered."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson
from fastapi import Request

from common.contract import problems
from common.contract.wire import ItemReason, ReasonsEnd, ReasonsLine, ReasonsResponse
from common.errors import LiyouError

LINES = "application/x-ndjson"
TellItem = Callable[[int, ItemReason], None]
"""Hears of each item as soon as it can be shown, by its place in the request."""
log = logging.getLogger(__name__)


def wants_lines(request: Request) -> bool:
    """Whether `Accept` names it; what else it names does not matter, for nobody asks for lines by accident."""
    return any(part.partition(";")[0].strip().lower() == LINES for part in request.headers.get("accept", "").split(","))


class Lines:
    """Begins to answer when it is made; iterated once. Whoever leaves early ends the answer."""

    def __init__(
        self,
        answer: Callable[[TellItem], Awaitable[ReasonsResponse]],
        *,
        request_id: str,
        at_end: Callable[[ReasonsResponse], object] = lambda answer: None,
    ) -> None:
        """`at_end` hears of the whole answer when its last line is written."""
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
        try:
            line = self._first
            while line is not None:
                yield _rendered(line)
                line = await self._told.get()
            yield _rendered(self._last())
        finally:
            self._page.cancel()

    def _last(self) -> ReasonsLine:
        try:
            answer = self._page.result()
        except LiyouError as error:
            return ReasonsLine(problem=problems.from_error(error, request_id=self._request_id))
        except Exception:
            log.exception("unexpected error in a page of which lines were sent")
            return ReasonsLine(problem=problems.unexpected(request_id=self._request_id))
        self._at_end(answer)
        told = ReasonsEnd(num_items=len(answer.items), **answer.model_dump(include=set(ReasonsEnd.model_fields)))
        return ReasonsLine(end=told)


def _rendered(line: ReasonsLine) -> bytes:
    return orjson.dumps(line.model_dump(mode="json", exclude_none=True), option=orjson.OPT_APPEND_NEWLINE)
