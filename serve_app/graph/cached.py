"""Answers from a store where it can, and has the rest written: what several pages ask for at once is written once. Knows no Ray.

Only what the model wrote and the verdict accepted is kept: a template says that there was trouble, and trouble passes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from common.domain.context import Context
from common.domain.reason import Reason
from common.quality.variety import Shown
from serve_app.state.cache import Kept, Key, ReasonStore, kept, reason_of

Write = Callable[[list[Context], Sequence[str]], Awaitable[list[Reason]]]
"""A reason for each context, in order, within the page's time; beside the texts that the page shows already."""
Flight = asyncio.Future[Kept | None]


class Cached:
    def __init__(self, store: ReasonStore) -> None:
        self._store = store
        self._flights: dict[Key, Flight] = {}
        self._keeping: set[asyncio.Task[None]] = set()

    @property
    def num_flights(self) -> int:
        """Keys that are being written or kept now."""
        return len(self._flights)

    async def answer(
        self, contexts: Sequence[Context], keys: Sequence[Key], *, write: Write, varied: bool, left_s: Callable[[], float]
    ) -> list[Reason]:
        """A reason for each context, in order. What another page is writing is waited for while there is time; where nothing comes of that
        it is written here, so that nobody gets a template for another's trouble. `varied`: what reads like an earlier reason of this page,
        having been written for another page, is written anew for this one."""
        by_key = dict(zip(keys, contexts, strict=True))
        found = await self._store.get(list(by_key))
        reasons = {key: reason_of(entry, by_key[key]) for key, entry in found.items()}
        flights = {key: self._flights[key] for key in by_key if key not in reasons and key in self._flights}
        beside = [reason.text for reason in reasons.values()]
        reasons |= await self._lead([key for key in by_key if key not in reasons and key not in flights], by_key, write, beside)
        for key, flight in flights.items():
            if (landed := await _landed(flight, left_s())) is not None:
                reasons[key] = reason_of(landed, by_key[key])
        late = [key for key in by_key if key not in reasons]
        beside = [reason.text for reason in reasons.values() if reason.source != "template"]
        reasons |= await self._lead([key for key in late if key not in self._flights], by_key, write, beside)
        if left := [key for key in late if key not in reasons]:  # somebody else began anew meanwhile: it is late enough to do it here
            reasons |= dict(zip(left, await write([by_key[key] for key in left], beside), strict=True))
        page = [reasons[key] for key in keys]
        return await _varied(page, contexts, write) if varied else page

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
            keeping = asyncio.create_task(self._keep(fresh, keys))
            self._keeping.add(keeping)
            keeping.add_done_callback(self._keeping.discard)

    async def _keep(self, fresh: dict[Key, Kept], keys: list[Key]) -> None:
        """A flight is over when its entry can be found: nobody writes a text again in between."""
        try:
            if fresh:
                await self._store.put(fresh)
        finally:
            for key in keys:
                del self._flights[key]


async def _varied(page: list[Reason], contexts: Sequence[Context], write: Write) -> list[Reason]:
    """The page with what reads like an earlier reason written anew, beside all others."""
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
    others = [reason.text for at, reason in enumerate(page) if reason.source != "template" and at not in alike]
    anew = iter(await write([contexts[at] for at in alike], others))
    return [next(anew) if at in alike else reason for at, reason in enumerate(page)]


async def _landed(flight: Flight, left_s: float) -> Kept | None:
    """What came of it; None where nothing did, or not in time."""
    try:
        return await asyncio.wait_for(asyncio.shield(flight), max(0.0, left_s))
    except TimeoutError:
        return None
