import json
from pathlib import Path

import pytest

from cluster.cli import main

MAP = """
timezone: Asia/Shanghai
products:
  file: goods.csv
  columns: {product_id: sku, title: name, category: cat}
  attributes: {颜色: color}
  constants: {currency: CNY}
events:
  file: log.csv
  columns: {event_id: id, user_id: uid, product_id: sku, kind: action, at: ts}
  values: {kind: {buy: purchase}}
  time_format: "%Y-%m-%d %H:%M"
"""


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "goods.csv").write_text(
        "sku,name,cat,color,price,shelf\np1,云杉耳机,耳机,黑,299,A3\np2,白鹭耳机,耳机,白,便宜,A4\n", encoding="utf-8"
    )
    (folder / "log.csv").write_text(
        "id,uid,sku,action,ts\ne1,u1,p1,buy,2026-01-01 08:00\ne2,u2,p1,view,2026-01-02 08:00\n", encoding="utf-8"
    )
    (tmp_path / "map.yaml").write_text(MAP, encoding="utf-8")
    return folder


def liyou(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["data", *map(str, arguments)])
    shown = capsys.readouterr()
    assert (ended.value.code or 0) == code, shown.err
    return shown.out, shown.err


def test_from_a_shops_exports_to_a_snapshot_that_knows_its_users(exports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = liyou(capsys, "import", "--map", tmp_path / "map.yaml", exports, "--out", tmp_path / "raw", "--json")
    products = json.loads(out)["tables"]["products"]
    assert (products["rows"], products["rejected"], products["unknown_columns"]) == (1, 1, {"shelf": 2})
    reject = json.loads((tmp_path / "raw" / "rejects.jsonl").read_text(encoding="utf-8"))
    assert (reject["file"], reject["row"], reject["field"], reject["got"]) == ("goods.csv", 2, "price", "便宜")

    liyou(capsys, "build", tmp_path / "raw", "--out", tmp_path / "snapshot")
    out, _ = liyou(capsys, "show", tmp_path / "snapshot", "--user", "u1", "--json")
    assert json.loads(out)["behavior"]["last_purchased"]["title"] == "云杉耳机"
    out, _ = liyou(capsys, "show", tmp_path / "snapshot", "--user", "u1", "--at", "2025-12-31", "--json")
    assert json.loads(out)["behavior"]["num_events"] == 0
    out, _ = liyou(capsys, "show", tmp_path / "snapshot", "--product", "p1")
    assert "云杉耳机" in out


def test_an_import_that_failed_leaves_nothing_behind_that_stops_its_repeat(
    exports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong.yaml").write_text(MAP.replace("title: name", "title: nme"), encoding="utf-8")
    _, error = liyou(capsys, "import", "--map", tmp_path / "wrong.yaml", exports, "--out", tmp_path / "raw", code=2)
    assert "'nme'" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exports", "map.yaml", "wrong.yaml"]
    liyou(capsys, "import", "--map", tmp_path / "map.yaml", exports, "--out", tmp_path / "raw")


def test_importing_and_building_with_the_map_at_once_give_the_same_snapshot(
    exports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    liyou(capsys, "import", "--map", tmp_path / "map.yaml", exports, "--out", tmp_path / "raw")
    two, _ = liyou(capsys, "build", tmp_path / "raw", "--out", tmp_path / "two", "--json")
    one, _ = liyou(capsys, "build", exports, "--map", tmp_path / "map.yaml", "--out", tmp_path / "one", "--json")
    assert json.loads(one)["digest"] == json.loads(two)["digest"]


def test_a_forgotten_user_is_gone_and_forgetting_twice_is_wrong_input(
    exports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    liyou(capsys, "build", exports, "--map", tmp_path / "map.yaml", "--out", tmp_path / "snapshot")
    out, _ = liyou(capsys, "forget", tmp_path / "snapshot", "u1", "--json")
    assert json.loads(out)["removed"]["events"] == 1
    _, error = liyou(capsys, "forget", tmp_path / "snapshot", "u1", code=2)
    assert error.startswith("liyou data: not_found: user 'u1'")
    liyou(capsys, "show", tmp_path / "snapshot", "--user", "u1", code=2)
    liyou(capsys, "show", tmp_path / "snapshot", "--user", "u2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "exports", "--out", "raw"), "expected `--map FILE PATH`, or one of kobe"),
        (("import", "tmall", "exports", "--out", "raw"), "or one of kobe"),
        (("import", "kobe", "nowhere", "--out", "raw"), "no such file"),
        (("import", "--map", "nowhere.yaml", "exports", "--out", "raw"), "nowhere.yaml: no such file"),
        (("build", "nowhere", "--out", "snapshot"), "nowhere: no such folder"),
        (("show", "exports"), "no snapshot"),
        (("build",), "Missing argument"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(
    exports: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    _, error = liyou(capsys, *arguments, code=2)
    assert message in error
    assert "Traceback" not in error


def test_help_teaches_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = liyou(capsys, "import", "--help")
    assert "Example: liyou data import --map shop.yaml exports/ --out raw/" in " ".join(out.split())


def test_reasons_without_labels_get_them_and_each_can_be_read_with_what_it_rests_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"concise": "青屿耳机听歌正好。", "detailed": "青屿耳机听歌正好，戴着轻，音色干净，一天下来也不用惦记充电这件事。"}
    styles = [("concise", "detailed")[row % 2] for row in range(160)]
    tables = {
        "products": [{"product_id": f"p{row}", "title": f"耳机{row}", "category": "耳机"} for row in range(160)],
        "reasons": [
            {"product_id": f"p{row}", "text": said[style], "labels": {"style": style} if row % 3 else {}}
            for row, style in enumerate(styles)
        ],
    }
    (tmp_path / "raw").mkdir()
    for name, rows in tables.items():
        (tmp_path / "raw" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    liyou(capsys, "build", tmp_path / "raw", "--out", tmp_path / "snapshot")
    out, _ = liyou(capsys, "label", tmp_path / "snapshot", "--out", tmp_path / "labelled", "--control", "style", "--json")
    report = json.loads(out)
    added = sum(report["controls"]["style"]["pseudo_labelled"].values())
    assert added > 20
    out, _ = liyou(capsys, "show", tmp_path / "labelled", "--pseudo-labels")
    table = [json.loads(line) for line in out.splitlines()]
    assert len(table) == added
    assert all(line["value"] == styles[int(line["product_id"][1:])] and line["ngrams"] for line in table)
    out, _ = liyou(capsys, "show", tmp_path / "labelled", "--json")
    manifest = json.loads(out)
    assert manifest["digest"] == report["digest"]
    assert manifest["notes"]["pseudo_labels"]["controls"] == report["controls"]

    _, error = liyou(capsys, "label", tmp_path / "snapshot", "--out", tmp_path / "none", code=2)
    assert "controls.topic: too few products (groups) with labelled training rows: quality 0" in error
    assert not (tmp_path / "none").exists()
