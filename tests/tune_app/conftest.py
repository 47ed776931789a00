"""A study on paper: its configuration, and what its trials told."""

import importlib.util
from pathlib import Path

import pytest
import yaml

from common.config import parse
from train_app.runtime.run import TrainResult
from tune_app.config import TuneConfig
from tune_app.result import Round, TrialResult, TuneResult

_training = importlib.util.spec_from_file_location("tests_of_training", Path(__file__).parents[1] / "train_app" / "conftest.py")
assert _training is not None
assert _training.loader is not None
_tests_of_training = importlib.util.module_from_spec(_training)
_training.loader.exec_module(_tests_of_training)
tiny_shop = _tests_of_training.tiny_shop
"""The shop and the base that training is tested on."""

CONTENT = """
name: paper
train:
  data: {snapshot: /nowhere/snapshot}
  out: /nowhere/out
  adversarial: {rounds: 2}
  filtering: {rounds: 1}
  selection: {prompts: 100}
space:
  adversarial.weights.realism: {low: 0, high: 2}
  adversarial.weights.codes: {low: 0, high: 1}
  adversarial.kl_weight: {low: 0.005, high: 0.2, log: true}
  sft.patience: {low: 1, high: 5}
  lora.rank: {choices: [8, 16]}
num_trials: 8
"""


@pytest.fixture
def content() -> dict:
    return yaml.safe_load(CONTENT)


@pytest.fixture
def study(content) -> TuneConfig:
    return parse(content, TuneConfig, source="study.yaml")


@pytest.fixture
def result(study) -> TuneResult:
    """Eight trials: the second is the default without a discriminator, the fifth wins, the last two were stopped early."""
    trials = []
    for number in range(1, 9):
        kind = {1: "default", 2: "no discriminator"}.get(number, "search")
        values = study.no_discriminator if number == 2 else {**study.default, "adversarial.kl_weight": 0.005 + 0.02 * number}
        joints = (0.5 + 0.01 * number, 0.6 - 0.02 * abs(number - 5), 0.5)
        rounds = [Round(round=i, candidate=f"round {i}", joint=joint, broken="") for i, joint in enumerate(joints, start=1)]
        early = number > 6
        trials.append(
            TrialResult(
                number=number,
                trial_id=f"t{number}",
                kind=kind,
                values=values,
                run=f"run{number}",
                start="start8" if number == 4 else "start16",
                status="stopped early" if early else "finished",
                rounds=tuple(rounds[:1] if early else rounds),
                objective=joints[0] if early else max(joints),
                sft=0.48,
                selected=None if early else "filtering 1",
            )
        )
    bundle = TrainResult(
        bundle_path="/nowhere/out/bundles/lb-1",
        bundle_id="lb-1",
        run="run5",
        run_path="/nowhere/out/runs/run5",
        selected="filtering 1",
        selection={"sft": 0.48},
        metrics={"answer.model": 0.9},
        digests={},
    )
    return TuneResult(
        name="paper",
        digest="0" * 64,
        uri="file:///nowhere/out/studies/paper",
        seconds=1,
        trials=tuple(trials),
        sft_begun={"start16": 1, "start8": 1},
        winner=5,
        bundle=bundle,
        report="file:///nowhere/out/studies/paper/report.html",
    )
