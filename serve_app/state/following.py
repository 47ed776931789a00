"""Something in storage that others change while we serve, looked at once in a while. What goes wrong is told, and what was known stands."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from common.errors import LiyouError

log = logging.getLogger("ray.serve")


async def follow(name: str, look: Callable[[], Awaitable[bool]], *, every_s: float, on_new: Callable[[], Awaitable[None]]) -> None:
    """Until it is cancelled. `look` says whether there is something new."""
    clock = asyncio.get_running_loop().time
    heard_s = clock()
    while True:
        await asyncio.sleep(every_s)
        try:
            new, heard_s = await look(), clock()
            if new:
                await on_new()
        except LiyouError as error:
            log.error("%s: not read for %.0f s; what was known until then stands: %s", name, clock() - heard_s, error)
        except Exception:  # a watcher that stops in silence would be worse than one that tries again
            log.exception("%s: could not be read", name)
