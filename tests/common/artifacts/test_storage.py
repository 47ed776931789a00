import os
import threading
from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.artifacts.digest import sha256_bytes
from common.artifacts.storage import FileStorage, Storage, checked_key, open_storage
from common.errors import AlreadyExists, ArtifactNotFound, BadInput, ConfigError, StorageUnreachable

BAD_KEYS = ["", "/a", "a/", "a//b", "..", "../a", "a/../b", "./a", "a/.hidden", "a\\b", "a\x00b", "a\nb", "a" * 901, "/etc/passwd"]


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "file":
        return open_storage(tmp_path / "store")
    return open_storage(f"s3://{request.getfixturevalue('bucket')}/team/a", cache_dir=tmp_path / "cache")


def test_what_was_put_is_got_under_chinese_keys_too(storage: Storage) -> None:
    storage.put("理由/a b.json", "值".encode())
    assert storage.get("理由/a b.json") == "值".encode()
    assert storage.exists("理由/a b.json")
    assert not storage.exists("理由")


def test_put_replaces_unless_create_only(storage: Storage) -> None:
    storage.put("k", b"1", create_only=True)
    storage.put("k", b"2")
    with pytest.raises(AlreadyExists, match="first"):
        storage.put("k", b"3", create_only=True)
    assert storage.get("k") == b"2"


def test_list_is_sorted_and_by_prefix_of_the_text(storage: Storage) -> None:
    for key in ("b/2", "b/10", "a", "ba"):
        storage.put(key, b"")
    assert storage.list() == ["a", "b/10", "b/2", "ba"]
    assert storage.list("b") == ["b/10", "b/2", "ba"]
    assert storage.list("b/") == ["b/10", "b/2"]
    assert storage.list("none/") == []


def test_a_missing_key_is_named(storage: Storage, tmp_path: Path) -> None:
    for ask in (storage.get, lambda key: storage.get_file(key, tmp_path / "copy")):
        with pytest.raises(ArtifactNotFound, match="'no/such'"):
            ask("no/such")


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_key_cannot_name_a_place_outside(storage: Storage, key: str) -> None:
    for act in (storage.get, storage.exists, lambda k: storage.put(k, b"")):
        with pytest.raises(BadInput, match="key"):
            act(key)


@given(st.text(max_size=30))
def test_every_accepted_key_stays_below_the_root(key: str) -> None:
    try:
        checked_key(key)
    except (BadInput, UnicodeEncodeError):
        return
    root = Path("/store")
    assert Path(os.path.normpath(root / key)).is_relative_to(root)
    assert os.path.normpath(root / key) != str(root)


def test_a_link_inside_the_folder_does_not_lead_out(tmp_path: Path) -> None:
    store = open_storage(tmp_path / "store")
    store.put("a", b"")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "store" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(BadInput, match="link"):
        store.get("link")


def test_a_file_of_several_parts_comes_back_with_its_digest(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.artifacts.storage.PART_BYTES", 5 << 20)
    storage = open_storage(storage.uri)
    content = bytes(range(256)) * (12 << 12)
    (tmp_path / "weights").write_bytes(content)
    storage.put_file("objects/a", tmp_path / "weights")
    assert storage.get_file("objects/a", tmp_path / "copy") == sha256_bytes(content)
    assert (tmp_path / "copy").read_bytes() == storage.get("objects/a") == content
    assert storage.list() == ["objects/a"]


def test_the_cache_of_a_bucket_is_one_for_all_processes_and_nobody_elses(bucket: str, tmp_path: Path) -> None:
    first, again, other = (open_storage(f"s3://{bucket}/{name}").cache_dir for name in ("a", "a", "b"))
    assert first == again != other
    root = tmp_path / f"liyou-cache-{os.getuid()}"
    assert first.parent == root
    assert root.stat().st_mode & 0o777 == 0o700
    root.chmod(0o755)
    with pytest.raises(StorageUnreachable, match="not a folder of this user's alone"):
        open_storage(f"s3://{bucket}/a").cache_dir  # noqa: B018
    root.rmdir()
    root.symlink_to(tmp_path)
    with pytest.raises(StorageUnreachable, match="not a folder of this user's alone"):
        open_storage(f"s3://{bucket}/a").cache_dir  # noqa: B018


def test_a_list_leaves_out_what_arrow_puts_where_it_sees_folders(bucket: str) -> None:
    store = open_storage(f"s3://{bucket}/run")
    store.put("checkpoint/state.json", b"{}")
    for key in ("run/", "run/checkpoint/"):
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=b"")
    assert store.list() == ["checkpoint/state.json"]


def test_of_many_writers_exactly_one_creates(storage: Storage) -> None:
    won: list[int] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        try:
            storage.put("alias/000001.json", str(number).encode(), create_only=True)
        except AlreadyExists:
            return
        won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.get("alias/000001.json") == str(won[0]).encode()


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_storage(tmp_path / "store")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageUnreachable, match="No space left"):
        store.put("a/b", b"data")
    assert store.list() == []
    assert list((tmp_path / "store" / "a").iterdir()) == []


@pytest.mark.parametrize("uri", ["http://x/y", "gs://bucket", "s3://", "file://host/x", "ftp://a"])
def test_an_unknown_scheme_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="storage"):
        open_storage(uri)


def test_file_uri_and_plain_path_are_one_storage(tmp_path: Path) -> None:
    open_storage(f"file://{tmp_path}/with%20space").put("k", b"1")
    assert open_storage(str(tmp_path / "with space")).get("k") == b"1"
    assert isinstance(open_storage(tmp_path), FileStorage)


def test_a_missing_bucket_is_the_callers_to_mend(bucket: str) -> None:
    with pytest.raises(ConfigError, match="no such bucket"):
        open_storage("s3://no-such-bucket").put("k", b"")


def test_an_unreachable_endpoint_is_retryable(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import EndpointConnectionError

    store = open_storage(f"s3://{bucket}")

    def refuse(**arguments: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://example.invalid")

    monkeypatch.setattr(store._client, "get_object", refuse)
    with pytest.raises(StorageUnreachable, match="network") as caught:
        store.get("k")
    assert caught.value.retryable
