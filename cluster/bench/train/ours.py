"""Our step on the same rows: `python -m cluster.bench.train.ours JOB OUT`."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from common.domain.decoding import DecodingParams
from common.generation.hf import HfEngine
from common.language.base_model import load_base
from common.packs.load import load_pack
from common.quality.verdict import Checker
from train_app.config import DiscriminatorStageConfig
from train_app.data.split import Splits
from train_app.stages.optimisation import Optimiser
from train_app.stages.parallel import Parallel
from train_app.stages.policy import Policy
from train_app.stages.sft import ce_step
from train_app.stages.workbench import Workbench


def main(job: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(job["threads"])
    language, pack = load_base(job["base"], dtype="float32"), load_pack("shop")
    policy = Policy(language, rank=job["rank"], alpha=job["alpha"], dropout=0.0, seed=0)
    policy.language.model.set_attn_implementation("eager")  # as open_workbench does on a CPU
    decoding = DecodingParams(max_new_tokens=8)
    bench = Workbench(
        run="0" * 64,
        policy=policy,
        engine=HfEngine(policy.merged.model, eos_ids=[language.eos_id], max_len=64, slots=1),
        checker=Checker(pack, threshold=0.0),
        vocabulary=pack.vocabulary,
        splits=Splits(),
        decoding=decoding,
        served=decoding,
        parallel=Parallel(),
        discriminator=DiscriminatorStageConfig(),
        bf16=job["bf16"],
    )
    optimiser = Optimiser(policy.parameters(), learning_rate=job["learning_rate"], weight_decay=job["weight_decay"])
    losses, times = [], []
    for step, batch in enumerate(job["batches"]):
        began = time.perf_counter()
        rows = [(tuple(ids), start) for ids, start in batch]
        loss, _ = ce_step(bench, optimiser, rows, stage="bench", step=step, learning_rate=job["learning_rate"])
        losses.append(loss)
        times.append(time.perf_counter() - began)
    return {"losses": losses, "step_s": times, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
