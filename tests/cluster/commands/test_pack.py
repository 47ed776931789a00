import json
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cluster.commands import bundle, evaluate, pack, serve, train
from common.errors import BadInput, ConfigError
from common.packs.load import load_pack

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "packs.md"
LINES = [line.strip() for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("    liyou")]


def run(*words: str) -> str:
    done = CliRunner().invoke(pack.app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_documented_commands_make_and_check_a_pack(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in (line for line in LINES if line.startswith("liyou pack")):
        told = run(*shlex.split(line)[2:])
    assert json.loads(told)["name"] == "shop"
    assert sorted(path.name for path in (tmp_path / "my-shop").iterdir()) == ["lexicon.yaml", "pack.yaml", "templates.yaml"]
    written = (tmp_path / "my-shop" / "pack.yaml").read_text(encoding="utf-8")
    assert "name: my_shop\nextends: shop\n" in written


@pytest.mark.parametrize("line", [line for line in LINES if not line.startswith("liyou pack")])
def test_the_other_documented_options_exist(line: str) -> None:
    _, name, *words = shlex.split(line)
    found = typer.main.get_command({"train": train, "evaluate": evaluate, "bundle": bundle, "serve": serve}[name].app)
    command = found.commands[words[0]] if hasattr(found, "commands") else found
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_a_check_tells_what_a_pack_holds(tmp_path) -> None:
    run("new", str(tmp_path / "my-shop"))
    told = run("check", str(tmp_path / "my-shop"))
    assert "my_shop" in told
    assert "style: concise, detailed" in told
    facts = json.loads(run("check", str(tmp_path / "my-shop"), "--json"))
    shop = load_pack("shop")
    assert (facts["digest"], facts["policy_version"], facts["lexicon_rules"]) == (shop.digest, shop.policy_version, len(shop.lexicon.rules))


def test_nothing_is_overwritten_and_what_is_not_there_is_named(tmp_path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for words, told in (
        (("new", str(tmp_path / "full")), "is not an empty folder"),
        (("new", str(tmp_path / "a"), "--extends", "books"), "--extends: got 'books'; expected one of"),
        (("new", str(tmp_path / "a"), "--part", "prices"), "--part: got prices; expected some of controls"),
        (("check", str(tmp_path / "nowhere")), "no such folder"),
    ):
        with pytest.raises(BadInput) as error:
            CliRunner().invoke(pack.app, list(words), catch_exceptions=False)
        assert told in str(error.value)
    assert not (tmp_path / "a").exists()


def test_every_problem_is_told_on_a_line_of_its_own(tmp_path) -> None:
    run("new", str(tmp_path / "my-shop"), "--part", "lexicon")
    path = tmp_path / "my-shop" / "lexicon.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("level: block", "level: forbid", 2), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        CliRunner().invoke(pack.app, ["check", str(tmp_path / "my-shop")], catch_exceptions=False)
    lines = str(error.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}:") and "level" in line for line in lines)
