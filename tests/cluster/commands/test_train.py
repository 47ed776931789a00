import pytest

from cluster.commands.train import config_path
from common.errors import ConfigError


def test_a_preset_is_named_without_its_folder() -> None:
    assert config_path("demo").name == "demo.yaml"
    assert config_path("demo").is_file()


def test_a_file_is_taken_as_it_is_named(tmp_path) -> None:
    assert config_path(str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"


def test_an_unknown_name_lists_the_presets() -> None:
    with pytest.raises(ConfigError, match="advertisegen, demo, kobe, shop, smoke"):
        config_path("dmeo")
