"""Moves a State between a stage and Ray Train's checkpoints. Every worker reports equally often; the first one's bytes are kept."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import ray.train

from train_app.stages.parallel import Parallel
from train_app.stages.state import State, read_state, write_state


def report(state: State, *, parallel: Parallel) -> None:
    """A barrier over all workers. Ray keeps the bytes under the run's storage before this returns, so a killed worker resumes here."""
    with TemporaryDirectory(prefix="liyou-state-") as folder:
        checkpoint = None
        if parallel.leads:
            write_state(state, Path(folder))
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report({"stage": state.stage, "step": state.step}, checkpoint=checkpoint)


def resumed(*, inputs: str, start: Callable[[], State]) -> State:
    """Where the last report left off, or `start()` for a run's first beginning. Raises DigestMismatch for another run's state."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return start()
    with checkpoint.as_directory() as folder:
        return read_state(Path(folder), inputs=inputs)
