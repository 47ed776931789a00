"""Moves a State between a stage and Ray Train's checkpoints. Every worker reports equally often; the first one's bytes are kept.

Bytes are on their way while training goes on, one checkpoint at a time: the next is sent when Ray knows of the one before. So a run that is
killed goes on from its last checkpoint but one at the earliest, and loses `checkpoint_every` steps and those of one upload. Ray deletes
no checkpoint before a newer one is stored.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp

import ray.train

from common.errors import DigestMismatch
from train_app.stages.parallel import Parallel
from train_app.stages.state import State, read_state, write_state

KEPT = 2
"""Checkpoints of a run: should the newest be damaged where it lies, there is the one before."""


def report(state: State, *, parallel: Parallel) -> None:
    """A barrier over all workers. Returns when the state is written here and the one before it is kept."""
    settled()
    checkpoint = None
    if parallel.leads:
        folder = mkdtemp(prefix="liyou-state-")  # Ray removes it when it has been sent
        write_state(state, Path(folder))
        checkpoint = ray.train.Checkpoint.from_directory(folder)
    told = {"stage": state.stage, "step": state.step}
    ray.train.report(told, checkpoint=checkpoint, checkpoint_upload_mode=ray.train.CheckpointUploadMode.ASYNC)


def settled() -> list[ray.train.Checkpoint]:
    """All checkpoints there are, the newest last, once Ray has the bytes of every report and knows of them.

    A report that was stored is not enough: Ray asks its workers now and then what they have reported, and of those killed before it asked
    it starts from the report before.
    """
    found = ray.train.get_all_reported_checkpoints(consistency_mode=ray.train.CheckpointConsistencyMode.COMMITTED)
    return [one.checkpoint for one in found]


def resumed(*, inputs: str, parallel: Parallel, start: Callable[[], State]) -> tuple[State, str]:
    """The newest checkpoint that all workers can read, or `start()` for a run's first beginning; and what a person should know of it.

    Raises DigestMismatch where there are checkpoints and none is good, or they are another run's.
    """
    checkpoints = settled()
    return newest_good(checkpoints, inputs=inputs, parallel=parallel) if checkpoints else (start(), "")


def newest_good(checkpoints: Sequence[ray.train.Checkpoint], *, inputs: str, parallel: Parallel) -> tuple[State, str]:
    """Workers decide together: who read another checkpoint than the rest would go on with other weights."""
    errors: list[str] = []
    for checkpoint in reversed(checkpoints):
        state = None
        try:
            state = read_checkpoint(checkpoint, inputs=inputs)
        except DigestMismatch as error:
            errors.append(str(error))
        (num_good,) = parallel.sum([float(state is not None)])
        if state is not None and num_good == parallel.world_size:
            return state, f"the newest checkpoint was passed over: {errors[0]}" if errors else ""
        errors = errors or ["another worker could not read it"]
    raise DigestMismatch(errors[0])


def read_checkpoint(checkpoint: ray.train.Checkpoint, *, inputs: str) -> State:
    """Raises DigestMismatch for a damaged state, and for that of another run than `inputs` names."""
    with checkpoint.as_directory() as folder:
        return read_state(Path(folder), inputs=inputs)
