"""How a study is begun, resumed and won; and a whole one on the tiny shop, two fixed trials from one SFT to a bundle."""

import json
import time
from pathlib import Path

import pytest

from cluster.commands.tune import tell
from cluster.session import connect
from common.artifacts.storage import open_storage
from common.bundle.load import load_bundle
from common.config import parse
from common.errors import ConfigError
from tune_app.config import TuneConfig
from tune_app.result import best
from tune_app.search import claimed, study_ref, tune


def test_the_best_finished_trial_wins_and_the_earlier_of_two_equals(result) -> None:
    assert best(result.trials).number == 5
    two = [trial.model_copy(update={"objective": 0.7}) for trial in result.trials]
    assert best(two).number == 1
    assert best([trial.model_copy(update={"objective": -1.0}) for trial in result.trials]) is None
    assert best([result.trials[7]]) is None, "one that was stopped has no last round"


def test_the_last_lines_of_the_command_say_what_won_against_what(result, capsys) -> None:
    tell(result)
    told = capsys.readouterr().out
    assert "trials     8: 6 finished, 2 stopped early" in told
    assert "SFT        begun 2 times for 8 trials" in told
    assert "joint      0.600  trial 5, winner (search)" in told
    assert "joint      0.520  trial 1, default" in told


def test_the_manifest_tells_what_the_winner_was_held_against(study, result) -> None:
    told = study_ref(study, "0" * 64, result.trials, result.trials[4])
    assert (told.num_trials, told.num_stopped_early) == (8, 2)
    assert (told.winner, told.default, told.no_discriminator) == (0.6, 0.52, 0.54)
    assert told.values == result.trials[4].values


def test_a_study_is_begun_once_and_resumed_only_as_it_was(study, tmp_path) -> None:
    storage = open_storage(tmp_path / "study")
    with pytest.raises(ConfigError, match="no study there to resume"):
        claimed(study, storage, resume=True)
    digest = claimed(study, storage, resume=False)
    assert claimed(study, storage, resume=True) == digest
    with pytest.raises(ConfigError, match="--resume goes on with it"):
        claimed(study, storage, resume=False)
    with pytest.raises(ConfigError, match="a study with another num_trials has that name"):
        claimed(study.model_copy(update={"num_trials": 9}), storage, resume=True)


@pytest.mark.ray
@pytest.mark.filterwarnings("default")  # Ray's own workers and plasma sockets warn on their way out
def test_trials_share_sft_and_the_winner_is_a_bundle_that_names_its_study(tiny_shop) -> None:
    space = {"adversarial.weights.realism": {"low": 0, "high": 2}, "adversarial.weights.codes": {"low": 0, "high": 1}}
    train = tiny_shop.model_copy(update={"filtering": tiny_shop.filtering.model_copy(update={"rounds": 0})})
    config = parse({"name": "tiny", "train": train.model_dump(mode="json"), "space": space, "num_trials": 2}, TuneConfig, source="test")
    seen = []
    with connect(num_cpus=4, dashboard=True):
        result = tune(config, lambda rows, now: seen.append((rows, now)), clock=time.monotonic)
    assert [trial.kind for trial in result.trials] == ["default", "no discriminator"]
    assert result.num("finished") == 2
    assert {trial.sft for trial in result.trials} == {result.trials[0].sft}, "one SFT, measured on the same draws"
    assert list(result.sft_begun.values()) == [1]
    study = load_bundle(result.bundle.bundle_path).manifest.origin.study
    assert study is not None
    assert (study.name, study.num_trials) == ("tiny", 2)
    folder = Path(config.uri)
    assert "<svg" in (folder / "report.html").read_text()
    assert json.loads((folder / "result.json").read_text())["bundle"]["bundle_id"] == result.bundle.bundle_id
    assert any(now for _, now in seen)
    assert {row.status for rows, _ in seen for row in rows} >= {"running", "finished"}
