import json
from pathlib import Path

import pytest

from cluster.cli import main

SMALL = ("--seed", "3", "--users", "12", "--products", "60", "--reasons", "40")


def liyou(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    assert (ended.value.code or 0) == code, shown.err
    return shown.out, shown.err


def test_a_generated_shop_becomes_a_snapshot_without_a_single_reject(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = liyou(capsys, "shop", "generate", *SMALL, "--out", tmp_path / "raw", "--json")
    assert json.loads(out)["out"] == str(tmp_path / "raw")
    out, _ = liyou(capsys, "data", "build", tmp_path / "raw", "--out", tmp_path / "snapshot", "--json")
    tables = json.loads(out)["tables"]
    assert tables["reasons"]["rows"] == 40
    assert tables.keys() == {"products", "events", "users", "reasons", "preferences"}
    assert all(table["rejected"] == table["unknown_products"] == 0 and not table["unknown_columns"] for table in tables.values())


def test_wrong_sizes_and_full_folders_are_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    liyou(capsys, "shop", "generate", "--users", "0", "--out", tmp_path / "raw", code=2)
    (tmp_path / "note.txt").write_text("mine", encoding="utf-8")
    _, error = liyou(capsys, "shop", "generate", *SMALL, "--out", tmp_path, code=2)
    assert "not empty" in error
