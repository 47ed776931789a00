"""Keeps the record of what was shown: takes entries without waiting, writes segments beside the answering. One a replica of `api`."""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from common.artifacts.signing import Signer
from common.artifacts.storage import Storage, open_storage
from common.contract.audit import Entry, Lost, Place, pseudonym, segment, shown
from common.contract.wire import ReasonsRequest, ReasonsResponse
from common.errors import AlreadyExists, LiyouError
from serve_app.config import AuditConfig
from serve_app.state.secret import read_secret
from serve_app.telemetry.metrics import AUDIT_LOST, AUDIT_PENDING, Record, nothing

log = logging.getLogger("ray.serve")
Now = Callable[[], datetime]


MAX_LINES = 1000
"""Of a segment: making one keeps the replica from answering, 20 microseconds a line."""
CLOSING_TRIES = 5


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Segment:
    key: str
    data: bytes
    count: int


class AuditLog:
    def __init__(
        self, storage: Storage, *, secret: bytes, signer: Signer | None, pending: int, now: Now = utc_now, record: Record = nothing
    ) -> None:
        self._storage, self._secret, self._signer, self._limit, self._now, self._record = storage, secret, signer, pending, now, record
        self._place = Place(f"{now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}")
        self._pending: deque[Entry] = deque()
        self._unwritten: _Segment | None = None
        self._lost = 0
        self._writing = asyncio.Lock()

    def note(self, request: ReasonsRequest, answer: ReasonsResponse, *, tenant: str | None) -> None:
        user = None if request.user is None else pseudonym(request.user.user_id, tenant=tenant, secret=self._secret)
        for entry in shown(answer, at=self._now(), tenant=tenant, user=user, channel=request.channel):
            if len(self._pending) < self._limit:
                self._pending.append(entry)
            else:
                self._lost += 1
                self._record(AUDIT_LOST)

    async def flush(self) -> bool:
        """Writes what waits, as a segment; whether nothing waits any more. What cannot be written is tried again as it is the next time."""
        async with self._writing:
            while (unwritten := self._unwritten or self._next()) is not None:
                self._unwritten = unwritten
                try:
                    await asyncio.to_thread(self._put, unwritten)
                except LiyouError as error:
                    log.error("audit: %d texts wait, since %s", unwritten.count + len(self._pending) + self._lost, error)
                    return False
                self._unwritten = None
            return True

    def _next(self) -> "_Segment | None":
        entries = [self._pending.popleft() for _ in range(min(len(self._pending), MAX_LINES))]
        if self._lost and not self._pending:
            entries.append(Lost(at=self._now(), count=self._lost))
            self._lost = 0
        if not entries:
            return None
        key = f"{self._now():%Y-%m-%d}/{self._place.chain}/{self._place.segment:08d}.jsonl"
        data, self._place = segment(entries, self._place, signer=self._signer)
        return _Segment(key, data, len(entries))

    def _put(self, made: "_Segment") -> None:
        try:
            self._storage.put(made.key, made.data, create_only=True)
        except AlreadyExists:
            if self._storage.get(made.key) != made.data:  # else: the try before, whose answer was lost, had written it
                raise

    async def run(self, *, every_s: float) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(every_s)
            self._record(AUDIT_PENDING, len(self._pending) + (self._unwritten.count if self._unwritten else 0))
            try:
                await self.flush()
            except Exception:  # a record that stops in silence would be worse than one that is tried again
                log.exception("audit: the record could not be written")

    async def close(self) -> None:
        """Writes what waits, and tries for a while where storage is away."""
        for _ in range(CLOSING_TRIES - 1):
            if await self.flush():
                return
            await asyncio.sleep(1.0)
        await self.flush()


def open_audit(config: AuditConfig, *, signer: Signer | None, record: Record = nothing) -> AuditLog | None:
    """None where no record is kept. Raises ConfigError for a URI that is none, or a secret that cannot be read or is too short."""
    if config.to is None or config.secret is None:
        return None
    secret = read_secret(config.secret, field="audit.secret")
    return AuditLog(open_storage(config.to), secret=secret, signer=signer, pending=config.pending, record=record)
