"""How many requests are inside, and whether more may come in: by it a server that is told to stop loses none. Knows no request."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import Unavailable
from serve_app.telemetry.metrics import INFLIGHT, Record, nothing

LOOK_EVERY_S = 0.02
DRAINING = "draining: this server was told to stop; ask another, or again in a moment"


class Traffic:
    def __init__(self, record: Record = nothing) -> None:
        self.num_inside, self.draining, self._record = 0, False, record

    @contextmanager
    def inside(self) -> Iterator[None]:
        self._moved(1)
        try:
            yield
        finally:
            self._moved(-1)

    def _moved(self, by: int) -> None:
        self.num_inside += by
        self._record(INFLIGHT, self.num_inside)

    def admit(self) -> None:
        """Raises Unavailable once it drains: who was let in before is answered."""
        if self.draining:
            raise Unavailable(DRAINING)

    async def drain(self, *, within_s: float) -> int:
        """Lets nobody in any more and waits for those inside; how many are left."""
        self.draining = True
        end_s = time.monotonic() + within_s
        while self.num_inside and time.monotonic() < end_s:
            await asyncio.sleep(LOOK_EVERY_S)
        return self.num_inside
