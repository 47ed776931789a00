"""API keys in a file that may change while we serve. It holds digests, never a key: who reads it can call nothing.

A key is 256 random bits, so that its plain sha256 cannot be guessed back; a password would need more.
"""

import hashlib
import logging
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field, model_validator

from common.config import Frozen, load_config
from common.errors import ConfigError, LiyouError

log = logging.getLogger("ray.serve")

PREFIX = "ly_"
LOOK_EVERY_S = 1.0
Scope = Literal["reasons", "models"]
SCOPES: tuple[Scope, ...] = ("reasons", "models")


class KeyLimits(Frozen):
    """Null: as many as it likes."""

    requests_per_minute: int | None = Field(None, ge=1)
    items_per_minute: int | None = Field(None, ge=1)
    items_per_day: int | None = Field(None, ge=1)


class ApiKey(Frozen):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="stands in logs and counters")
    tenant: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="whose it is; keys of one tenant share nothing but that")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the key")
    scopes: tuple[Scope, ...] = SCOPES
    expires: AwareDatetime | None = Field(None, description="null: never")
    sandbox: bool = Field(False, description="answers are templates, the same for the same request, and no model is asked")
    limits: KeyLimits = KeyLimits()


class KeyFile(Frozen):
    keys: tuple[ApiKey, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> "KeyFile":
        names = [key.name for key in self.keys]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"keys: two are named {', '.join(twice)}")
        if len({key.sha256 for key in self.keys}) < len(self.keys):
            raise ValueError("keys: two have the same sha256")
        return self


def new_key() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class KeyStore:
    """The keys as the file has them now, looked at again every second. A file that became unreadable changes nothing, and is told."""

    def __init__(self, path: Path, *, clock: Callable[[], float]) -> None:
        """Raises ConfigError naming file and field."""
        self._path, self._clock = path, clock
        self._seen: tuple[int, int] | None = None
        self._looked_s = clock()
        self._keys = self._read()

    def find(self, key: str, *, now: datetime) -> ApiKey | None:
        """None for a key that is not known or has expired."""
        if self._clock() - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = self._clock()
            self._look_again()
        found = self._keys.get(digest(key))
        return None if found is None or (found.expires is not None and now >= found.expires) else found

    def _look_again(self) -> None:
        try:
            if self._stamp() != self._seen:
                self._keys = self._read()
                log.info("%s: %d keys", self._path, len(self._keys))
        except (LiyouError, OSError) as error:
            log.error("%s cannot be read any more; the keys it had stay: %s", self._path, error)

    def _read(self) -> dict[str, ApiKey]:
        try:
            stamp = self._stamp()
        except OSError as error:
            raise ConfigError(f"doors.keys: {self._path}: {error.strerror}; `liyou keys issue` makes such a file") from error
        found = {key.sha256: key for key in load_config(self._path, KeyFile).keys}
        self._seen = stamp  # only now: a file that could not be read is tried again
        return found

    def _stamp(self) -> tuple[int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_ino
