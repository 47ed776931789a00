"""Where our steps' time goes: `python -m cluster.bench.train.shares sft|adversarial WORKERS JOB OUT`, workers by gloo, without Ray.

Each second belongs to the innermost part that runs, but for the discriminator's step, whose own passes are its own. Slower than unmeasured
steps by the clock alone, which is read a few dozen times a step.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from cluster.bench.train import ours_adversarial, shop_run
from train_app.stages import sft as supervised
from train_app.stages.adversarial import rounds
from train_app.stages.optimisation import Optimiser
from train_app.stages.parallel import Parallel
from train_app.stages.state import Progress, State, write_state
from train_app.stages.workbench import Workbench

CHECKPOINT_EVERY = 25
"""Steps between checkpoints of a run, by default: so much of a save is a step's."""
WARM_UP = 2
WHOLE = ("discriminator",)
PARTS: tuple[tuple[str, object, tuple[str, ...]], ...] = (
    ("sampling", Workbench, ("write",)),
    ("rewards", rounds, ("check_rewards", "discriminator_rewards", "features_batch", "advantages")),
    ("rewards", rounds, ("roll_out",)),
    ("forward", supervised, ("cross_entropy",)),
    ("forward", rounds, ("answer_logprobs", "teacher_forced")),
    ("backward", torch.Tensor, ("backward",)),
    ("optimiser", Optimiser, ("step",)),
    ("merging", Workbench, ("merge",)),
    ("discriminator", rounds, ("discriminator_step", "discriminator_reading", "exhibits")),
    ("communication", Parallel, ("sum", "sum_gradients", "gather_rows", "gather_groups")),
)


class Shares:
    """Seconds of named parts, each without the parts inside it."""

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._open, self._since = clock, ["other"], clock()
        self.seconds: dict[str, float] = {}

    def reset(self) -> None:
        self.seconds, self._since = {}, self._clock()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        inside = self._open[-1]
        self._turn(inside if inside in WHOLE and name != "communication" else name)
        try:
            yield
        finally:
            self._close()
            self._open.pop()

    def total(self) -> dict[str, float]:
        self._close()
        return dict(self.seconds)

    def _turn(self, name: str) -> None:
        self._close()
        self._open.append(name)

    def _close(self) -> None:
        now = self._clock()
        self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now


def watched(shares: Shares) -> None:
    """For the rest of this process."""
    for part, owner, names in PARTS:
        for name in names:
            setattr(owner, name, _timed(getattr(owner, name), shares, part))


def _timed(function: Callable[..., Any], shares: Shares, part: str) -> Callable[..., Any]:
    @wraps(function)
    def timed(*args: object, **kwargs: object) -> object:
        with shares.part(part):
            return function(*args, **kwargs)

    return timed


def worker(rank: int, kind: str, world_size: int, job: dict[str, Any], folder: str, out: str) -> None:
    parallel, shares = shop_run.joined(rank, world_size, f"{folder}/meeting"), Shares()
    watched(shares)
    num_saves = 0
    told: dict[str, float] = {}
    times: list[float] = []
    last = job["steps"] - 1  # SFT's last step has the validation in it

    def save(state: State) -> None:
        nonlocal num_saves
        num_saves += 1
        with shares.part("checkpoints"):
            if parallel.leads:
                write_state(state, Path(folder) / "state")

    def on_progress(progress: Progress) -> None:
        nonlocal num_saves, told
        if not progress.metrics:
            return
        times.append(time.perf_counter())
        if len(times) == WARM_UP:
            num_saves = 0
            shares.reset()
        if len(times) == last:
            told = of_a_step(shares.total(), steps=last - WARM_UP, num_saves=num_saves)

    if kind == "sft":
        config, bench = shop_run.opened(job, parallel=parallel)
        supervised.sft(State(bench.run), config.sft, on_progress, bench=replace(bench, checkpoint_every=WARM_UP + 1), save=save)
    else:
        bench, state = ours_adversarial.opened(job, parallel=parallel)
        ours_adversarial.measured(replace(bench, checkpoint_every=WARM_UP + 1), state, job, save=save, also=on_progress)
    if parallel.leads:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        step_s = [after - before for before, after in pairwise(times[:last])]
        Path(out).write_text(json.dumps({"losses": [], "step_s": step_s, "peak_mib": peak, "told": told}))
    if world_size > 1:
        dist.destroy_process_group()


def of_a_step(seconds: dict[str, float], *, steps: int, num_saves: int) -> dict[str, float]:
    """Part -> its share of a step's time, where one step in CHECKPOINT_EVERY is followed by a save; the largest first."""
    each = {part: took / steps for part, took in seconds.items()}
    each["checkpoints"] = seconds.get("checkpoints", 0.0) / max(1, num_saves) / CHECKPOINT_EVERY
    whole = sum(each.values())
    return {part: took / whole for part, took in sorted(each.items(), key=lambda item: -item[1])}


def main(kind: str, workers: int, job: dict[str, Any], out: str) -> None:
    with TemporaryDirectory(prefix="liyou-bench-") as folder:
        spawn(worker, args=(kind, workers, job, folder, out), nprocs=workers)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text()), sys.argv[4])
