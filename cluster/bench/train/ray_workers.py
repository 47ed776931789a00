"""A training through Ray Train: `python -m cluster.bench.train.ray_workers WORKERS UNTIL JOB OUT`, to the end of the stage UNTIL.

Steps are timed as they are told to the process that called. `told` has the fixed cost: what a training costs besides its steps.
"""

import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cluster.bench.train.shop_run import config_of
from cluster.session import connect
from train_app.runtime.loop import SETTING_UP
from train_app.runtime.run import fit_until
from train_app.stages.state import Progress


def main(workers: int, until: str, job: dict[str, Any]) -> dict[str, Any]:
    came: list[tuple[str, float]] = []
    losses: list[float] = []
    peak_mib = 0.0

    def on_progress(progress: Progress) -> None:
        nonlocal peak_mib
        if progress.metrics and progress.stage != SETTING_UP:
            came.append((progress.stage, time.perf_counter()))
        if progress.stage == "sft" and "loss" in progress.metrics:
            losses.append(progress.metrics["loss"])
        if progress.step == progress.total:  # the next step is not timed
            peak_mib = max(peak_mib, peak_of_descendants(os.getpid()))

    with TemporaryDirectory(prefix="liyou-bench-", dir=job["scratch"]) as out:  # a run that is done would not run again
        config = config_of(job, out=out, workers=workers)
        began = time.perf_counter()
        with connect(num_cpus=workers + 1, num_threads=job["threads"]):
            connected = time.perf_counter()
            fit_until(config, on_progress, until=until)
            ended = time.perf_counter()
    stages = list(dict.fromkeys(stage for stage, _ in came))
    steps = [at for stage, at in came if stage == "sft"]
    took = [after - before for before, after in pairwise(steps)]
    told = {
        "connect_s": connected - began,
        "to_first_step_s": came[0][1] - connected,
        "after_last_step_s": ended - came[-1][1],
        "stages": len(stages),
        "whole_s": ended - began,
    }
    # The last step has the validation in it.
    return {"losses": losses, "step_s": took[:-1], "peak_mib": peak_mib, "told": told}


def peak_of_descendants(pid: int) -> float:
    """MiB that the largest process below `pid` has ever held: a worker's, beside whom Ray's own are small."""
    parents, peaks = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        except OSError:  # it has ended
            continue
        parents[int(folder.name)] = int(told["PPid"])
        peaks[int(folder.name)] = int(told.get("VmHWM", "0 kB").split()[0]) / 1024
    below, found = {pid}, {pid}
    while below := {child for child, parent in parents.items() if parent in below} - found:
        found |= below
    return max((peaks[one] for one in found - {pid}), default=0.0)


if __name__ == "__main__":
    Path(sys.argv[4]).write_text(json.dumps(main(int(sys.argv[1]), sys.argv[2], json.loads(Path(sys.argv[3]).read_text()))))
