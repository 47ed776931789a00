"""The counts are those of the data cards in ../shared/data/README.md."""

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from common.errors import BadInput
from common.features.snapshot import Snapshot
from common.features.snapshot_build import build_snapshot
from common.packs.load import load_pack
from common.quality.control_check import check_controls
from train_app.data.examples import examples
from train_app.data.public_datasets import advertisegen, amazon_reviews, kobe
from train_app.data.split import FRACTIONS, split


def rows(folder: Path, table: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{table}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.shared_data
def test_kobe_is_split_by_title_and_labelled_by_aspect_and_length(shared_data: Path, tmp_path: Path) -> None:
    report = kobe.import_kobe(shared_data / "kobe", tmp_path / "raw")
    assert report.dropped == {"repeated clause": 55 + 8, "text occurs twice": 1}
    assert report.tables["reasons"] == 3106 + 439 - 64
    assert report.tables["users"] == 17
    assert not (tmp_path / "raw" / "events.jsonl").exists()
    build_snapshot(tmp_path / "raw", tmp_path / "snapshot")
    pack = load_pack(kobe.PACK)
    found = examples(Snapshot.open(tmp_path / "snapshot"), vocabulary=pack.vocabulary)
    splits = split(found)
    assert {one.provenance.get("split") for one in splits.test} == {"test"}
    assert len(splits.test) == 439 - 8
    titles = {purpose: {one.context.product.title for one in getattr(splits, purpose)} for purpose in FRACTIONS}
    assert not titles["test"] & titles["train"]
    assert all(one.context.persona and one.context.behavior.num_events == 0 and one.context.product.price is None for one in found)
    refused = [one for one in found if not check_controls(one.text, controls=one.labels, pack=pack.controls).passed]
    assert len(refused) / len(found) < 0.05, "the cues contradict what people wrote"
    terciles = Counter(one.labels["style"] for one in found if "split" not in one.provenance)
    assert max(terciles.values()) / min(terciles.values()) < 1.1


@pytest.mark.shared_data
def test_advertisegen_is_grouped_by_content_and_has_neither_user_nor_price(shared_data: Path, tmp_path: Path) -> None:
    report = advertisegen.import_advertisegen(shared_data / "advertisegen", tmp_path / "raw")
    assert report.dropped["placeholder <UNK>"] == 1553
    assert report.dropped["placeholder <UNK>"] + report.dropped["placeholder BRAND"] == 1704
    assert sum(report.dropped.values()) + report.tables["reasons"] == 5000
    assert set(report.tables) == {"products", "reasons"}
    texts = "".join(row["text"] for row in rows(tmp_path / "raw", "reasons"))
    assert "<UNK>" not in texts
    assert "BRAND" not in texts
    build_snapshot(tmp_path / "raw", tmp_path / "snapshot")
    pack = load_pack(advertisegen.PACK)
    found = examples(Snapshot.open(tmp_path / "snapshot"), vocabulary=pack.vocabulary)
    splits = split(found)
    assert len(splits.test) >= 300
    groups = {purpose: {one.group for one in getattr(splits, purpose)} for purpose in FRACTIONS}
    assert sum(len(one) for one in groups.values()) == len(set().union(*groups.values()))
    refused = [one for one in found if not check_controls(one.text, controls=one.labels, pack=pack.controls).passed]
    assert len(refused) / len(found) < 0.02
    assert {one.context.product.category for one in found} == {"上衣", "裙", "裤"}


@pytest.mark.shared_data
def test_amazon_leaves_each_users_last_review_out_and_mines_from_training_reviews_only(shared_data: Path, tmp_path: Path) -> None:
    amazon_reviews.import_amazon_reviews(shared_data / "amazon_musical_instruments", tmp_path / "raw")
    events, reasons = rows(tmp_path / "raw", "events"), rows(tmp_path / "raw", "reasons")
    assert len(events) == 10_261
    assert len({event["user_id"] for event in events}) == 1429
    assert {event["kind"] for event in events} == {"review"}
    last = {event["user_id"]: event["event_id"] for event in sorted(events, key=lambda event: event["at"])}
    assert len(last) == 1429
    reviews = Counter(purpose for purpose in {(one["provenance"]["row"]): one["provenance"].get("split") for one in reasons}.values())
    assert reviews["test"] <= 1429
    assert reviews["validation"] <= 1429
    ends = defaultdict(set)
    for one in reasons:
        ends[one["user_id"], one["provenance"].get("split", "train")].add(one["at"])
    for (user, purpose), times in ends.items():
        if purpose == "train" and (user, "test") in ends:
            assert max(times) <= min(ends[user, "test"])
    notes = json.loads((tmp_path / "raw" / "provenance.json").read_text(encoding="utf-8"))
    assert {"sound", "price", "strings", "tone", "cable"} <= set(notes["features"])
    assert all(one["provenance"]["feature"] in notes["features"] for one in reasons if one["labels"]["style"] == "detailed")


def test_features_of_tested_reviews_are_not_mined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.mkdir()
    texts = ["The tone is good.", "I like the tone.", "The strap fell off the wall.", "Mind the banjo, the banjo of all."]
    reviews = [
        {"user": f"u{user}", "item": f"i{number}", "rating": 5.0, "summary": "Fine thing", "text": text, "time": 1_300_000_000 + number}
        for user in range(3)
        for number, text in enumerate(texts)
    ]
    (source / "reviews.jsonl").write_text("".join(json.dumps(review) + "\n" for review in reviews), encoding="utf-8")
    monkeypatch.setattr(amazon_reviews, "FEWEST_REVIEWS", 2)
    amazon_reviews.import_amazon_reviews(source, tmp_path / "raw")
    notes = json.loads((tmp_path / "raw" / "provenance.json").read_text(encoding="utf-8"))
    assert notes["features"] == ["tone"]
    assert {one["attributes"].get("feature", [None])[0] for one in rows(tmp_path / "raw", "products")} == {"tone", None}


def test_another_file_than_the_data_card_describes_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"id": 1, "content": "类型#裤"}\n', encoding="utf-8")
    with pytest.raises(BadInput, match=r"row 1: no field 'summary'; expected id, content, summary"):
        advertisegen.import_advertisegen(tmp_path, tmp_path / "raw")
    with pytest.raises(BadInput, match=r"dev\.jsonl: no such file"):
        kobe.import_kobe(tmp_path, tmp_path / "other")


def test_an_import_never_writes_into_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(BadInput, match="not empty"):
        advertisegen.import_advertisegen(tmp_path, tmp_path)


def test_cut_advertisegen_tests_on_whole_texts_alone_and_on_no_group_that_lost_a_clause(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "advertisegen"
    report = advertisegen.import_advertisegen(source, tmp_path / "raw", cut_placeholders=True)
    written = {row["id"]: row for row in map(json.loads, (source / "train.jsonl").read_text(encoding="utf-8").splitlines())}
    rows = [json.loads(line) for line in (tmp_path / "raw" / "reasons.jsonl").read_text(encoding="utf-8").splitlines()]
    tested = [row for row in rows if row["provenance"].get("split") == "test"]
    lost = {row["provenance"]["group"] for row in rows if row["text"] != written[row["provenance"]["id"]]["summary"]}

    assert report.tables["reasons"] == len(rows) == 4924, "the third of the texts with a placeholder is there"
    assert not [row for row in rows if "<UNK>" in row["text"] or "BRAND" in row["text"]]
    assert len(tested) == 539
    assert not lost & {row["provenance"]["group"] for row in tested}
