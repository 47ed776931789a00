"""Moves a State between a stage and Ray Train's checkpoints. Every worker reports equally often; the first one's bytes are kept."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import ray.train

from train_app.stages.parallel import Parallel
from train_app.stages.state import State, read_state, write_state


def report(state: State, *, parallel: Parallel) -> None:
    """A barrier over all workers. Ray has the bytes and knows of them before this returns, so a killed worker resumes here.

    `ray.train.report` alone returns once the bytes are stored; Ray asks its workers every few seconds what they have reported, and of
    those killed before it asked it starts from the report before.
    """
    with TemporaryDirectory(prefix="liyou-state-") as folder:
        checkpoint = None
        if parallel.leads:
            write_state(state, Path(folder))
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report({"stage": state.stage, "step": state.step}, checkpoint=checkpoint)
        ray.train.get_all_reported_checkpoints(consistency_mode=ray.train.CheckpointConsistencyMode.COMMITTED)


def resumed(*, inputs: str, start: Callable[[], State]) -> State:
    """Where the last report left off, or `start()` for a run's first beginning. Raises DigestMismatch for another run's state."""
    checkpoint = ray.train.get_checkpoint()
    return start() if checkpoint is None else read_checkpoint(checkpoint, inputs=inputs)


def read_checkpoint(checkpoint: ray.train.Checkpoint, *, inputs: str) -> State:
    """Raises DigestMismatch for the state of another run than `inputs` names."""
    with checkpoint.as_directory() as folder:
        return read_state(Path(folder), inputs=inputs)
