"""Something in storage that others change while we serve, looked at once in a while. What goes wrong is told, and what was known stands."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from common.errors import LiyouError

log = logging.getLogger("ray.serve")


class Followed(Protocol):
    @property
    def stale_s(self) -> float:
        """Seconds since storage last said what there is."""

    async def refresh(self) -> bool:
        """Whether there was something new. Raises what reading raises."""


async def follow(followed: Followed, name: str, *, every_s: float, on_new: Callable[[], Awaitable[None]]) -> None:
    """Until it is cancelled."""
    while True:
        await asyncio.sleep(every_s)
        try:
            if await followed.refresh():
                await on_new()
        except LiyouError as error:
            log.error("%s: not read for %.0f s; what was known until then stands: %s", name, followed.stale_s, error)
        except Exception:  # a watcher that stops in silence would be worse than one that tries again
            log.exception("%s: could not be read", name)
