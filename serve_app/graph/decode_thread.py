"""A thread that owns a decode engine and steps it as long as anything runs: pages of many callers meet in its queue at token boundaries.

`@serve.batch` is not used: it freezes a batch before the running one is done, and averaged 2.3 sequences where this averaged 30.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress

from common.domain.decoding import DecodingParams
from common.errors import Unavailable
from common.generation.engine import Engine, Generated
from common.generation.engine import Sequence as Prompted

log = logging.getLogger("ray.serve")

FORGET_S = 10.0
"""Of stepping, not of idling, after which a measurement counts e times less: a few pages' worth."""
STOPPED = Unavailable("the engine of this replica has stopped; ask another one")


class DecodeThread:
    """All calls of the engine happen in the thread, so the engine needs no lock. An error of `step` fails what runs and ends the thread."""

    def __init__(self, make_engine: Callable[[], Engine]) -> None:
        """`make_engine` runs in the thread. Returns once it is done; what it raises is raised here."""
        self._wake = threading.Condition()
        self._orders: list[Callable[[], None]] = []
        self._stopping = False
        self._running: dict[int, Future[Generated]] = {}
        self._broken: BaseException | None = None
        self._busy_s, self._finished = 0.0, 0.0
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(make_engine, started), name="decode", daemon=True)
        self._thread.start()
        started.result()

    async def generate(
        self, sequences: Sequence[Prompted], *, decoding: DecodingParams, within_s: float | None = None
    ) -> list[Generated | Exception]:
        """Each sequence's result, or what `submit` refused it with, in the order given; after `within_s` the rest come back "cancelled".

        Cancelling the call cancels the sequences. Raises Unavailable when the engine broke.
        """
        futures: list[Future[Generated]] = [Future() for _ in sequences]
        self._order(lambda: self._submit(sequences, futures, decoding))
        results = asyncio.gather(*(_result(future) for future in futures))
        try:
            with suppress(TimeoutError):
                return await asyncio.wait_for(asyncio.shield(results), within_s)
            self._order(lambda: self._cancel(futures))
            return await results
        except asyncio.CancelledError:
            results.cancel()
            with suppress(Unavailable):  # an engine that stopped has nothing left to cancel
                self._order(lambda: self._cancel(futures))
            raise

    @property
    def broken(self) -> BaseException | None:
        """Why the thread ended, if it did not end by `close`."""
        return self._broken

    @property
    def num_running(self) -> int:
        """Sequences submitted and not finished."""
        return len(self._running)

    @property
    def seconds_a_sequence(self) -> float:
        """Seconds of stepping that a finished sequence took, over about the last FORGET_S seconds of stepping; 0 before the first.

        What runs together shares its steps: the more, the less each takes. Cancelled sequences count as time and not as work.
        """
        return self._busy_s / max(self._finished, 1.0) if self._busy_s else 0.0

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
                began_s = time.monotonic()
                done = self._engine.step()
                self._measure(time.monotonic() - began_s, sum(one.finish_reason != "cancelled" for _, one in done))
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
            for future in self._running.values():
                _settle(future, STOPPED)
            self._running.clear()

    def _measure(self, step_s: float, finished: int) -> None:
        kept = math.exp(-step_s / FORGET_S)
        self._busy_s, self._finished = self._busy_s * kept + step_s, self._finished * kept + finished

    def _obey(self) -> bool:
        """Waits for work, does what was ordered since the last step; False when the thread shall end."""
        with self._wake:
            while not (self._orders or self._stopping or self._engine.busy):
                self._wake.wait()
            orders, self._orders = self._orders, []
            stopping = self._stopping
        for order in orders:
            order()
        return not stopping

    def _submit(self, sequences: Sequence[Prompted], futures: "Sequence[Future[Generated]]", decoding: DecodingParams) -> None:
        for sequence, future in zip(sequences, futures, strict=True):
            if self._stopping:
                _settle(future, STOPPED)
                continue
            if future.cancelled():
                continue
            try:
                self._running[self._engine.submit(sequence, decoding=decoding)] = future
            except Exception as error:
                _settle(future, error)

    def _cancel(self, futures: "Sequence[Future[Generated]]") -> None:
        wanted = set(map(id, futures))
        for sequence_id, future in self._running.items():
            if id(future) in wanted:
                self._engine.cancel(sequence_id)

    def _finish(self, sequence_id: int, generated: Generated) -> None:
        future = self._running.pop(sequence_id)
        if future.set_running_or_notify_cancel():
            future.set_result(generated)


async def _result(future: "Future[Generated]") -> Generated | Exception:
    try:
        return await asyncio.wrap_future(future)
    except Unavailable:
        raise
    except Exception as error:
        return error


def _settle(future: "Future[Generated]", error: Exception) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)
