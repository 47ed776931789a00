"""Where a pack's files are: shipped with the package, in a folder, in a bucket. Knows their names, and nothing of what is in them."""

import difflib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from common.artifacts import storage
from common.errors import ArtifactNotFound, ConfigError

PARTS = ("controls", "facts", "lexicon", "knowledge", "templates")
OPTIONAL = ("channels", "traits")
"""Parts that a pack may do without."""
ABOUT = "pack.yaml"
MAX_BYTES = 4 << 20
"""Of one file. The largest shipped one has 40 KB."""
_SHIPPED_AT = Path(__file__).resolve().parent


class Files(Protocol):
    """A place that holds a pack's files."""

    def label(self, name: str) -> str:
        """How a file is named in messages."""

    def read(self, name: str) -> bytes | None:
        """None: no such file."""

    def names(self) -> list[str]:
        """Of its files, those in folders below left out."""


@dataclass(frozen=True, slots=True)
class Folder:
    path: Path

    def label(self, name: str) -> str:
        return str(self.path / name)

    def read(self, name: str) -> bytes | None:
        file = self.path / name
        return file.read_bytes() if file.is_file() else None

    def names(self) -> list[str]:
        return sorted(file.name for file in self.path.iterdir() if file.is_file())


@dataclass(frozen=True)
class Bucket:
    """Each file is read once: what was looked at is what is parsed, whoever writes there meanwhile."""

    uri: str

    def label(self, name: str) -> str:
        return f"{self.uri}/{name}"

    def read(self, name: str) -> bytes | None:
        if name not in self._seen:
            try:
                self._seen[name] = self._storage.get(name)
            except ArtifactNotFound:
                self._seen[name] = None
        return self._seen[name]

    def names(self) -> list[str]:
        return [key for key in self._storage.list() if "/" not in key]

    @cached_property
    def _storage(self) -> storage.Storage:
        return storage.open_storage(self.uri)

    @cached_property
    def _seen(self) -> dict[str, bytes | None]:
        return {}


def shipped_names() -> list[str]:
    return sorted(path.parent.name for path in _SHIPPED_AT.glob("*/controls.yaml"))


def shipped(name: str) -> Folder:
    return Folder(_SHIPPED_AT / name)


def located(source: str | Path) -> str:
    """The source as another process on this machine finds it: names and s3:// URIs as they are, folders from the root."""
    text = str(source)
    return text if text in shipped_names() else storage.located(text)


def files_of(source: str | Path) -> tuple[str, Files]:
    """The name that the place suggests, and the place. Raises ConfigError where there is none."""
    text = str(source)
    if text in shipped_names():
        return text, shipped(text)
    if text.startswith("s3://"):
        uri = text.rstrip("/")
        return _name(uri.rpartition("/")[2]), Bucket(uri)
    path = Path(text).expanduser()
    if not path.is_dir():
        raise ConfigError(
            f"pack {text!r}: no such folder; expected one of {', '.join(shipped_names())}, the path of a folder with controls.yaml, "
            "or s3://BUCKET/PREFIX"
        )
    return _name(path.resolve().name), Folder(path)


def refuse_strangers(files: Files) -> None:
    """A misnamed part would be ignored, and the shipped one stand for it unnoticed. Raises ConfigError."""
    known = [ABOUT, *(f"{part}.yaml" for part in (*PARTS, *OPTIONAL))]
    for name in files.names():
        if name not in known and name.lower().endswith((".yaml", ".yml")):
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"{files.label(name)}: no part of a pack" + (f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}")
            )


def read_part(files: Files, name: str) -> bytes:
    """Raises ConfigError for a file that is not there, or too large to be one that a person wrote."""
    data = files.read(name)
    if data is None:
        raise ConfigError(
            f"{files.label(name)}: no such file; a pack is {', '.join(PARTS)}, each .yaml; "
            f"`extends` in {ABOUT} takes those that are not there from a shipped one"
        )
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{files.label(name)}: {len(data)} bytes; expected at most {MAX_BYTES}")
    return data


def _name(text: str) -> str:
    plain = re.sub(r"[^a-z0-9_]", "_", text.lower())
    return (plain if re.match(r"[a-z]", plain) else f"pack_{plain}")[:32]
