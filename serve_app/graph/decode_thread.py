"""A thread that owns a decode engine and steps it as long as anything runs: pages of many callers meet in its queue at token boundaries.

`@serve.batch` is not used: it freezes a batch before the running one is done, and averaged 2.3 sequences where this averaged 30.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from common.domain.decoding import DecodingParams
from common.errors import Unavailable
from common.generation.engine import Engine, Generated
from common.generation.engine import Sequence as Prompted
from serve_app.graph.admission import Admission, Tenant

log = logging.getLogger("ray.serve")

Made = TypeVar("Made")

FORGET_S = 10.0
"""Of stepping, not of idling, after which a measurement counts e times less: a few pages' worth."""
STOPPED = Unavailable("the engine of this replica has stopped; ask another one")
CANCELLED = Generated(ids=(), logprobs=(), features=None, finish_reason="cancelled")


class Crowded(Exception):
    """A sequence that was not let in: what waits before it would take longer than its caller has."""


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """One sequence, from when it was asked for until its caller has it."""

    sequence: Prompted
    decoding: DecodingParams
    result: "Future[Generated]" = field(default_factory=Future)

    @property
    def num_slots(self) -> int:
        return 2 if self.decoding.guidance > 1 else 1


@dataclass(slots=True)
class Pace:
    """Seconds of stepping that a finished sequence takes, over about the last FORGET_S seconds of stepping."""

    busy_s: float = 0.0
    finished: float = 0.0

    def measure(self, step_s: float, finished: int) -> None:
        kept = math.exp(-step_s / FORGET_S)
        self.busy_s, self.finished = self.busy_s * kept + step_s, self.finished * kept + finished

    @property
    def seconds_a_sequence(self) -> float:
        """0 before the first step."""
        return self.busy_s / max(self.finished, 1.0) if self.busy_s else 0.0


