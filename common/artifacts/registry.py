"""Versions of folders and the aliases that point at them, in any storage. Knows not what a folder holds.

Keys: `objects/SHA256` (the files, by content), `versions/VERSION.json` (written last, create-only: a version exists when this does) and
`aliases/NAME/000001.json`, one create-only object a move, so that of two people who move an alias at once exactly one succeeds.
"""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

import orjson
from pydantic import AwareDatetime, Field

from common.artifacts.digest import canonical_json, file_digests, sha256_bytes, tree_digest
from common.artifacts.storage import Storage, is_bucket, open_storage
from common.config import Frozen, parse
from common.errors import AliasConflict, AlreadyExists, ArtifactNotFound, BadInput, ConfigError, DigestMismatch, StorageUnreachable

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
CONTENT = "v-"
"""What the ids that are made here begin with."""


class Version(Frozen):
    """What a version is made of."""

    format: Literal[1] = 1
    version: str = Field(description="the id of its content: the folder's own (a bundle's), or v- and the digest of its files")
    files: dict[str, str] = Field(description="path inside the folder -> sha256")


class Move(Frozen):
    """One move of an alias: an entry of its history, never changed."""

    format: Literal[1] = 1
    alias: str
    number: int = Field(ge=1, description="counts from 1 without gaps")
    kind: Literal["promote", "rollback"]
    version: str
    previous: str | None = Field(description="the version it pointed at before; None for the first move")
    reason: str = Field(min_length=1, max_length=2000)
    by: str = Field(min_length=1, max_length=200)
    at: AwareDatetime


Entry = TypeVar("Entry", Version, Move)


