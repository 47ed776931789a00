"""How many workers there are, and in how many parts each takes its rows, changes the order of sums and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
STAGES = ("sft", "discriminator", "adversarial", "filtering")
WHO = ("2 workers", "3 workers", "in parts of 5")
LOSSES = {
    "sft": {"loss"},
    "discriminator": {"discriminator_loss"},
    "adversarial": {"policy_loss", "kl", "ce_loss", "discriminator_loss"},
    "filtering": {"loss"},
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, dict[str, list]]]]:
    """Who trained -> worker -> stage -> what it told at each of ten steps, and its weights. All from the same recorded samples."""
    file = tmp_path_factory.mktemp("workers") / "told.json"
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("as_workers.py")), str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text())


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("who", WHO)
def test_the_first_ten_steps_are_those_of_one_worker_with_the_whole_batch(told, who, stage) -> None:
    (alone,) = told["alone"]
    expected = alone[stage]["told"]
    assert len(expected) == 10
    assert LOSSES[stage] <= expected[0].keys()
    assert len({step["loss" if "loss" in step else "discriminator_loss"] for step in expected}) == 10, "it trains"
    for worker in told[who]:
        for step, (got, wanted) in enumerate(zip(worker[stage]["told"], expected, strict=True)):
            assert got == pytest.approx(wanted, abs=1e-5), f"step {step}"


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("who", WHO)
def test_so_are_the_weights_that_they_end_with_and_all_workers_have_the_same(told, who, stage) -> None:
    (alone,) = told["alone"]
    first, *others = (worker[stage]["weights"] for worker in told[who])
    assert all(other == first for other in others)
    assert first.keys() == alone[stage]["weights"].keys()
    for name, wanted in alone[stage]["weights"].items():
        assert first[name] == pytest.approx(wanted, abs=1e-5), name
