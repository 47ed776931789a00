"""Which policy texts are judged with: the one that an alias of a registry names, followed while pages are answered.

A page is judged by one policy, whichever replica does it: whoever answers it takes the policy that is in force when it begins, and names
it in its calls; a replica that does not have it ready reads it. What is published and cannot be read, was signed by nobody who is trusted,
or does not fit the bundle, is told, and the one before stays in force, in a replica that starts later too.
"""

import asyncio
import logging
import threading
from dataclasses import dataclass

from common.artifacts.registry import Registry
from common.artifacts.signing import Keyring, key_id
from common.artifacts.storage import open_storage
from common.errors import LiyouError, Unavailable
from common.packs.load import under_policy
from common.packs.policy import ALIAS, read_policy
from common.packs.schema import Pack
from common.quality.verdict import Checker
from serve_app.config import ServeConfig
from serve_app.state.following import follow
from serve_app.state.keys import read_key
from serve_app.telemetry.metrics import POLICY_REFUSED, Record, nothing

log = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class InForce:
    version: str | None
    """in the registry; None: the policy of the pack that the application was deployed with"""
    checker: Checker


class Policies:
    def __init__(
        self,
        store: Registry | None,
        pack: Pack,
        *,
        threshold: float,
        keys: Keyring | None = None,
        record: Record = nothing,
    ) -> None:
        """`store` None: none is followed. `pack`: as deployed. `keys`: one of them has to have signed a policy; None: nobody has to.

        Raises StorageUnreachable: who does not know what was published would answer otherwise than others do.
        """
        self._store, self._pack, self._threshold, self._keys, self._record = store, pack, threshold, keys, record
        self._reading = threading.Lock()
        self._last = 0
        self.refused: str | None = None
        """What is published and not in force."""
        self.in_force = InForce(None, Checker(pack, threshold=threshold))
        self._ready: dict[str | None, InForce] = {None: self.in_force}
        self._look()

    @property
    def followed(self) -> bool:
        return self._store is not None

    async def refresh(self) -> bool:
        """Whether another is in force now. Raises StorageUnreachable."""
        return await asyncio.to_thread(self._look)

    def named(self, version: str | None) -> Checker:
        """Of the policy that a page began with. Raises Unavailable where it cannot be had."""
        try:
            return self._read(version).checker
        except LiyouError as error:
            raise Unavailable(f"policy {version} cannot be had here ({error.code})") from error

    def follow_beside(self, *, every_s: float) -> None:
        """In a thread of its own, for a replica that has no loop when it is made."""

        async def look() -> bool:
            return self._look()

        async def no_more() -> None: ...

        if self.followed:
            threading.Thread(
                target=lambda: asyncio.run(follow("policy", look, every_s=every_s, on_new=no_more)), name="policy", daemon=True
            ).start()

    def _look(self) -> bool:
        """Takes the newest move whose policy can be read, if there is any; whether another is in force then."""
        before = self.in_force
        moves = self._store.moves_after(ALIAS, self._last) if self._store else []
        refused: str | None = None
        for move in reversed(moves):
            try:
                found = self._read(move.version)
            except Unavailable:
                raise
            except Exception as error:  # whatever is wrong with it: who goes on with the one before is not touched by it
                why = error.code if isinstance(error, LiyouError) else type(error).__name__
                refused = refused or f"policy: {move.version} is published and refused here ({why}); the log says more"
                log.error("policy: %s is published and refused: %s", move.version, error)
                continue
            if found is not self.in_force:
                log.warning("policy: %s, %s, is in force now", move.version, found.checker.pack.policy_version)
                self.in_force = found
            break
        if moves:
            self._last, self.refused = moves[-1].number, refused
        self._record(POLICY_REFUSED, 1 if self.refused else 0)
        return self.in_force is not before

    def _read(self, version: str | None) -> InForce:
        if (found := self._ready.get(version)) is not None:
            return found
        with self._reading:
            if (found := self._ready.get(version)) is None:
                assert self._store is not None
                assert version is not None
                pack = read_policy(self._store, version, under=self._pack, keys=self._keys)
                fitting = under_policy(pack, controls=self._pack.controls, facts=self._pack.facts)
                found = InForce(version, Checker(fitting, threshold=self._threshold))
                # Pages that are being answered were begun with the one in force, or with this one.
                self._ready = {one.version: one for one in (self._ready[None], self.in_force, found)}
            return found


def open_policies(config: ServeConfig, pack: Pack, *, threshold: float, record: Record) -> Policies:
    """Raises as `Policies` does, and ConfigError for a key that cannot be read."""
    own, at = config.policy, config.policy.at or config.registry
    pems = [read_key(path, field="policy.trusted", checked_by=key_id) for path in own.trusted]
    store = Registry(open_storage(at)) if at else None
    return Policies(store, pack, threshold=threshold, keys=Keyring.of_pems(pems) if pems else None, record=record)
