"""Answers from a store where it can, and has the rest written: what several pages ask for at once is written once. Knows no Ray.

Only what the model wrote and the verdict accepted is kept: a template says that there was trouble, and trouble passes.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from common.domain.context import Context
from common.domain.reason import Reason
from common.generation.answer import Beside, Tell
from serve_app.state.cache import Kept, Key, ReasonStore, kept, reason_of
from serve_app.telemetry.metrics import CACHE_LOOKUPS
from serve_app.telemetry.stages import OFF, Telemetry

Write = Callable[[list[Context], Beside, Tell], Awaitable[object]]
"""Has a reason told for each context, within the page's time, that nothing beside it bars."""
Flight = asyncio.Future[Kept | None]


@dataclass(slots=True)
class Gathered:
    """A page that fills, place by place, in whatever order its reasons come."""

    keys: Sequence[Key]
    contexts: Mapping[Key, Context]
    beside: Beside
    tell: Tell
    reasons: dict[int, Reason] = field(default_factory=dict)
    alike: dict[int, Reason] = field(default_factory=dict)
    """what was written for other pages, and reads like something that this one shows"""
    barred: set[Key] = field(default_factory=set)
    """of what was written for other pages and must not be shown any more"""

    def missing(self) -> list[Key]:
        """Without a reason, each once, in the page's order."""
        return list(dict.fromkeys(key for at, key in enumerate(self.keys) if at not in self.reasons and at not in self.alike))

    def take(self, key: Key, reason: Reason, *, ours: bool = False) -> None:
        """`ours`: written for this page, and among what it shows already; another place that asks for the same would only repeat it."""
        for at in [at for at, own in enumerate(self.keys) if own == key and at not in self.reasons and at not in self.alike]:
            if not ours and reason.source != "template":
                why = self.beside.bars(self.contexts[key], reason.text)
                if why == "taken_down":
                    self.barred.add(key)
                    continue
                if why == "too_alike":
                    self.alike[at] = reason
                    continue
                self.beside.add(reason.text)
            self.put(at, reason)
            ours = False

    def put(self, at: int, reason: Reason) -> None:
        self.reasons[at] = reason
        self.tell(at, reason)

    def texts(self) -> list[str]:
        return [reason.text for reason in self.reasons.values() if reason.source != "template"]


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
        self,
        contexts: Sequence[Context],
        keys: Sequence[Key],
        *,
        write: Write,
        beside: Beside,
        left_s: Callable[[], float],
        tell: Tell,
        ahead: bool = False,
    ) -> list[Reason]:
        """A reason for each context, in order, each told as soon as it is there. What another page is writing is waited for, as long as
        `left_s` (the time that is left after one more round of writing); where nothing comes of that it is written here, so that nobody
        gets a template for another's trouble. What was written for another page and is barred here is written anew. `ahead`: nobody waits
        for this page, so nobody is to wait for what it writes in its own time."""
        by_key = dict(zip(keys, contexts, strict=True))
        page, in_time = Gathered(keys, by_key, beside, tell), True
        for key, reason in (await self._found(by_key)).items():
            page.take(key, reason)
        while missing := page.missing():
            flights = {key: self._flights[key] for key in missing if key in self._flights}
            here = missing if ahead or (flights and not in_time) else [key for key in missing if key in page.barred]
            if here:
                await self._write_here(here, page, write)
                continue
            joined = [asyncio.ensure_future(_join(flight, page, key, left_s())) for key, flight in flights.items()]
            try:
                await self._lead([key for key in missing if key not in flights], page, write)
                in_time = all(await asyncio.gather(*joined))
            finally:
                for one in joined:
                    one.cancel()
        await self._told_apart(page, contexts, write)
        return [page.reasons[at] for at in range(len(keys))]

    async def _found(self, contexts: Mapping[Key, Context]) -> dict[Key, Reason]:
        with self._telemetry.stage("cache"):
            found = await self._store.get(list(contexts))
        self._telemetry.record(CACHE_LOOKUPS, len(found), {"result": "hit"})
        self._telemetry.record(CACHE_LOOKUPS, len(contexts) - len(found), {"result": "miss"})
        return {key: reason_of(entry, contexts[key]) for key, entry in found.items()}

    async def _write_here(self, keys: list[Key], page: Gathered, write: Write) -> None:
        """For nobody else, whatever is written elsewhere."""
        fresh: dict[Key, Kept] = {}

        def take(at: int, reason: Reason) -> None:
            if reason.source == "model":
                fresh[keys[at]] = kept(reason)
            page.take(keys[at], reason, ours=True)

        await write([page.contexts[key] for key in keys], page.beside, take)
        self._later(self._keep(fresh))

    async def _lead(self, keys: list[Key], page: Gathered, write: Write) -> None:
        """Writes `keys` for this page and whoever waits for them, who have each as soon as it is accepted."""
        if not keys:
            return
        flights = {key: asyncio.get_running_loop().create_future() for key in keys}
        self._flights |= flights
        fresh: dict[Key, Kept] = {}

        def land(at: int, reason: Reason) -> None:
            if reason.source == "model":
                fresh[keys[at]] = kept(reason)
            self._land(keys[at], flights, fresh.get(keys[at]))
            page.take(keys[at], reason, ours=True)

        try:
            await write([page.contexts[key] for key in keys], page.beside, land)
        finally:
            for key in keys:
                self._land(key, flights, None)
            self._later(self._keep(fresh, landed=list(fresh)))

    def _land(self, key: Key, flights: Mapping[Key, Flight], entry: Kept | None) -> None:
        """Once. A flight that brings something is over when that can be found in the store: nobody writes a text again in between."""
        if flights[key].done():
            return
        flights[key].set_result(entry)
        if entry is None:
            del self._flights[key]

    async def _keep(self, fresh: dict[Key, Kept], *, landed: Sequence[Key] = ()) -> None:
        try:
            if fresh:
                await self._store.put(fresh)
        finally:
            for key in landed:
                del self._flights[key]

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _told_apart(self, page: Gathered, contexts: Sequence[Context], write: Write) -> None:
        """What reads like something else of the page is written anew beside it, once for all pages like it; with the reason that it had
        where nothing comes of that."""
        if not page.alike:
            return
        others = page.texts()
        here = {_beside(page.keys[at], number, others): at for number, at in enumerate(sorted(page.alike))}
        fresh: dict[Key, Kept] = {}
        for key, reason in (await self._found({key: contexts[at] for key, at in here.items()})).items():
            if page.beside.bars(contexts[here[key]], reason.text) is None:
                page.beside.add(reason.text)
                page.put(here[key], reason)

        missing = [key for key, at in here.items() if at not in page.reasons]

        def take(number: int, reason: Reason) -> None:
            at = here[missing[number]]
            if reason.source == "model":
                fresh[missing[number]] = kept(reason)
            page.put(at, reason if reason.source == "model" else page.alike[at])

        if missing:
            await write([contexts[here[key]] for key in missing], page.beside, take)
            self._later(self._keep(fresh))


def _beside(key: Key, number: int, others: Iterable[str]) -> Key:
    """Of what is written under `key` for a page that shows `others`; `number` tells two places of one key apart."""
    return hashlib.sha256("\n".join([key, str(number), *sorted(others)]).encode()).hexdigest()


async def _join(flight: Flight, page: Gathered, key: Key, left_s: float) -> bool:
    """Whether another page's flight ended in time; what it brought is taken."""
    try:
        entry = await asyncio.wait_for(asyncio.shield(flight), max(0.0, left_s))
    except TimeoutError:
        return False
    if entry is not None:
        page.take(key, reason_of(entry, page.contexts[key]))
    return True
