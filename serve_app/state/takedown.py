"""Which orders of takedown stand, followed in storage: a replica asks for the next number once in a while, and finds it or nothing.

Storage that does not answer changes nothing of what is known; how long ago it last did is told. A replica that has never read the orders
does not start: it could show what was taken down long ago. An empty folder may be a volume that was not mounted, so whoever begins leaves
a file that says that orders lie there.
"""

import asyncio
import logging
from contextlib import suppress

from pydantic import ValidationError

from common.artifacts.storage import Storage, open_storage
from common.contract.takedown import Order, Standing, read_order
from common.errors import AlreadyExists, ArtifactNotFound, ConfigError, Tampered
from serve_app.config import TakedownConfig

log = logging.getLogger("ray.serve")

TRIES = 5
BEGUN = "takedowns/begun.json"


def key_of(number: int) -> str:
    return f"takedowns/{number:08d}.json"


class Takedowns:
    def __init__(self, storage: Storage) -> None:
        """Raises StorageUnreachable, or ConfigError where no orders were ever begun."""
        self._storage = storage
        self.standing = self._read(Standing())
        log.info("takedowns: %d orders stand, of %d given", len(self.standing.takedowns), self.standing.last)

    async def refresh(self) -> bool:
        """Whether there was an order that had not been known. Raises what reading raises."""
        before = self.standing
        self.standing = await asyncio.to_thread(self._read, before)
        if new := self.standing.last > before.last:
            log.warning("takedowns: order %d and all before it stand now", self.standing.last)
        return new

    def _read(self, known: Standing) -> Standing:
        check_begun(self._storage)
        return read_orders(self._storage, known, strict=False)


def read_orders(storage: Storage, known: Standing, *, strict: bool = True) -> Standing:
    """Raises Tampered for an order that is none; not `strict`, it is told in the log and those after it count all the same: an order of a
    kind that this build does not know must not hold up the others."""
    orders: list[Order | None] = []
    while True:
        key = key_of(known.last + len(orders) + 1)
        try:
            orders.append(read_order(storage.get(key)))
        except ArtifactNotFound:
            return known.after(orders) if orders else known
        except ValidationError as error:
            told = f"{storage.uri}/{key}: this is no order of takedown that this build can read: {error.errors()[0]['msg']}"
            if strict:
                raise Tampered(told) from error
            log.error("takedowns: %s", told)
            orders.append(None)


def begin(storage: Storage) -> bool:
    """Whether it had not been begun."""
    try:
        storage.put(BEGUN, b"{}", create_only=True)
    except AlreadyExists:
        return False
    return True


def check_begun(storage: Storage) -> None:
    """Raises ConfigError."""
    if not storage.exists(BEGUN):
        raise ConfigError(f"{storage.uri}: no orders of takedown lie there; is it the right place? `liyou takedown begin` makes it one")


def give_order(storage: Storage, order: Order) -> int:
    """Its number. Raises AlreadyExists where others kept giving orders at the same moments."""
    for _ in range(TRIES):
        number = read_orders(storage, Standing()).last + 1
        with suppress(AlreadyExists):
            storage.put(key_of(number), order.model_dump_json().encode(), create_only=True)
            return number
    raise AlreadyExists(f"{storage.uri}: others gave orders at the same moments, {TRIES} times; try again")


def open_takedowns(config: TakedownConfig) -> Takedowns | None:
    """None where none are followed. Raises as `Takedowns` does."""
    return Takedowns(open_storage(config.at)) if config.at else None
