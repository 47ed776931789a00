"""Objects under keys, on a disk (`file://`, a plain path) or in a bucket (`s3://bucket/prefix`). Knows not what the bytes are.

Both kinds keep one promise: `create_only` lets exactly one of any number of writers win (a hard link on disk, `If-None-Match: *` in a
bucket). Credentials, region and endpoint of a bucket are what boto3 finds by its own rules.
"""

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from common.errors import AlreadyExists, ArtifactNotFound, BadInput, ConfigError, StorageUnreachable

MAX_KEY_BYTES = 900
_SEGMENT = re.compile(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*")


class Storage(Protocol):
    """A key is `a/b/c`: no empty part, none that starts with a dot, no backslash. Raises StorageUnreachable when disk or network fails."""

    @property
    def uri(self) -> str: ...

    @property
    def cache_dir(self) -> Path:
        """Where copies of objects may lie on this machine."""

    def get(self, key: str) -> bytes:
        """Raises ArtifactNotFound."""

    def put(self, key: str, data: bytes, *, create_only: bool = False) -> None:
        """All of the bytes or none of them become visible. Raises AlreadyExists when `create_only` and the key is taken."""

    def list(self, prefix: str = "") -> list[str]:
        """All keys that start with `prefix`, sorted."""

    def exists(self, key: str) -> bool: ...

    def local_path(self, key: str) -> Path:
        """A file on this machine with the object's bytes; not to be written to. Raises ArtifactNotFound."""


def open_storage(uri: str | Path, *, cache_dir: Path | None = None) -> Storage:
    """`file:///folder`, a plain path (created when first written), or `s3://bucket/prefix`. Raises ConfigError on another scheme.

    `cache_dir` None: `.cache` inside the folder, or for a bucket a temporary folder that is removed when the process ends.
    """
    text = str(uri)
    if "://" not in text:
        return FileStorage(Path(text), cache_dir=cache_dir)
    parts = urlsplit(text)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return FileStorage(Path(unquote(parts.path)), cache_dir=cache_dir)
    if parts.scheme == "s3" and parts.netloc:
        return S3Storage(parts.netloc, prefix=parts.path.strip("/"), cache_dir=cache_dir)
    raise ConfigError(f"storage {text!r}: expected a path, file:///folder or s3://bucket/prefix")


def checked_key(key: str) -> str:
    """The key itself. Raises BadInput on anything that could name a place outside the storage."""
    if not key or len(key.encode()) > MAX_KEY_BYTES or not all(_SEGMENT.fullmatch(part) for part in key.split("/")):
        raise BadInput(
            f"key {key[:200]!r}: expected parts joined by /, none of them empty or starting with a dot, at most {MAX_KEY_BYTES} bytes"
        )
    return key


class FileStorage:
    def __init__(self, root: Path, *, cache_dir: Path | None = None) -> None:
        self.root = root.absolute()
        self.cache_dir = cache_dir or self.root / ".cache"

    @property
    def uri(self) -> str:
        return self.root.as_uri()

    def get(self, key: str) -> bytes:
        path = self._path(key)
        with self._reading(key):
            return path.read_bytes()

    def put(self, key: str, data: bytes, *, create_only: bool = False) -> None:
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.chmod(temporary, 0o644)
                if create_only:
                    os.link(temporary, path)
                else:
                    os.replace(temporary, path)
            finally:
                Path(temporary).unlink(missing_ok=True)
            _sync_folder(path.parent)
        except FileExistsError as error:
            raise AlreadyExists(f"{self.uri}/{key} was written by somebody else first; read it and decide again") from error
        except OSError as error:
            raise StorageUnreachable(f"{self.uri}/{key} cannot be written: {error.strerror or error}") from error

    def list(self, prefix: str = "") -> list[str]:
        start = self.root / prefix.rpartition("/")[0]
        found = []
        for folder, folders, files in os.walk(start):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [(Path(folder) / name).relative_to(self.root).as_posix() for name in files if not name.startswith(".")]
        return sorted(key for key in found if key.startswith(prefix))

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def local_path(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise ArtifactNotFound(f"{self.uri} holds no {key!r}")
        return path

    def _path(self, key: str) -> Path:
        path = self.root / checked_key(key)
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise BadInput(f"key {key!r} leaves {self.uri} through a symbolic link")
        return path

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise ArtifactNotFound(f"{self.uri} holds no {key!r}") from error
        except OSError as error:
            raise StorageUnreachable(f"{self.uri}/{key} cannot be read: {error.strerror or error}") from error


class S3Storage:
    def __init__(self, bucket: str, *, prefix: str = "", cache_dir: Path | None = None) -> None:
        import boto3
        from botocore.config import Config

        self.bucket = bucket
        self.prefix = f"{checked_key(prefix)}/" if prefix else ""
        self._cache_dir = cache_dir
        config = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "max_attempts": 4})
        self._client = boto3.client("s3", config=config)

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def cache_dir(self) -> Path:
        if self._cache_dir is None:
            self._cache_dir = Path(tempfile.mkdtemp(prefix="liyou-"))
            atexit.register(shutil.rmtree, self._cache_dir, ignore_errors=True)
        return self._cache_dir

    def get(self, key: str) -> bytes:
        with self._asking(key):
            body: bytes = self._client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"].read()
            return body

    def put(self, key: str, data: bytes, *, create_only: bool = False) -> None:
        condition = {"IfNoneMatch": "*"} if create_only else {}
        with self._asking(key):
            self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data, **condition)

    def list(self, prefix: str = "") -> list[str]:
        with self._asking(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
            return sorted(item["Key"].removeprefix(self.prefix) for page in pages for item in page.get("Contents", []))

    def exists(self, key: str) -> bool:
        try:
            with self._asking(key):
                self._client.head_object(Bucket=self.bucket, Key=self._key(key))
        except ArtifactNotFound:
            return False
        return True

    def local_path(self, key: str) -> Path:
        """Downloaded anew at each call: who knows the digest (the registry) keeps what it has verified."""
        path = self.cache_dir / "objects" / checked_key(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".reading-{os.getpid()}-{path.name}")
        with self._asking(key):
            self._client.download_file(self.bucket, self._key(key), str(temporary))
        os.replace(temporary, path)
        return path

    def _key(self, key: str) -> str:
        return self.prefix + checked_key(key)

    @contextmanager
    def _asking(self, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in ("NoSuchKey", "404", "NotFound"):
                raise ArtifactNotFound(f"{self.uri} holds no {key!r}") from error
            if code in ("PreconditionFailed", "412"):
                raise AlreadyExists(f"{self.uri}/{key} was written by somebody else first; read it and decide again") from error
            if code == "NoSuchBucket":
                raise ConfigError(f"{self.uri}: there is no such bucket; create it or correct the URI") from error
            raise StorageUnreachable(f"{self.uri}/{key}: the server answered {code or 'an error'}: {error}") from error
        except BotoCoreError as error:
            raise StorageUnreachable(f"{self.uri}/{key}: {error}; check credentials, endpoint and network") from error


def _sync_folder(folder: Path) -> None:
    """Makes the new name itself durable, not only the bytes behind it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
