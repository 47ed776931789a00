"""How many requests are inside, and whether more may come in: by it a server that is told to stop loses none, and one that could only fill
templates leaves the cores to the engines. Knows no request."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.errors import Overloaded, Unavailable
from serve_app.telemetry.metrics import INFLIGHT, Record, nothing

LOOK_EVERY_S = 0.02
DRAINING = "draining: this server was told to stop; ask another, or again in a moment"


CROWDED_S = 1.0
"""After an item for which the engines had no room, how long they are taken to be full."""
WINDOW_S = 0.1
"""Over which a process's use of its core is measured."""
BEAT_S, BEHIND_S = 0.02, 0.05
"""How often the loop is looked at, and how late it may be: whoever is told to come again is to be told at once."""


class Press:
    """Whether more would be too much. Full engines make a page of templates of each further page, which costs this process tens of
    milliseconds and, on a machine that they share, the engines as much."""

    def __init__(self, busy: float, *, clock: Callable[[], float] = time.monotonic, cpu: Callable[[], float] = time.process_time) -> None:
        """`busy`: share of a core that this process may use while the engines are full."""
        self._busy, self._clock, self._cpu = busy, clock, cpu
        self._crowded_s = -float("inf")
        self._began, self._share, self._behind_s = (clock(), cpu()), 0.0, 0.0

    async def watch(self) -> None:
        """For ever: how late the loop is. What is late for a moment counts for a few beats."""
        while True:
            due_s = self._clock() + BEAT_S
            await asyncio.sleep(BEAT_S)
            self._behind_s = max(self._clock() - due_s, 0.7 * self._behind_s)

    def crowded(self) -> None:
        """An item was told that the engines have no room."""
        self._crowded_s = self._clock()

    @property
    def too_much(self) -> bool:
        now_s, used_s = self._clock(), self._cpu()
        if (passed_s := now_s - self._began[0]) >= WINDOW_S:
            self._share, self._began = (used_s - self._began[1]) / passed_s, (now_s, used_s)
        return now_s - self._crowded_s < CROWDED_S and (self._share > self._busy or self._behind_s > BEHIND_S)


class Traffic:
    def __init__(self, record: Record = nothing, *, press: Press | None = None) -> None:
        self.num_inside, self.draining, self._record = 0, False, record
        self.press = press or Press(1.0)

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

    def let_in(self) -> None:
        """A page: raises as `admit`, or Overloaded where it could only be answered late or by templates that cost others their texts."""
        self.admit()
        if self.press.too_much:
            raise Overloaded("the engines are full, and this server has more to answer than it can; come again after Retry-After")

    async def drain(self, *, within_s: float) -> int:
        """Lets nobody in any more and waits for those inside; how many are left."""
        self.draining = True
        end_s = time.monotonic() + within_s
        while self.num_inside and time.monotonic() < end_s:
            await asyncio.sleep(LOOK_EVERY_S)
        return self.num_inside
