"""The same supervised steps in plain torch DDP: `python -m cluster.bench.train.peers.ddp WORKERS JOB OUT`, no Ray, a thread a process.

Same model, batches, optimiser and schedule as `ray_workers`; gradients are averaged by DDP while the backward pass runs. At its best
setting: gradients are views of its buckets, no buffers are sent round, the loss is not summed until the end.
"""

import json
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from cluster.bench.train.shop_run import joined, opened
from common.language.base_model import answer_logprobs
from train_app.stages.optimisation import cosine_rate
from train_app.stages.sft import STAGE, Row, batches, encode_rows, num_answer_tokens
from train_app.stages.workbench import Workbench


class AnswerLoss(nn.Module):
    """Sum of the answer tokens' negative log-probabilities."""

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self.model, self._autocast = bench.policy.language.model, bench.autocast

    def forward(self, rows: list[Row]) -> Tensor:
        with self._autocast():
            logprobs = answer_logprobs(self.model, [ids for ids, _ in rows], prompt_lens=[start for _, start in rows])
        return -torch.cat(logprobs).sum()


def worker(rank: int, world_size: int, job: dict[str, Any], meeting: str, out: str) -> None:
    parallel = joined(rank, world_size, meeting)
    config, bench = opened(job, parallel=parallel)
    rows = encode_rows(bench, bench.splits.train, code_dropout=config.sft.code_dropout)
    plan = batches([len(ids) for ids, _ in rows], batch_size=config.sft.batch_size, seed=bench.seed(STAGE, 0, "order"))
    bench.policy.train(True)
    loss_of = DistributedDataParallel(AnswerLoss(bench), broadcast_buffers=False, gradient_as_bucket_view=True)
    parameters = list(bench.policy.parameters().values())
    optimiser = torch.optim.AdamW(parameters, lr=config.sft.learning_rate, weight_decay=config.sft.weight_decay)
    total = config.sft.max_steps
    assert total is not None
    assert total <= len(plan), "one epoch"
    losses, times = [], []
    dist.barrier()
    for step in range(total):
        began = time.perf_counter()
        batch = [rows[row] for row in plan[step]]
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(parallel.mine(batch)) / num_answer_tokens(batch)
        (world_size * loss).backward()  # DDP takes the mean over the workers
        torch.nn.utils.clip_grad_norm_(parameters, config.sft.max_grad_norm)
        for group in optimiser.param_groups:
            group["lr"] = cosine_rate(step, total=total, peak=config.sft.learning_rate, warmup=config.sft.warmup)
        optimiser.step()
        times.append(time.perf_counter() - began)
        losses.append(float(loss.detach()))
    losses = parallel.sum(losses)
    if parallel.leads:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        # As of `ray_workers`, whose first step has no step before it to be timed from, and whose last has the validation in it.
        Path(out).write_text(json.dumps({"losses": losses, "step_s": times[1:-1], "peak_mib": peak}))
    dist.destroy_process_group()


def main(workers: int, job: dict[str, Any], out: str) -> None:
    with TemporaryDirectory(prefix="liyou-bench-") as folder:
        spawn(worker, args=(workers, job, f"{folder}/meeting", out), nprocs=workers)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), sys.argv[3])
