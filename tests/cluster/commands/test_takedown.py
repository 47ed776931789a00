"""Orders given, ended and listed from the command line."""

from pathlib import Path

import pytest

from cluster.cli import main
from common.artifacts.storage import FileStorage
from common.contract.takedown import Standing
from serve_app.state.takedown import begin, read_orders


def run(*words: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["takedown", *words])
    assert caught.value.code == 0


def standing(orders: Path) -> Standing:
    return read_orders(FileStorage(orders), Standing())


def test_an_order_is_given_listed_and_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run("begin", "--orders", str(tmp_path))
    run("add", "phrase", "包邮到家", "--orders", str(tmp_path), "--why", "投诉", "--by", "法务")
    monkeypatch.setenv("LIYOU_TAKEDOWNS", str(tmp_path))
    run("add", "product", "p1")
    assert standing(tmp_path).of_text("今天包邮到家。") == 1
    run("list")
    told = capsys.readouterr().out
    assert "order 1 stands" in told
    assert "包邮到家  by 法务" in told
    assert "2 stand, of 2 orders given" in told
    run("lift", "1")
    assert standing(tmp_path).of_text("今天包邮到家。") is None
    assert [one.value for one in standing(tmp_path).takedowns.values()] == ["p1"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lift", "7"], "no order of that number stands"),
        (["add", "phrase", "的"], "fewer than two"),
    ],
)
def test_a_wrong_order_is_told_and_not_given(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    begin(FileStorage(tmp_path))
    with pytest.raises(SystemExit) as caught:
        main(["takedown", *words, "--orders", str(tmp_path)])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
    assert standing(tmp_path).last == 0


def test_a_place_that_nobody_began_takes_no_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["takedown", "add", "product", "p1", "--orders", str(tmp_path / "typo")])
    assert caught.value.code == 2
    assert "liyou takedown begin" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()
