"""What a person meets who asks the command line for help, or asks it for something wrong."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cluster.cli import COMMANDS, main

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")  # Ray Serve 2.60 warns while it is imported


def words_of(name: str) -> list[list[str]]:
    """The command, and each of its subcommands."""
    command = typer.main.get_command(importlib.import_module(f"cluster.commands.{name}").app)
    return [[name], *([name, sub] for sub in getattr(command, "commands", ()))]


EVERY = [words for name in COMMANDS for words in words_of(name)]
GROUPS = [words[0] for words in EVERY if len(words) == 2 and words[1] in ("build", "generate", "list", "trim")]


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    try:
        main(words)
        code: object = 0
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert isinstance(code, int)
    assert "Traceback" not in said.err
    return code, said.out, said.err


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_explains_itself(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run([*words, "--help"], capsys)
    assert (code, err) == (0, "")
    assert f"Usage: liyou {' '.join(words)}" in out
    assert len(out.splitlines()) > 5


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_an_unknown_option_is_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run([*words, "--no-such-option"], capsys)
    assert (code, out) == (2, "")
    assert "--no-such-option" in err


@pytest.mark.parametrize("group", GROUPS)
def test_a_noun_alone_lists_what_can_be_done_with_it(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run([group], capsys)
    assert code == 2
    assert "Commands:" in out + err


def test_help_names_every_command_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"]):
        code, out, _ = run(words, capsys)
        assert code == 0
        assert all(f"  {name} " in out for name in COMMANDS)
        assert "0 done, 1 failed, 2 wrong usage or wrong input" in out


def test_every_command_that_is_written_is_offered() -> None:
    folder = Path(importlib.import_module("cluster.commands").__path__[0])
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(COMMANDS)


def test_help_needs_neither_torch_nor_ray() -> None:
    asked = "import sys; from cluster.cli import main; main(['--help']); sys.exit(any(name in sys.modules for name in ('torch', 'ray')))"
    assert subprocess.run([sys.executable, "-c", asked], capture_output=True, check=False).returncode == 0


WRONG = {
    "unknown command": (["shopp"], "shopp"),
    "train: unknown preset": (["train", "smoky"], "expected a YAML file or one of"),
    "train: missing file": (["train", "none.yaml"], "none.yaml: no such file"),
    "train: unknown key in the file": (["train", "training.yaml"], "training.yaml: sft.learning_rte"),
    "train: unknown key as an override": (["train", "smoke", "sft.learning_rte=1"], "sft.learning_rte"),
    "train: override that is no YAML": (["train", "smoke", "sft=[1"], "sft=[1"),
    "train: file that is no YAML": (["train", "broken.yaml"], "broken.yaml: not YAML"),
    "serve: missing file": (["serve", "--config", "none.yaml"], "none.yaml: no such file"),
    "serve: unknown key": (["serve", "--config", "wrong.yaml"], "learning_rte"),
    "serve: no bundle": (["serve", "--bundle", "nowhere", "--port", "18998"], "no manifest.json"),
    "data build: missing folder": (["data", "build", "nowhere", "--out", "out"], "nowhere: no such folder"),
    "data import: neither a set nor a map": (["data", "import", "nowhere", "--out", "out"], "--map FILE PATH"),
    "data import: missing map": (["data", "import", "--map", "none.yaml", ".", "--out", "out"], "none.yaml: no such file"),
    "data import: unknown key in the map": (["data", "import", "--map", "wrong.yaml", ".", "--out", "out"], "learning_rte"),
    "data show: no snapshot": (["data", "show", "nowhere"], "no snapshot"),
    "data forget: no snapshot": (["data", "forget", "nowhere", "u1"], "no snapshot"),
    "shop generate: a folder in use": (["shop", "generate", "--out", "."], "not empty"),
    "base trim: missing corpus": (["base", "trim", "starter", "--corpus", "none.txt", "--out", "out"], "none.txt: no such file"),
    "evaluate: no bundle": (["evaluate", "nowhere", "--snapshot", "nowhere"], "no manifest.json"),
    "evaluate: unknown truth": (["evaluate", "nowhere", "--snapshot", "nowhere", "--truth", "me"], "sample_shop"),
    "bundle show: unknown name": (["bundle", "show", "prod"], "no version or alias"),
    "bundle show: a path that is no bundle": (["bundle", "show", "./nowhere"], "no manifest.json"),
    "bundle promote: missing rules": (["bundle", "promote", "prod", "--reason", "x", "--rules", "none.yaml"], "no version or alias"),
    "bundle rollback: nothing to go back to": (["bundle", "rollback", "--reason", "x"], "no earlier version"),
    "bundle list: unknown scheme": (["bundle", "list", "--registry", "ftp://host/x"], "expected a path, file:///folder or s3://"),
}


@pytest.mark.parametrize(("words", "told"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_one_line_and_exit_code_2(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_text("learning_rte: 1\n", encoding="utf-8")
    (tmp_path / "training.yaml").write_text("data: {snapshot: s}\nout: o\nsft: {learning_rte: 1}\n", encoding="utf-8")
    (tmp_path / "broken.yaml").write_text("a: [1\nb: 2\n", encoding="utf-8")
    code, out, err = run(words, capsys)
    assert (code, out) == (2, "")
    assert told in err
    assert err.startswith("liyou")
    assert err.count("\n") == 1
