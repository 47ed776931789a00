import shlex
from pathlib import Path

import pytest
import typer

from cluster.commands.train import app, config_path
from common.config import load_config
from common.errors import ConfigError
from train_app.config import TrainConfig

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "training.md"


def test_a_preset_is_named_without_its_folder() -> None:
    assert config_path("demo").name == "demo.yaml"
    assert config_path("demo").is_file()


def test_a_file_is_taken_as_it_is_named(tmp_path) -> None:
    assert config_path(str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"


def test_an_unknown_name_lists_the_presets() -> None:
    with pytest.raises(ConfigError, match="advertisegen, amazon, demo, kobe, shop, smoke"):
        config_path("dmeo")


@pytest.mark.parametrize("line", [line.strip() for line in GUIDE.read_text(encoding="utf-8").splitlines() if line.startswith("    ")])
def test_every_line_of_the_guide_is_one_that_the_command_takes(line: str) -> None:
    program, command, *words = shlex.split(line)
    assert (program, command) == ("liyou", "train")
    given = typer.main.get_command(app).make_context("train", words).params
    going_on = [f"continued.bundle={given['from_bundle']}"] if given["from_bundle"] else []
    config = load_config(config_path(given["config"]), TrainConfig, [*going_on, *given["overrides"]])
    assert given["rate"] is None or given["plan"]
    assert config.continued.snapshot is None or given["from_bundle"]
