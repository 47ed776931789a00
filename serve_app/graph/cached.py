"""Answers from a store where it can, and has the rest written: what several pages ask for at once is written once. Knows no Ray.

Only what the model wrote and the verdict accepted is kept: a template says that there was trouble, and trouble passes.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence

from common.domain.context import Context
from common.domain.reason import Reason
from common.quality.variety import Shown
from serve_app.state.cache import Kept, Key, ReasonStore, kept, reason_of
from serve_app.telemetry.metrics import CACHE_LOOKUPS
from serve_app.telemetry.stages import OFF, Telemetry

Write = Callable[[list[Context], Sequence[str]], Awaitable[list[Reason]]]
"""A reason for each context, in order, within the page's time; beside the texts that the page shows already."""
Flight = asyncio.Future[Kept | None]


class Cached:
    def __init__(self, store: ReasonStore, telemetry: Telemetry = OFF) -> None:
        self._store, self._telemetry = store, telemetry
        self._flights: dict[Key, Flight] = {}
        self._keeping: set[asyncio.Task[None]] = set()

    @property
    def num_flights(self) -> int:
        """Keys that are being written or kept now."""
        return len(self._flights)

    async def answer(
        self, contexts: Sequence[Context], keys: Sequence[Key], *, write: Write, varied: bool, left_s: Callable[[], float]
    ) -> list[Reason]:
        """A reason for each context, in order. What another page is writing is waited for, as long as `left_s` (the time that is left after
        one more round of writing); where nothing comes of that it is written here, so that nobody gets a template for another's trouble.
        `varied`: what reads like an earlier reason of this page, having been written for another page, is written anew for this one."""
        by_key = dict(zip(keys, contexts, strict=True))
        reasons, in_time = await self._found(by_key), True
        while missing := [key for key in by_key if key not in reasons]:
            beside = _accepted(reasons.values())
            flights = {key: self._flights[key] for key in missing if key in self._flights}
            if flights and not in_time:
                reasons |= dict(zip(missing, await write([by_key[key] for key in missing], beside), strict=True))
                break
            reasons |= await self._lead([key for key in missing if key not in flights], by_key, write, beside)
            for key, flight in flights.items():
                in_time = in_time and await _landed(flight, left_s())
                if flight.done() and (entry := flight.result()) is not None:
                    reasons[key] = reason_of(entry, by_key[key])
        page = [reasons[key] for key in keys]
        return await self._varied(page, contexts, keys, write) if varied else page

    async def _found(self, contexts: Mapping[Key, Context]) -> dict[Key, Reason]:
        with self._telemetry.stage("cache"):
            found = await self._store.get(list(contexts))
        self._telemetry.record(CACHE_LOOKUPS, len(found), {"result": "hit"})
        self._telemetry.record(CACHE_LOOKUPS, len(contexts) - len(found), {"result": "miss"})
        return {key: reason_of(entry, contexts[key]) for key, entry in found.items()}

    async def _lead(self, keys: list[Key], contexts: Mapping[Key, Context], write: Write, beside: Sequence[str]) -> dict[Key, Reason]:
        """Writes `keys` for this page and whoever waits for them."""
        if not keys:
            return {}
        flights = {key: asyncio.get_running_loop().create_future() for key in keys}
        self._flights |= flights
        fresh: dict[Key, Kept] = {}
        try:
            reasons = dict(zip(keys, await write([contexts[key] for key in keys], beside), strict=True))
            fresh = {key: kept(reason) for key, reason in reasons.items() if reason.source == "model"}
            return reasons
        finally:
            for key, flight in flights.items():
                flight.set_result(fresh.get(key))
                if key not in fresh:
                    del self._flights[key]
            self._later(self._keep(fresh))

    async def _keep(self, fresh: dict[Key, Kept]) -> None:
        """A flight is over when its entry can be found: nobody writes a text again in between."""
        try:
            if fresh:
                await self._store.put(fresh)
        finally:
            for key in fresh:
                self._flights.pop(key, None)

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _varied(self, page: list[Reason], contexts: Sequence[Context], keys: Sequence[Key], write: Write) -> list[Reason]:
        """The page with what reads like an earlier reason written anew beside all others, once for all pages like it; with the reason
        that it had where nothing comes of that."""
        shown, alike = Shown(), []
        for at, reason in enumerate(page):
            if reason.source == "template":
                continue
            if shown.has_like(reason.text):
                alike.append(at)
            else:
                shown.add(reason.text)
        if not alike:
            return page
        others = _accepted(reason for at, reason in enumerate(page) if at not in alike)
        here = {_beside(keys[at], number, others): at for number, at in enumerate(alike)}
        anew = await self._found({key: contexts[at] for key, at in here.items()})
        if missing := [key for key in here if key not in anew]:
            beside = others + _accepted(anew.values())
            written = dict(zip(missing, await write([contexts[here[key]] for key in missing], beside), strict=True))
            fresh = {key: reason for key, reason in written.items() if reason.source == "model"}
            anew |= fresh
            self._later(self._keep({key: kept(reason) for key, reason in fresh.items()}))
        told = {here[key]: reason for key, reason in anew.items()}
        return [told.get(at, reason) for at, reason in enumerate(page)]


def _accepted(reasons: Iterable[Reason]) -> list[str]:
    return [reason.text for reason in reasons if reason.source != "template"]


def _beside(key: Key, number: int, others: Sequence[str]) -> Key:
    """Of what is written under `key` for a page that shows `others`; `number` tells two places of one key apart."""
    return hashlib.sha256("\n".join([key, str(number), *sorted(others)]).encode()).hexdigest()


async def _landed(flight: Flight, left_s: float) -> bool:
    """Whether it ended in time, whatever came of it."""
    try:
        await asyncio.wait_for(asyncio.shield(flight), max(0.0, left_s))
    except TimeoutError:
        return False
    return True