class DecodeThread:
    """All calls of the engine happen in the thread, so the engine needs no lock. An error of `step` fails what runs and ends the thread.

    The engine is handed as many sequences as it has slots; what else was let in waits here, so that tenants take turns.
    """

    def __init__(self, make_engine: Callable[[], Engine], *, slots: int) -> None:
        """`make_engine` runs in the thread. Returns once it is done; what it raises is raised here. `slots` are the engine's."""
        self._wake = threading.Condition()
        self._orders: list[Callable[[], None]] = []
        self._stopping = False
        self._line: Admission[Ticket] = Admission(slots=slots)
        self._running: dict[int, Ticket] = {}
        self._broken: BaseException | None = None
        self._pace, self._full_pace = Pace(), Pace()
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(make_engine, started), name="decode", daemon=True)
        self._thread.start()
        started.result()

    async def generate(
        self, sequences: Sequence[Prompted], *, decoding: DecodingParams, within_s: float | None = None, tenant: Tenant = None
    ) -> list[Generated | Exception]:
        """Each sequence's result, or what `submit` refused it with, in the order given; after `within_s` the rest come back "cancelled".

        Cancelling the call cancels the sequences. Raises Unavailable when the engine broke.
        """
        groups = {at: group async for at, group in self.each(sequences, decoding=decoding, within_s=within_s, tenant=tenant)}
        return [result for at in range(len(sequences)) for result in groups[at]]

    async def each(
        self,
        sequences: Sequence[Prompted],
        *,
        decoding: DecodingParams,
        group: int = 1,
        within_s: float | None = None,
        tenant: Tenant = None,
    ) -> AsyncIterator[tuple[int, list[Generated | Exception]]]:
        """Number and results of every `group` sequences in turn, as soon as all of the group are done. A group that is not expected to end
        `within_s` is not begun: its results are Crowded. What is not done by then comes back "cancelled".

        Leaving the iteration cancels the rest. Raises Unavailable when the engine broke.
        """
        tickets = [Ticket(sequence, decoding) for sequence in sequences]
        self._order(lambda: self._let_in(tickets, group=group, within_s=within_s, tenant=tenant))
        pending = {
            asyncio.ensure_future(_results(tickets[start : start + group])): number
            for number, start in enumerate(range(0, len(tickets), group))
        }
        due_s = None if within_s is None else time.monotonic() + within_s
        try:
            while pending:
                left_s = None if due_s is None else max(0.0, due_s - time.monotonic())
                done, _ = await asyncio.wait(pending, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                if not done and due_s is not None:
                    self._order(lambda: self._cancel(tickets))
                    due_s = None
                for one in done:
                    yield pending.pop(one), one.result()
        finally:
            for one in pending:
                if not one.cancel() and not one.cancelled():
                    one.exception()  # has been told already, by another of them
            if pending:
                with suppress(Unavailable):  # an engine that stopped has nothing left to cancel
                    self._order(lambda: self._cancel(tickets))

    def run(self, sequences: Sequence[Prompted], *, decoding: DecodingParams) -> list[Generated]:
        """Blocks until all are done. Raises what `submit` refused the first with, or Unavailable when the engine broke."""
        tickets = [Ticket(sequence, decoding) for sequence in sequences]
        self._order(lambda: self._let_in(tickets, group=1, within_s=None, tenant=None))
        return [ticket.result.result() for ticket in tickets]

    async def beside(self, work: Callable[[], Made]) -> Made:
        """What `work` makes, between two steps: it has the model to itself, and what is decoding waits for it. Raises what it raises, or
        Unavailable when the engine broke. A call that was cancelled before its turn is not begun."""
        made: Future[Made] = Future()

        def do() -> None:
            if not made.set_running_or_notify_cancel():
                return
            if self._stopping:
                made.set_exception(STOPPED)
                return
            try:
                made.set_result(work())
            except Exception as error:
                made.set_exception(error)

        self._order(do)
        return await asyncio.wrap_future(made)

    @property
    def broken(self) -> BaseException | None:
        """Why the thread ended, if it did not end by `close`."""
        return self._broken

    @property
    def slots(self) -> int:
        return self._line.slots

    @property
    def num_running(self) -> int:
        """Sequences let in and not finished."""
        return len(self._line)

    @property
    def seconds_a_sequence(self) -> float:
        """Seconds of stepping that a finished sequence took lately; 0 before the first.

        What runs together shares its steps: the more, the less each takes. Cancelled sequences count as time and not as work.
        """
        return self._pace.seconds_a_sequence

    def close(self) -> None:
        """Ends the thread after its current step; what still runs fails as Unavailable."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    # ---- callers' side ---------------------------------------------------------------------------------------------

    def _order(self, order: Callable[[], None]) -> None:
        with self._wake:
            if self._stopping:
                raise STOPPED
            self._orders.append(order)
            self._wake.notify()

    # ---- the thread's side -----------------------------------------------------------------------------------------

    def _run(self, make_engine: Callable[[], Engine], started: "Future[None]") -> None:
        try:
            self._engine = make_engine()
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(None)
        try:
            while self._obey():
                full, began_s = self._line.num_waiting > 0, time.monotonic()
                done = self._engine.step()
                step_s, finished = time.monotonic() - began_s, sum(one.finish_reason != "cancelled" for _, one in done)
                self._pace.measure(step_s, finished)
                if full:
                    self._full_pace.measure(step_s, finished)
                for sequence_id, generated in done:
                    self._finish(sequence_id, generated)
        except BaseException as error:
            log.exception("the decode engine broke; this replica has to be replaced")
            self._broken = error
        finally:
            with self._wake:
                self._stopping = True
                late, self._orders = self._orders, []
            for order in late:
                order()
            while (ticket := self._line.next()) is not None:
                self._end(ticket, STOPPED)
            for ticket in self._running.values():
                self._end(ticket, STOPPED)
            self._running.clear()

    def _obey(self) -> bool:
        """Waits for work, does what was ordered since the last step, fills the engine; False when the thread shall end."""
        with self._wake:
            while not (self._orders or self._stopping or self._engine.busy or self._line.num_waiting):
                self._wake.wait()
            orders, self._orders = self._orders, []
            stopping = self._stopping
        for order in orders:
            order()
        self._fill()
        return not stopping

    def _let_in(self, tickets: Sequence[Ticket], *, group: int, within_s: float | None, tenant: Tenant) -> None:
        room = len(tickets)
        if within_s is not None:
            room = self._line.room(len(tickets), tenant=tenant, within_s=within_s, seconds_a_sequence=self._full_s()) // group * group
            if not len(self._line):
                room = max(room, group)  # an idle engine begins something, however slow it is thought to be
        for number, ticket in enumerate(tickets):
            if self._stopping:
                _settle(ticket, STOPPED)
            elif number >= room:
                _settle(ticket, Crowded())
            elif not ticket.result.cancelled():
                self._line.add(ticket, tenant=tenant)

    def _full_s(self) -> float:
        """What a sequence takes while all slots are in use, as far as is known; 0 where nothing is. It is measured only when something
        waits, and what was measured on a bad day would let nothing wait: any step's bounds it, for company makes none longer."""
        full, any_ = self._full_pace.seconds_a_sequence, self._pace.seconds_a_sequence
        return min(full, any_) if full else 0.0

    def forget(self) -> None:
        """What was measured so far: it was not what it will be (a compilation ran)."""
        self._order(self._forget)

    def _forget(self) -> None:
        self._pace, self._full_pace = Pace(), Pace()

    def _fill(self) -> None:
        """Hands the engine what fits beside what it has; it always takes one, however many slots that needs."""
        used = sum(ticket.num_slots for ticket in self._running.values())
        while used < self._line.slots and (ticket := self._line.next()) is not None:
            try:
                self._running[self._engine.submit(ticket.sequence, decoding=ticket.decoding)] = ticket
            except Exception as error:
                self._end(ticket, error)
            else:
                used += ticket.num_slots

    def _cancel(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            if self._line.withdraw(ticket):
                _settle(ticket, CANCELLED)
        wanted = set(tickets)
        for sequence_id, ticket in self._running.items():
            if ticket in wanted:
                self._engine.cancel(sequence_id)

    def _finish(self, sequence_id: int, generated: Generated) -> None:
        self._end(self._running.pop(sequence_id), generated)

    def _end(self, ticket: Ticket, result: Generated | Exception) -> None:
        self._line.done(ticket)
        _settle(ticket, result)


async def _results(tickets: Sequence[Ticket]) -> list[Generated | Exception]:
    return [await _result(ticket) for ticket in tickets]


async def _result(ticket: Ticket) -> Generated | Exception:
    try:
        return await asyncio.wrap_future(ticket.result)
    except Unavailable:
        raise
    except Exception as error:
        return error


def _settle(ticket: Ticket, result: Generated | Exception) -> None:
    if not ticket.result.set_running_or_notify_cancel():
        return
    if isinstance(result, Exception):
        ticket.result.set_exception(result)
    else:
        ticket.result.set_result(result)
