"""Names bytes by what they are: sha256 as lower-case hex, of bytes, files, folders and canonical JSON. Knows not what the bytes mean."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import orjson
from pydantic import BaseModel

CHUNK_BYTES = 1 << 20


def sha256_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path | str) -> str:
    """Reads in chunks: a file may be larger than memory."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def file_digests(folder: Path | str) -> dict[str, str]:
    """Path inside the folder (with /) -> sha256 of the file, in sorted order. Follows no link: raises ValueError."""
    root = Path(folder)
    files = sorted(path for path in root.rglob("*") if path.is_file() or path.is_symlink())
    links = [str(path) for path in files if path.is_symlink()]
    if links:
        raise ValueError(f"{links[0]}: a symbolic link has no digest of its own; put the file there")
    return {path.relative_to(root).as_posix(): sha256_file(path) for path in files}


def tree_digest(digests: Mapping[str, str]) -> str:
    """One digest for a set of files (path -> sha256), whatever the order in which they are listed."""
    return sha256_bytes(canonical_json(dict(digests)))


def canonical_json(value: object) -> bytes:
    """The one JSON of a value: UTF-8, sorted keys, no spaces, shortest floats; a model as its JSON form. Raises ValueError on NaN."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    _refuse_non_finite(plain)
    return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)


def _refuse_non_finite(value: object) -> None:
    """orjson writes NaN as null, which would give two different values one digest."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise ValueError(f"{value} has no canonical JSON; use null or a finite number")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_non_finite(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_non_finite(item)
