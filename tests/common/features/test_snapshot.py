import json
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from common.errors import BadInput, NotFound
from common.features import snapshot as snapshot_module
from common.features import snapshot_build, sorted_file
from common.features.column_map import ColumnMap
from common.features.snapshot import FORMAT, MANIFEST, Snapshot
from common.features.snapshot_build import build_snapshot, forget
from common.features.summarize import summarize

START = datetime(2026, 1, 1, tzinfo=UTC)


def tables() -> dict[str, list[dict[str, object]]]:
    products = [
        {"product_id": f"p{n}", "title": f"云杉{n}号", "category": "耳机", "attributes": {"品牌": "云杉"}, "price": 9.9, "currency": "CNY"}
        for n in range(6)
    ]
    events = [
        {
            "event_id": f"e{n:02d}",
            "user_id": f"u{n % 3}",
            "product_id": f"p{n % 6}",
            "kind": "purchase" if n % 4 == 0 else "view",
            "at": (START + timedelta(hours=n // 2)).isoformat(),
        }
        for n in range(24)
    ]
    return {
        "products": products,
        "events": events,
        "users": [{"user_id": f"u{n}", "persona": "数码达人" if n else None} for n in range(3)],
        "reasons": [
            {"product_id": "p1", "user_id": "u1", "text": "给你的理由", "labels": {"style": "concise"}},
            {"product_id": "p2", "text": "给新客的理由"},
        ],
        "preferences": [
            {"user_id": "u1", "source": "explicit", "control": "style", "value": "concise"},
            {"user_id": "u2", "source": "ab_test", "winner": {"labels": {"style": "detailed"}}, "loser": {"labels": {"style": "concise"}}},
        ],
    }


def raw(folder: Path, tables: dict[str, list[dict[str, object]]]) -> Path:
    folder.mkdir()
    for name, rows in tables.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture
def built(tmp_path: Path) -> Snapshot:
    build_snapshot(raw(tmp_path / "raw", tables()), tmp_path / "snapshot")
    return Snapshot.open(tmp_path / "snapshot")


def test_everything_that_went_in_is_found_by_id(built: Snapshot) -> None:
    assert built.product("p3").title == "云杉3号"
    assert built.product("p3").price.minor == 990
    assert built.product("none") is None
    assert {product.product_id for product in built.products()} == {f"p{n}" for n in range(6)}
    assert (built.persona("u1"), built.persona("u0"), built.persona("none")) == ("数码达人", None, None)
    assert [row.value for row in built.preferences("u1")] == ["concise"]
    assert built.population() == {"style": {"concise": 8.0, "detailed": 1.0}}
    assert sorted(row.text for row in built.reasons()) == ["给你的理由", "给新客的理由"]
    assert built.knows_user("u0")
    assert not built.knows_user("none")


def test_a_users_events_are_that_users_and_in_time(built: Snapshot) -> None:
    events = built.events("u1")
    assert [event.event_id for event in events] == [f"e{n:02d}" for n in range(24) if n % 3 == 1]
    assert built.events("none") == []


def test_behavior_is_told_as_of_a_moment(built: Snapshot) -> None:
    assert built.behavior("u1").last_viewed.product_id == "p4"
    assert built.behavior("u1", at=START + timedelta(hours=1)).num_events == 1
    assert built.behavior("none").num_events == 0


def test_the_digest_follows_content_and_not_place_order_or_format(tmp_path: Path) -> None:
    first = build_snapshot(raw(tmp_path / "a", tables()), tmp_path / "one")
    shuffled = tables()
    for rows in shuffled.values():
        random.Random(3).shuffle(rows)
    assert build_snapshot(raw(tmp_path / "b", shuffled), tmp_path / "two").digest == first.digest
    changed = tables()
    changed["products"][0]["price"] = 9.91
    assert build_snapshot(raw(tmp_path / "c", changed), tmp_path / "three").digest != first.digest


def test_ids_that_share_their_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sorted_file, snapshot_build):
        monkeypatch.setattr(module, "hash64", lambda identity: 7)
    build_snapshot(raw(tmp_path / "raw", tables()), tmp_path / "snapshot")
    snapshot = Snapshot.open(tmp_path / "snapshot")
    assert [snapshot.product(f"p{n}").title for n in range(6)] == [f"云杉{n}号" for n in range(6)]
    assert [len(snapshot.events(f"u{n}")) for n in range(3)] == [8, 8, 8]
    assert snapshot.events("u1")[0].event_id == "e01"
    assert snapshot.product("p9") is None


def test_rejects_and_orphans_are_counted_and_the_rejects_are_kept(tmp_path: Path) -> None:
    broken = tables()
    broken["events"][0]["kind"] = "pv"
    broken["events"][1]["product_id"] = "gone"
    broken["events"][2]["shoe_size"] = 42
    manifest = build_snapshot(raw(tmp_path / "raw", broken), tmp_path / "snapshot")
    events = manifest.tables["events"]
    assert (events.rows, events.rejected, events.unknown_products, events.unknown_columns) == (23, 1, 1, {"shoe_size": 1})
    (reject,) = (tmp_path / "snapshot" / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(reject)["row"] == 1
    assert manifest.num_rejects == 1


def test_forget_leaves_nothing_of_a_user_and_all_of_the_others(tmp_path: Path) -> None:
    data = tables()
    data["events"].append({"event_id": "bad", "user_id": "u1", "product_id": "p1", "kind": "view"})
    data["preferences"].append({"user_id": "u1", "source": "ab_test"})
    build_snapshot(raw(tmp_path / "raw", data), tmp_path / "snapshot")
    forgotten = forget(tmp_path / "snapshot", "u1")
    assert forgotten.rows == {"products": 0, "events": 8, "users": 1, "preferences": 1, "reasons": 1, "rejects": 2}
    snapshot = Snapshot.open(tmp_path / "snapshot")
    assert not snapshot.knows_user("u1")
    assert [row.text for row in snapshot.reasons()] == ["给新客的理由"]
    assert len(snapshot.events("u2")) == 8
    assert snapshot.population() == {"style": {"detailed": 1.0}}
    for path in snapshot.path.iterdir():
        assert b"u1" not in path.read_bytes(), path.name


def test_a_review_too_long_to_keep_is_forgotten_with_who_wrote_it_and_with_nobody_else(tmp_path: Path) -> None:
    data = tables()
    words = {"u1": "u2 也说好。", "u2": "别人的话。"}
    for user, text in words.items():
        data["events"].append({**data["events"][0], "event_id": f"long {user}", "user_id": user, "kind": "review", "text": text * 2000})
    build_snapshot(raw(tmp_path / "raw", data), tmp_path / "snapshot")
    assert forget(tmp_path / "snapshot", "u1").rows["rejects"] == 1
    kept = (tmp_path / "snapshot" / "rejects.jsonl").read_text(encoding="utf-8")
    assert words["u1"] not in kept
    assert words["u2"] in kept


def test_forgetting_counts_the_rejects_of_each_table_where_two_read_one_file(tmp_path: Path) -> None:
    source = raw(tmp_path / "raw", {"products": tables()["products"], "log": tables()["events"]})
    mapping = ColumnMap.model_validate({"events": {"file": "log.jsonl"}, "users": {"file": "log.jsonl"}})
    before = build_snapshot(source, tmp_path / "snapshot", mapping=mapping).tables
    assert (before["events"].rejected, before["users"].rejected) == (0, 21)
    forget(tmp_path / "snapshot", "u1")
    after = Snapshot.open(tmp_path / "snapshot").manifest.tables
    assert (after["events"].rejected, after["users"].rejected) == (0, 14)


def test_of_a_user_without_end_the_newest_events_before_the_moment_are_summarised(built: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_module, "NEWEST_EVENTS", 3)
    whole = [event for event in built.events("u0") if event.at < START + timedelta(hours=6)]
    found = built.behavior("u0", at=START + timedelta(hours=6))
    assert len(whole) > 3
    assert found == summarize(whole[-3:], at=None, products={one.product_id: one for one in built.products()})
    assert built.behavior("u0").num_events == 3


def test_forgetting_is_the_same_as_never_having_known(tmp_path: Path) -> None:
    build_snapshot(raw(tmp_path / "raw", tables()), tmp_path / "snapshot")
    without = {name: [row for row in rows if row.get("user_id") != "u1"] for name, rows in tables().items()}
    assert forget(tmp_path / "snapshot", "u1").digest_after == build_snapshot(raw(tmp_path / "without", without), tmp_path / "never").digest


def test_forgetting_an_unknown_user_changes_nothing(built: Snapshot) -> None:
    with pytest.raises(NotFound, match="nothing was changed"):
        forget(built.path, "nobody")
    assert Snapshot.open(built.path).digest == built.digest
    assert [path.name for path in built.path.parent.iterdir() if path.name.startswith(".")] == []


def test_a_failed_build_leaves_the_old_snapshot(built: Snapshot, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a snapshot needs products"):
        build_snapshot(raw(tmp_path / "empty", {"events": []}), built.path)
    assert Snapshot.open(built.path).digest == built.digest


def test_a_folder_that_is_no_snapshot_is_never_replaced(tmp_path: Path) -> None:
    source = raw(tmp_path / "raw", tables())
    with pytest.raises(BadInput, match="is not a snapshot"):
        build_snapshot(source, source)
    with pytest.raises(BadInput, match="no snapshot"):
        Snapshot.open(source)
    (source / MANIFEST).write_text('{"bundle_id": "lb-0"}', encoding="utf-8")  # as a bundle has one
    with pytest.raises(BadInput, match="is not a snapshot"):
        build_snapshot(source, source)
    assert (source / "products.jsonl").is_file()


def test_a_manifest_of_another_format_is_refused(built: Snapshot) -> None:
    manifest = built.path / MANIFEST
    manifest.write_text(manifest.read_text(encoding="utf-8").replace(f'"format": {FORMAT}', '"format": 99'), encoding="utf-8")
    with pytest.raises(BadInput, match=f"format 99; this build reads {FORMAT}"):
        Snapshot.open(built.path)


def test_notes_of_the_raw_folder_stand_in_the_manifest(tmp_path: Path) -> None:
    source = raw(tmp_path / "raw", tables())
    (source / "provenance.json").write_text('{"licence": "research only"}', encoding="utf-8")
    assert build_snapshot(source, tmp_path / "snapshot").notes == {"licence": "research only"}


def test_opening_reads_no_row(tmp_path: Path) -> None:
    """2,000 times the users must not cost more pages: Arrow maps the file, and only the schema is decoded."""
    many = pa.table(
        {"key": pa.array(range(400_000), pa.uint64()), "user_id": pa.array([f"u{n}" for n in range(400_000)], pa.large_string())}
    )
    sorted_file.write_sorted(many, tmp_path / "big.arrow", id_column="user_id")
    before = pa.total_allocated_bytes()
    started = time.perf_counter()
    opened = sorted_file.SortedFile(tmp_path / "big.arrow", id_column="user_id")
    assert time.perf_counter() - started < 0.2
    assert pa.total_allocated_bytes() - before < 100_000
    assert len(opened) == 400_000
