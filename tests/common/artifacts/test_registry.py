from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.artifacts.registry import Registry, local_folder, pinned
from common.artifacts.storage import open_storage
from common.errors import AliasConflict, ArtifactNotFound, BadInput, ConfigError, DigestMismatch

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
WHY = {"reason": "better", "by": "mei", "at": NOON}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(open_storage(tmp_path / "registry"))


def folder(path: Path, **files: str) -> Path:
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def two(registry: Registry, tmp_path: Path) -> tuple[str, str]:
    return registry.publish(folder(tmp_path / "one", a="1")), registry.publish(folder(tmp_path / "two", a="2"))


def test_a_version_is_named_by_its_content(registry: Registry, tmp_path: Path) -> None:
    one, other = two(registry, tmp_path)
    assert one != other
    assert registry.publish(folder(tmp_path / "again", a="1")) == one
    assert registry.versions() == sorted([one, other])


def test_fetch_returns_the_bytes_that_were_published(registry: Registry, tmp_path: Path) -> None:
    source = folder(tmp_path / "one", a="1")
    folder(source / "sub", b="2")
    place = registry.fetch(registry.publish(source))
    assert (place / "a").read_text() == "1"
    assert (place / "sub" / "b").read_text() == "2"


def test_a_publish_cut_short_leaves_no_version(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(key: str, data: bytes, *, create_only: bool = False) -> None:
        if key.startswith("versions/"):
            raise KeyboardInterrupt
        put(key, data, create_only=create_only)

    put = registry.storage.put
    monkeypatch.setattr(registry.storage, "put", cut)
    with pytest.raises(KeyboardInterrupt):
        registry.publish(folder(tmp_path / "one", a="1"))
    assert registry.versions() == []


def test_a_damaged_object_is_not_handed_out(registry: Registry, tmp_path: Path) -> None:
    version = registry.publish(folder(tmp_path / "one", a="1"))
    digest = registry.describe(version).files["a"]
    registry.storage.put(f"objects/{digest}", b"evil")
    with pytest.raises(DigestMismatch, match="file a"):
        registry.fetch(version)
    with pytest.raises(DigestMismatch, match="file a"):
        registry.read(version, "a")


def test_many_who_find_a_damaged_copy_all_get_a_whole_one(registry: Registry, tmp_path: Path) -> None:
    version = registry.publish(folder(tmp_path / "one", a="1", b="2" * 100_000, c="3"))
    place = registry.fetch(version)
    (place.parent / f".fetching-{version}-killed").mkdir()

    def fetched(_: int) -> list[str]:
        found = registry.fetch(version)
        return [(found / name).read_text()[:1] for name in "abc"]

    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            (place / "a").unlink()
            assert list(pool.map(fetched, range(8))) == [["1", "2", "3"]] * 8
    assert not list(place.parent.glob(".fetching-*")), "what a killed process left is gone"


def test_a_folder_that_changes_while_it_is_published_is_no_version(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, put_file = folder(tmp_path / "one", a="1"), registry.storage.put_file

    def put(key: str, path: Path) -> None:
        (source / "a").write_text("2")
        put_file(key, path)

    monkeypatch.setattr(registry.storage, "put_file", put)
    with pytest.raises(BadInput, match="changed while"):
        registry.publish(source)
    assert registry.versions() == []


def test_a_folder_with_a_link_is_not_published(registry: Registry, tmp_path: Path) -> None:
    (folder(tmp_path / "one", a="1") / "link").symlink_to("/etc/hostname")
    with pytest.raises(BadInput, match="symbolic link"):
        registry.publish(tmp_path / "one")


def test_an_alias_is_pinned_to_the_version_it_names_now(bucket: str, tmp_path: Path) -> None:
    registry = Registry(open_storage(f"s3://{bucket}/data"))
    one, other = two(registry, tmp_path)
    registry.promote("live", one, **WHY)
    kept = pinned(f"s3://{bucket}/data/live")
    registry.promote("live", other, **WHY)
    assert kept == pinned(kept) == f"s3://{bucket}/data/{one}"
    assert (local_folder(kept) / "a").read_text() == "1"
    assert [pinned(place) for place in ("data/live", "owner/name", "starter")] == ["data/live", "owner/name", "starter"]


def test_publishing_again_mends_a_damaged_object(registry: Registry, tmp_path: Path) -> None:
    version = registry.publish(folder(tmp_path / "one", a="1", b="2"))
    for damage in (b"evil", b"9"):  # of another length and of the same
        registry.storage.put(f"objects/{registry.describe(version).files['a']}", damage)
        assert registry.publish(tmp_path / "one") == version
        assert (registry.fetch(version) / "a").read_text() == "1"


def test_a_uri_names_a_version_in_a_bucket_and_a_path_itself(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = f"s3://{bucket}/bases"
    version = Registry(open_storage(place)).publish(folder(tmp_path / "one", a="1"))
    assert (local_folder(f"{place}/{version}") / "a").read_text() == "1"
    assert local_folder(tmp_path / "one") == tmp_path / "one"
    with pytest.raises(ArtifactNotFound, match="has no version or alias 'v-0'"):
        local_folder(f"{place}/v-0")
    with pytest.raises(ConfigError, match="expected s3://BUCKET/REGISTRY/VERSION"):
        local_folder(f"s3://{bucket}")


def test_a_version_named_by_its_content_holds_no_other(registry: Registry, tmp_path: Path) -> None:
    one, other = two(registry, tmp_path)
    changed = registry.storage.get(f"versions/{other}.json").replace(other.encode(), one.encode())
    registry.storage.put(f"versions/{one}.json", changed)
    with pytest.raises(DigestMismatch, match=f"the entry of {one} is of {other}"):
        registry.fetch(one)


def test_an_entry_that_is_no_json_is_damage_and_no_traceback(registry: Registry, tmp_path: Path) -> None:
    one, _ = two(registry, tmp_path)
    registry.promote("prod", one, **WHY)
    for key, reading in ((f"versions/{one}.json", registry.describe), ("aliases/prod/000001.json", registry.history)):
        registry.storage.put(key, b"{")
        with pytest.raises(DigestMismatch, match=f"{key}: not JSON"):
            reading(one if key.startswith("versions") else "prod")


def test_a_damaged_copy_on_this_machine_is_replaced(registry: Registry, tmp_path: Path) -> None:
    version = registry.publish(folder(tmp_path / "one", a="1"))
    (registry.fetch(version) / "a").write_text("evil")
    assert (registry.fetch(version) / "a").read_text() == "1"


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil"])
def test_a_version_cannot_write_outside_its_folder(registry: Registry, tmp_path: Path, path: str) -> None:
    version = registry.publish(folder(tmp_path / "one", a="1"), version="lb-one")
    digest = registry.describe(version).files["a"]
    registry.storage.put(f"versions/{version}.json", f'{{"version":"{version}","files":{{"{path}":"{digest}"}}}}'.encode())
    with pytest.raises(DigestMismatch, match="leaves its folder"):
        registry.fetch(version)


def test_the_first_folder_published_under_an_id_stands(registry: Registry, tmp_path: Path) -> None:
    registry.publish(folder(tmp_path / "one", report="monday"), version="lb-1")
    registry.publish(folder(tmp_path / "two", report="tuesday"), version="lb-1")
    assert registry.read("lb-1", "report") == b"monday"


def test_an_alias_records_who_and_why(registry: Registry, tmp_path: Path) -> None:
    one, other = two(registry, tmp_path)
    registry.promote("live", one, **WHY)
    move = registry.promote("live", other, reason="评分更高", by="li", at=NOON, expected=one)
    assert (move.number, move.previous, move.version, move.by, move.reason) == (2, one, other, "li", "评分更高")
    assert registry.resolve("live") == other
    assert registry.aliases() == {"live": other}
    assert registry.storage.list("aliases/") == ["aliases/live/000001.json", "aliases/live/000002.json"]


@pytest.mark.parametrize("expected", ["", "lb-other"])
def test_promotion_with_a_wrong_expectation_conflicts(registry: Registry, tmp_path: Path, expected: str) -> None:
    one, other = two(registry, tmp_path)
    registry.promote("live", one, **WHY, expected="")
    with pytest.raises(AliasConflict, match=one):
        registry.promote("live", other, **WHY, expected=expected)
    assert registry.resolve("live") == one


def test_of_two_who_move_an_alias_at_once_one_conflicts(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = two(registry, tmp_path)
    before = registry.history("live")
    registry.promote("live", one, **WHY)
    monkeypatch.setattr(registry, "history", lambda alias: before)
    with pytest.raises(AliasConflict, match="at this moment"):
        registry.promote("live", other, **WHY)


def test_a_move_sent_twice_because_its_answer_was_lost_counts_once(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = two(registry, tmp_path)
    first = registry.promote("live", one, **WHY)
    with monkeypatch.context() as patch:
        patch.setattr(registry, "history", lambda alias: [])
        assert registry.promote("live", one, **WHY) == first
    assert len(registry.history("live")) == 1


def test_rollbacks_walk_back_one_promotion_at_a_time(registry: Registry, tmp_path: Path) -> None:
    versions = [registry.publish(folder(tmp_path / str(n), a=str(n))) for n in range(3)]
    for version in versions:
        registry.promote("live", version, **WHY)
    assert [registry.rollback("live", **WHY).version for _ in range(2)] == [versions[1], versions[0]]
    registry.promote("live", versions[2], **WHY)
    assert registry.rollback("live", **WHY).version == versions[0]
    with pytest.raises(BadInput, match="no earlier version"):
        registry.rollback("live", **WHY)


def test_a_history_with_a_gap_is_refused(registry: Registry, tmp_path: Path) -> None:
    one, other = two(registry, tmp_path)
    registry.promote("live", one, **WHY)
    registry.promote("live", other, **WHY)
    (tmp_path / "registry" / "aliases/live/000001.json").unlink()
    with pytest.raises(DigestMismatch, match="gaps"):
        registry.history("live")


def test_a_version_can_be_named_by_its_unique_beginning(registry: Registry, tmp_path: Path) -> None:
    for number in (1, 2):
        registry.publish(folder(tmp_path / str(number), a=str(number)), version=f"lb-{number}0")
    assert registry.resolve("lb-1") == "lb-10"
    with pytest.raises(BadInput, match="2 versions"):
        registry.resolve("lb-")
    with pytest.raises(ArtifactNotFound, match="lb-10, lb-20"):
        registry.resolve("lb-9")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "UP", "a b", "-x", "x" * 81])
def test_names_cannot_be_paths(registry: Registry, name: str) -> None:
    with pytest.raises(BadInput):
        registry.resolve(name)


def test_promoting_an_unknown_version_names_what_there_is(registry: Registry) -> None:
    with pytest.raises(ArtifactNotFound, match="none"):
        registry.promote("live", "lb-none", **WHY)


def test_whoever_follows_an_alias_is_told_the_moves_that_came_since(registry: Registry, tmp_path: Path) -> None:
    one, other = two(registry, tmp_path)
    assert registry.moves_after("prod", 0) == []
    for version in (one, other):
        registry.promote("prod", version, **WHY)
    registry.rollback("prod", **WHY)
    assert [move.version for move in registry.moves_after("prod", 1)] == [other, one]
    assert registry.moves_after("prod", 3) == []
