"""What `liyou tune` reads and shows; whole studies run in tests/tune_app and in `make tune-demo`."""

import shlex
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from cluster.commands.tune import presets, read_study, table_of
from common.errors import ConfigError
from tune_app.watching import Row

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = ROOT / "docs" / "tune.md"


def indented(*, commands: bool) -> list[str]:
    lines = [line.removeprefix("    ") for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("    ")]
    return [line for line in lines if line.startswith("liyou") == commands]


@pytest.mark.parametrize("line", indented(commands=True))
def test_the_documented_studies_are_read(line: str) -> None:
    words = [word for word in shlex.split(line, comments=True)[2:] if not word.startswith("--") and word != "auto"]
    study = read_study(words[0], words[1:])
    assert study.train.adversarial.rounds >= 1
    assert "num_trials=40" not in words or (study.num_trials, study.name, study.train.out) == (40, "wide", "out/wide")


def test_the_documented_file_is_a_study(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("\n".join(indented(commands=False)), encoding="utf-8")
    study = read_study(str(tmp_path / "study.yaml"), [])
    assert (study.name, study.train.data.snapshot, study.train.adversarial.rounds) == ("first", "snapshot", 3)


def test_presets_name_a_training_and_change_it() -> None:
    assert presets() == ["demo"]
    study = read_study("demo", ["num_trials=9"])
    demo = yaml.safe_load((ROOT / "train_app" / "configs" / "demo.yaml").read_text(encoding="utf-8"))
    assert study.num_trials == 9
    assert study.train.decoding.temperature == demo["decoding"]["temperature"]
    assert study.train.data.licence == demo["data"]["licence"]
    assert study.train.adversarial.rounds == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: a\ntrain: nowhere\nspace: {}", "config: got 'nowhere'; expected a YAML file or one of"),
        ("name: a\ntrain: demo\noverrides: {sft: 3}\nspace: {}", "train.sft"),
        ("name: a\ntrain: demo\noverrides: 3\nspace: {}", "overrides: expected a mapping, got int"),
        ("name: A B\ntrain: demo\nspace: {}", "name: String should match pattern"),
        ("[1]", "expected a mapping at the top, got list"),
    ],
)
def test_a_wrong_study_is_told_what_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        read_study(str(tmp_path / "study.yaml"), [])
    assert told in str(error.value)


def test_the_table_tells_trials_apart() -> None:
    study = read_study("demo", [])
    rows = [
        Row(number=1, trial_id="a", values=study.default, status="finished", round=4, objective=0.5, told={"joint": 0.4}),
        Row(number=2, trial_id="b", values=study.no_discriminator, status="running", round=1, objective=-1.0, told={"broken": "facts 0.1"}),
        Row(number=3, trial_id="c", values={**study.default, "lora.rank": 8}, status="waiting"),
    ]
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table_of(study, rows))
    text = captured.get()
    assert "3 of 8 trials; 1 more fields in the report" in text
    for words in ("1 default", "2 no discriminator", "finished", "3/3", "0.500", "infeasible", "facts 0.1", "waiting"):
        assert words in text
