"""What a run goes on from when its newest checkpoint is not what was written."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import ray.train
import torch

from common.errors import DigestMismatch
from train_app.runtime.checkpoint import newest_good
from train_app.stages.parallel import Parallel
from train_app.stages.state import State, write_state


@dataclass(frozen=True)
class BesideOthers(Parallel):
    """One of two, with what the other one says at each sum."""

    others: tuple[float, ...] = ()

    def sum(self, values):
        said = list(self.others)
        object.__setattr__(self, "others", self.others[1:])
        return [value + said[0] for value in values]


@pytest.fixture
def kept(tmp_path: Path) -> list[ray.train.Checkpoint]:
    """Three checkpoints of a run, the newest last."""
    for step in (2, 4, 6):
        write_state(State("inputs", "sft", step).with_group("policy", {"weight": torch.full((64,), float(step))}), tmp_path / str(step))
    return [ray.train.Checkpoint.from_directory(str(tmp_path / str(step))) for step in (2, 4, 6)]


def damage(checkpoint: ray.train.Checkpoint, name: str) -> None:
    file = Path(checkpoint.path) / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_a_run_goes_on_from_its_newest_checkpoint(kept) -> None:
    state, told = newest_good(kept, inputs="inputs", parallel=Parallel())
    assert (state.step, told) == (6, "")


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
def test_a_damaged_one_is_passed_over_for_the_one_before_and_the_run_says_so(kept, name) -> None:
    damage(kept[-1], name)
    state, told = newest_good(kept, inputs="inputs", parallel=Parallel())
    assert state.step == 4
    assert told.startswith("the newest checkpoint was passed over: ")
    assert name in told


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
def test_so_is_one_that_was_not_sent_to_its_end(kept, name) -> None:
    (Path(kept[-1].path) / name).unlink()
    assert newest_good(kept, inputs="inputs", parallel=Parallel())[0].step == 4


def test_what_one_worker_cannot_read_none_goes_on_with(kept) -> None:
    state, told = newest_good(kept, inputs="inputs", parallel=BesideOthers(0, 2, others=(0.0, 1.0)))
    assert state.step == 4
    assert "another worker could not read it" in told
    damage(kept[-1], "state.json")
    state, told = newest_good(kept, inputs="inputs", parallel=BesideOthers(0, 2, others=(1.0, 1.0)))
    assert state.step == 4
    assert "state.json" in told


def test_a_run_without_a_good_checkpoint_stops_and_says_what_is_wrong_with_the_newest(kept) -> None:
    for checkpoint in kept:
        damage(checkpoint, "state.safetensors")
    with pytest.raises(DigestMismatch, match=r"state\.safetensors.*begins anew"):
        newest_good(kept, inputs="inputs", parallel=Parallel())


def test_checkpoints_of_another_run_are_never_gone_on_with(kept) -> None:
    with pytest.raises(DigestMismatch, match="another `out`"):
        newest_good(kept, inputs="others", parallel=Parallel())
