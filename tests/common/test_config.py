"""What a person reads who wrote a wrong configuration."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from common.config import Frozen, load_config, parse
from common.errors import ConfigError


class Oven(Frozen):
    degrees: int = Field(180, ge=0)
    fan: bool = False


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "oven.yaml"
    path.write_text("degrees: 200\n", encoding="utf-8")
    return path


def test_overrides_stand_over_the_file_and_are_read_as_yaml(file: Path) -> None:
    assert load_config(file, Oven, ["fan=true", "degrees=2e2"]) == Oven(degrees=200, fan=True)


@pytest.mark.parametrize("override", ["degrees=[1", "degrees", "=1", "degrees=-1", "degree=1", "degrees=.nan"])
def test_a_wrong_override_is_told_in_one_line(file: Path, override: str) -> None:
    with pytest.raises(ConfigError, match=r"degree|=1") as told:
        load_config(file, Oven, [override])
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("content", [b"a: [1\nb: 2\n", b"\xff\xfe\x00", b"- 1\n", b"degrees: hot\n"])
def test_a_file_that_is_no_configuration_is_named_in_one_line(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"oven\.yaml") as told:
        load_config(file, Oven)
    assert "\n" not in str(told.value)


def test_a_folder_and_a_file_that_is_not_there_are_named(tmp_path: Path) -> None:
    for path, words in ((tmp_path, "cannot be read"), (tmp_path / "none.yaml", "no such file")):
        with pytest.raises(ConfigError, match=words):
            load_config(path, Oven)


def test_each_wrong_field_has_a_line_of_its_own(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"oven\.yaml:\ndegrees: .*\ndegree: "):
        load_config(file, Oven, ["degrees=hot", "degree=1"])


def test_an_unknown_field_is_told_with_the_one_that_is_meant_however_deep() -> None:
    class Inner(Frozen):
        learning_rate: float = 1.0

    class Outer(Frozen):
        stages: dict[str, tuple[Inner, ...]]

    with pytest.raises(ConfigError, match=r"stages.a.0.lerning_rate: no such field; did you mean learning_rate\?"):
        parse({"stages": {"a": [{"lerning_rate": 2}]}}, Outer, source="x")
    with pytest.raises(ConfigError, match=r"zzz: no such field; there are stages"):
        parse({"zzz": 1}, Outer, source="x")


def test_a_list_whose_entries_are_wrong_is_not_called_too_short_besides() -> None:
    class Page(Frozen):
        items: Annotated[tuple[int, ...], Field(min_length=1, max_length=2)]

    with pytest.raises(ConfigError, match=r"items.0") as caught:
        parse({"items": ["x"]}, Page, source="x")
    assert "at least" not in str(caught.value)
    with pytest.raises(ConfigError, match="items: expected at most 2 items, got 3"):
        parse({"items": [1, 2, 3]}, Page, source="x")
