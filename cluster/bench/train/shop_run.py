"""One supervised training on the benchmark's shop, as Ray, plain DDP and the clock of shares run it: the same configuration, the same
batches. Trains nothing."""

from pathlib import Path
from typing import Any

import torch.distributed as dist

from cluster.commands.train import config_path
from common.config import load_config
from train_app.config import TrainConfig
from train_app.runtime.run import absolute, run_inputs
from train_app.runtime.setting_up import open_workbench
from train_app.stages.parallel import Parallel
from train_app.stages.workbench import Workbench


def config_of(job: dict[str, Any], *, out: str, workers: int = 1) -> TrainConfig:
    """A preset with a core for each worker, one validation at the end and no checkpoint before it."""
    overrides = [
        f"data.snapshot={job['snapshot']}",
        f"out={out}",
        f"runtime.num_workers={workers}",
        f"runtime.threads_per_worker={job['threads']}",
        f"runtime.bf16={str(job['bf16']).lower()}",
        *job["overrides"],
    ]
    return absolute(load_config(config_path(job["preset"]), TrainConfig, overrides))


def opened(job: dict[str, Any], *, parallel: Parallel) -> tuple[TrainConfig, Workbench]:
    """The workbench that a Ray worker has; the run's name, and so the order of its batches, depends on neither folder nor workers."""
    config = config_of(job, out=job["scratch"])
    return config, open_workbench(config, inputs=run_inputs(config), parallel=parallel)


def joined(rank: int, world_size: int, meeting: str) -> Parallel:
    """This process as one of a gloo group that meets at a file."""
    if world_size > 1:
        dist.init_process_group("gloo", init_method=f"file://{Path(meeting).resolve()}", rank=rank, world_size=world_size)
    return Parallel(rank, world_size)
