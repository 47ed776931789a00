"""Objects under keys, on a disk (`file://`, a plain path) or in a bucket (`s3://bucket/prefix`). Knows not what the bytes are.

Both kinds keep one promise: `create_only` lets exactly one of any number of writers win (a hard link on disk, `If-None-Match: *` in a
bucket). Credentials, region and endpoint of a bucket are what boto3 finds by its own rules.
"""

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from common.artifacts.digest import sha256_bytes, sha256_file
from common.errors import AlreadyExists, ArtifactNotFound, BadInput, ConfigError, StorageUnreachable

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

MAX_KEY_BYTES = 900
PART_BYTES = 16 << 20
"""Files above it go to a bucket and come back in parts of this size, each tried again by itself."""
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

    def remove(self, key: str) -> None:
        """Of records whose time is over; nothing where the key is not taken. A registry never calls it: its objects are written once."""

    def put_file(self, key: str, path: Path) -> None:
        """As `put`, for a file of any size: it is never in memory whole."""

    def get_file(self, key: str, path: Path) -> str:
        """Writes the object's bytes to `path` and returns their sha256, read back from there. Raises ArtifactNotFound."""


def is_bucket(place: str | Path) -> bool:
    return str(place).startswith("s3://")


def located(place: str | Path) -> str:
    """The place as another process on this machine finds it: a folder from the root, a bucket as it is. Raises ConfigError."""
    if "://" in str(place) and not is_bucket(place):
        raise ConfigError(f"{place}: expected a folder or s3://BUCKET/PREFIX")
    return str(place).rstrip("/") if is_bucket(place) else str(Path(place).expanduser().resolve())


def for_ray(place: str) -> tuple[str, "FileSystem | None"]:
    """A place as Ray Train and Tune take it: `storage_path`, and `storage_filesystem` for a bucket, whose endpoint Arrow has to be told."""
    storage = open_storage(place)
    if not isinstance(storage, S3Storage):
        return place, None
    return storage.uri.removeprefix("s3://"), storage.filesystem()


def open_storage(uri: str | Path, *, cache_dir: Path | None = None) -> Storage:
    """`file:///folder`, a plain path (created when first written), or `s3://bucket/prefix`. Raises ConfigError on another scheme.

    `cache_dir` None: `.cache` inside the folder, or for a bucket `node_cache()`, which all processes of this user share.
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
        with self._writing(key, create_only=create_only) as file:
            file.write(data)

    def list(self, prefix: str = "") -> list[str]:
        start = self.root / prefix.rpartition("/")[0]
        found = []
        for folder, folders, files in os.walk(start):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [(Path(folder) / name).relative_to(self.root).as_posix() for name in files if not name.startswith(".")]
        return sorted(key for key in found if key.startswith(prefix))

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def remove(self, key: str) -> None:
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise StorageUnreachable(f"{self.uri}/{key} cannot be removed: {error.strerror or error}") from error

    def put_file(self, key: str, path: Path) -> None:
        with self._writing(key) as file, path.open("rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)

    def get_file(self, key: str, path: Path) -> str:
        with self._reading(key):
            shutil.copyfile(self._path(key), path)
        return sha256_file(path)

    def _path(self, key: str) -> Path:
        path = self.root / checked_key(key)
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise BadInput(f"key {key!r} leaves {self.uri} through a symbolic link")
        return path

    @contextmanager
    def _writing(self, key: str, *, create_only: bool = False) -> Iterator[BinaryIO]:
        """A file beside the object, which takes its place when the block ends and is gone where the block raises."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
            try:
                with os.fdopen(handle, "wb") as file:
                    yield file
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
        from boto3.s3.transfer import TransferConfig
        from botocore.config import Config

        self.bucket = bucket
        self.prefix = f"{checked_key(prefix)}/" if prefix else ""
        self._cache_dir = cache_dir
        config = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "max_attempts": 4})
        self._client = boto3.Session().client(
            "s3", config=config
        )  # the default session is one for all threads, and keeps the first credentials
        self._parts = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=4)

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def cache_dir(self) -> Path:
        return self._cache_dir or node_cache() / sha256_bytes(self.uri.encode())[:16]

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
            keys = (item["Key"] for page in pages for item in page.get("Contents", []))
            return sorted(key.removeprefix(self.prefix) for key in keys if not key.endswith("/"))  # Arrow marks its folders so

    def exists(self, key: str) -> bool:
        try:
            with self._asking(key):
                self._client.head_object(Bucket=self.bucket, Key=self._key(key))
        except ArtifactNotFound:
            return False
        return True

    def remove(self, key: str) -> None:
        with self._asking(key):
            self._client.delete_object(Bucket=self.bucket, Key=self._key(key))

    def put_file(self, key: str, path: Path) -> None:
        with self._asking(key):
            self._client.upload_file(str(path), self.bucket, self._key(key), Config=self._parts)

    def get_file(self, key: str, path: Path) -> str:
        with self._asking(key):
            self._client.download_file(self.bucket, self._key(key), str(path), Config=self._parts)
        return sha256_file(path)

    def filesystem(self) -> "FileSystem":
        """The same bucket for Arrow, as Ray Train wants it. Paths in it are BUCKET/KEY. It finds credentials by itself, on each node and
        again when they expire; the endpoint it is told, since it knows neither boto3's configuration nor its variables."""
        from pyarrow.fs import S3FileSystem

        endpoint = urlsplit(self._client.meta.endpoint_url)
        own = (
            {} if (endpoint.hostname or "").endswith("amazonaws.com") else {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
        )
        return S3FileSystem(region=self._client.meta.region_name, **own)

    def _key(self, key: str) -> str:
        return self.prefix + checked_key(key)

    @contextmanager
    def _asking(self, key: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except OSError as error:
            raise StorageUnreachable(f"{self.uri}/{key}: {error.strerror or error}, on this machine") from error
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in ("NoSuchKey", "404", "NotFound"):
                raise ArtifactNotFound(f"{self.uri} holds no {key!r}") from error
            if code in ("PreconditionFailed", "412", "ConditionalRequestConflict"):  # the last: AWS's, while another writes at this moment
                raise AlreadyExists(f"{self.uri}/{key} was written by somebody else first; read it and decide again") from error
            if code == "NoSuchBucket":
                raise ConfigError(f"{self.uri}: there is no such bucket; create it or correct the URI") from error
            raise StorageUnreachable(f"{self.uri}/{key}: the server answered {code or 'an error'}: {error}") from error
        except (BotoCoreError, Boto3Error) as error:
            raise StorageUnreachable(f"{self.uri}/{key}: {error}; check credentials, endpoint and network") from error


def node_cache() -> Path:
    """Where this user's processes keep verified copies on this machine. Raises StorageUnreachable where somebody else made the folder: its
    place can be guessed, and who owns it could put other bytes there between a check and a read."""
    path = Path(tempfile.gettempdir()) / f"liyou-cache-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise StorageUnreachable(f"{path}: no cache can be kept there ({error.strerror}); set TMPDIR to a folder with room") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StorageUnreachable(f"{path}: not a folder of this user's alone; remove it, or set TMPDIR to a folder of its own")
    return path


def _sync_folder(folder: Path) -> None:
    """Makes the new name itself durable, not only the bytes behind it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