class Registry:
    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def publish(self, folder: Path | str, *, version: str | None = None) -> str:
        """Copies the folder in and returns its version id. Publishing the same again writes the same bytes, which mends damaged ones.

        `version` names a folder that has a content id of its own, which may leave out files such as a report: the first one published
        under an id stands. Files go first and the version last, so that a publish cut short leaves no half version.
        Raises BadInput for a folder that holds links, or that somebody writes to meanwhile.
        """
        root = Path(folder)
        if not root.is_dir():
            raise ArtifactNotFound(f"{root}: no such folder to publish")
        digests = _digests(root)
        if not digests:
            raise BadInput(f"{root}: an empty folder has nothing to publish")
        entry = Version(version=_checked_name(version or _content_id(digests)), files=digests)
        standing = set(self.describe(entry.version).files.values()) if self._has(entry.version) else None
        for path, digest in digests.items():
            if standing is None or digest in standing:
                self.storage.put_file(f"objects/{digest}", root / path)
        if _digests(root) != digests:
            raise BadInput(f"{root}: its files changed while they were published; publish it again when nobody writes there")
        if standing is None:
            with suppress(AlreadyExists):  # another publisher of the same content was faster; the ids say that nothing is lost
                self.storage.put(_version_key(entry.version), canonical_json(entry), create_only=True)
        return entry.version

    def versions(self) -> list[str]:
        """All version ids, sorted."""
        return [key.removeprefix("versions/").removesuffix(".json") for key in self.storage.list("versions/")]

    def aliases(self) -> dict[str, str]:
        """Alias -> the version it points at."""
        names = sorted({key.split("/")[1] for key in self.storage.list("aliases/")})
        return {name: self.history(name)[-1].version for name in names}

    def resolve(self, name: str) -> str:
        """The version id behind an alias, an id, or the beginning of one id. Raises ArtifactNotFound, or BadInput when several fit."""
        _checked_name(name)
        if self._has(name):
            return name
        if moves := self.history(name):
            return moves[-1].version
        fitting = [version for version in self.versions() if version.startswith(name)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise BadInput(f"{name!r} begins {len(fitting)} versions: {', '.join(fitting[:5])}; give more of it")
        known = ", ".join([*self.aliases(), *self.versions()][:8]) or "none"
        raise ArtifactNotFound(f"{self.storage.uri} has no version or alias {name!r}; it has {known}")

    def describe(self, name: str) -> Version:
        """The files of a version or alias and their digests. Raises ArtifactNotFound."""
        version = self.resolve(name)
        entry = self._parsed(_version_key(version), Version)
        told = _content_id(entry.files) if version.startswith(CONTENT) else entry.version
        if not version == told == entry.version:
            raise DigestMismatch(f"{self.storage.uri}: the entry of {version} is of {told}; publish the folder again elsewhere")
        return entry

    def read(self, name: str, path: str) -> bytes:
        """One file of a version, verified. Raises ArtifactNotFound or DigestMismatch."""
        return self.read_of(self.describe(name), path)

    def read_of(self, entry: Version, path: str) -> bytes:
        """As `read`, of a version that was described: one request."""
        if path not in entry.files:
            raise ArtifactNotFound(f"version {entry.version} has no file {path!r}; it has {', '.join(entry.files)}")
        return self._object(entry.version, path, entry.files[path])

    def fetch(self, name: str) -> Path:
        """A folder on this machine that holds the version, every byte verified now. Read it, do not write to it."""
        entry = self.describe(name)
        place = self.storage.cache_dir / entry.version
        try:
            with _locked(place):
                if not _holds(place, entry.files):
                    self._fetch(entry, place)
        except OSError as error:
            raise StorageUnreachable(f"{place.parent}: cannot keep a copy there ({error.strerror}); pass another cache_dir") from error
        return place

    def _fetch(self, entry: Version, place: Path) -> None:
        """Puts a verified copy at `place`, of which the caller has the lock, in place of what stands there."""
        unfinished = f".fetching-{entry.version}-"
        for left in place.parent.glob(f"{unfinished}*"):  # by a process that was killed: whoever lives has the lock
            shutil.rmtree(left, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix=unfinished))
        try:
            new = temporary / "new"
            for path, digest in entry.files.items():
                target = new / path
                if not target.resolve().is_relative_to(new.resolve()):
                    raise DigestMismatch(f"version {entry.version} names the file {path!r}, which leaves its folder; refused")
                target.parent.mkdir(parents=True, exist_ok=True)
                _check(entry.version, path, digest, self.storage.get_file(f"objects/{digest}", target))
            if place.exists():
                os.rename(place, temporary / "old")
            os.rename(new, place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def promote(self, alias: str, version: str, *, reason: str, by: str, at: datetime, expected: str | None = None) -> Move:
        """Points the alias at a version. `expected` is the version that the caller believes it points at now ("" for none yet).

        Raises ArtifactNotFound for a version that is not there, AliasConflict when the alias moved in between.
        """
        return self._move(alias, self.resolve(version), kind="promote", reason=reason, by=by, at=at, expected=expected)

    def rollback(self, alias: str, *, reason: str, by: str, at: datetime, expected: str | None = None) -> Move:
        """Back to what the alias pointed at before the version it points at now was promoted; a second rollback goes one further back."""
        standing = _standing(self.history(alias))
        if len(standing) < 2:
            raise BadInput(f"alias {alias!r} has no earlier version to go back to; `promote` one instead")
        return self._move(alias, standing[-2], kind="rollback", reason=reason, by=by, at=at, expected=expected)

    def history(self, alias: str) -> list[Move]:
        """All moves of an alias, oldest first; empty when it never pointed anywhere."""
        keys = self.storage.list(f"aliases/{_checked_name(alias)}/")
        moves = [self._parsed(key, Move) for key in keys]
        if [move.number for move in moves] != list(range(1, len(moves) + 1)) or any(move.alias != alias for move in moves):
            raise DigestMismatch(f"{self.storage.uri}/aliases/{alias} has gaps or foreign entries: its history was tampered with")
        return moves

    def moves_after(self, alias: str, number: int) -> list[Move]:
        """Those that came after a move, oldest first; one small read where there is none."""
        moves: list[Move] = []
        with suppress(ArtifactNotFound):
            while True:
                moves.append(self._parsed(_move_key(alias, number + len(moves) + 1), Move))
        return moves

    def _move(
        self, alias: str, version: str, *, kind: Literal["promote", "rollback"], reason: str, by: str, at: datetime, expected: str | None
    ) -> Move:
        moves = self.history(alias)
        previous = moves[-1].version if moves else None
        if expected is not None and expected != (previous or ""):
            raise AliasConflict(
                f"alias {alias!r} points at {previous or 'nothing'}, not at {expected or 'nothing'} as expected; look again"
            )
        entry = {"alias": alias, "number": len(moves) + 1, "kind": kind, "version": version, "previous": previous}
        move = parse({**entry, "reason": reason, "by": by, "at": at}, Move, source=f"{kind} {alias}")
        key, data = _move_key(alias, move.number), canonical_json(move)
        try:
            self.storage.put(key, data, create_only=True)
        except AlreadyExists as error:
            if self.storage.get(key) != data:  # equal bytes: our own write, whose answer was lost and which was sent again
                raise AliasConflict(f"alias {alias!r} was moved by somebody else at this moment; look again") from error
        return move

    def _parsed(self, key: str, kind: type[Entry]) -> Entry:
        source = f"{self.storage.uri}/{key}"
        try:
            return parse(orjson.loads(self.storage.get(key)), kind, source=source)
        except orjson.JSONDecodeError as error:
            raise DigestMismatch(f"{source}: not JSON: {error}; the registry's copy is damaged") from error

    def _has(self, version: str) -> bool:
        return self.storage.exists(_version_key(version))

    def _object(self, version: str, path: str, digest: str) -> bytes:
        data = self.storage.get(f"objects/{digest}")
        _check(version, path, digest, sha256_bytes(data))
        return data


def local_folder(source: str | Path) -> Path:
    """What lies at a path, or at s3://BUCKET/REGISTRY/VERSION (a version or an alias): then a verified copy in this machine's cache.

    Raises ArtifactNotFound, DigestMismatch, StorageUnreachable; a path is not looked at.
    """
    if not is_bucket(source):
        return Path(source).expanduser()
    store, name = version_at(str(source))
    return store.fetch(name)


def pinned(source: str) -> str:
    """s3://BUCKET/REGISTRY/ALIAS as the version that it names now, so that whoever looks later finds the same; a path as it is."""
    if not is_bucket(source):
        return source
    store, name = version_at(source)
    return f"{store.storage.uri}/{store.resolve(name)}"


def version_at(uri: str) -> tuple[Registry, str]:
    """The registry and the name in s3://BUCKET/REGISTRY/VERSION. Raises ConfigError."""
    place, _, name = uri.rstrip("/").rpartition("/")
    if not is_bucket(place) or not _NAME.fullmatch(name):
        raise ConfigError(f"{uri!r}: expected s3://BUCKET/REGISTRY/VERSION, as `liyou base publish` and `liyou data build` print it")
    return Registry(open_storage(place)), name


def _check(version: str, path: str, expected: str, got: str) -> None:
    if got != expected:
        raise DigestMismatch(
            f"version {version}, file {path}: expected sha256 {expected}, got {got}; the registry's copy is damaged, and publishing the "
            "same folder again mends it"
        )


def _content_id(files: dict[str, str]) -> str:
    return f"{CONTENT}{tree_digest(files)[:32]}"


def _version_key(version: str) -> str:
    return f"versions/{version}.json"


def _move_key(alias: str, number: int) -> str:
    return f"aliases/{_checked_name(alias)}/{number:06d}.json"


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadInput(f"{name[:100]!r}: a version or alias is 1 to 80 of a-z 0-9 _ - and starts with a letter or digit")
    return name


def _standing(moves: list[Move]) -> list[str]:
    """The versions that rollbacks have not taken back, oldest first."""
    standing: list[str] = []
    for move in moves:
        if move.kind == "rollback":
            standing.pop()
        elif not standing or standing[-1] != move.version:
            standing.append(move.version)
    return standing


def _digests(folder: Path) -> dict[str, str]:
    try:
        return file_digests(folder)
    except ValueError as error:
        raise BadInput(str(error)) from error


def _holds(folder: Path, files: dict[str, str]) -> bool:
    try:
        return folder.is_dir() and file_digests(folder) == dict(sorted(files.items()))
    except (ValueError, OSError):
        return False


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """One process of this machine at a time looks after a copy; the lock goes with the process."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / f".lock-{place.name}").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
