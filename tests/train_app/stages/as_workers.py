"""Ten steps of every stage from recorded samples, by one worker, by one in parts, by two and by three: what each step told, as JSON.

Run as a script: `as_workers.py FILE`. One process reads the libraries, the workers are forks of it.
"""

import json
import multiprocessing
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conftest import make_examples, new_bench

from common.domain.context import Context
from common.generation.candidates import Candidate
from common.language.tokens import decode
from train_app.config import AdversarialConfig, DiscriminatorStageConfig, FilteringConfig, SftConfig
from train_app.data.split import Splits
from train_app.stages.adversarial.rounds import adversarial_round
from train_app.stages.discriminator.training import train_discriminator
from train_app.stages.filtering.rounds import collect_best, train_on_best
from train_app.stages.parallel import Parallel
from train_app.stages.pool import collect
from train_app.stages.sft import sft
from train_app.stages.state import Progress, State
from train_app.stages.workbench import Answer, Workbench, written

STEPS, BATCH = 10, 24
RATE = 1e-3
SFT = SftConfig(learning_rate=RATE, batch_size=BATCH, max_steps=STEPS, evaluate_every=5)
DISCRIMINATOR = DiscriminatorStageConfig(
    rows=40, fakes_per_row=1, steps=STEPS, batch_size=BATCH, channels=8, dropout=0.0, evaluate_every=5, abort_auc=0.5, gradient_penalty=1.0
)
# Prompts that two workers share evenly and three do not: the global batch must be the same for all that.
ADVERSARIAL = AdversarialConfig(
    steps_per_round=STEPS, prompts=8, samples=3, ce_rows=BATCH, learning_rate=RATE, discriminator_learning_rate=RATE,
    throttle_low=0.0, throttle_high=1.0, max_kl=100.0, min_distinct=0.0, min_unique=0.0,
)  # fmt: skip
FILTERING = FilteringConfig(
    prompts_per_round=48,
    samples=2,
    steps_per_round=STEPS,
    batch_size=BATCH,
    learning_rate=RATE,
    min_acceptance=0.0,
    generated_share=0.5,
    preference_weight=1.0,
)
SIZES = {"train": 48, "discriminator": 40, "validation": 12, "calibration": 8, "test": 4, "evaluator": 0}
Told = list[dict[str, float]]
RECORDED: dict[str, list[list[int]]] = {}
"""Stage, step and product -> ids of its samples."""
Stage = Callable[..., State]


def bench_of(parallel: Parallel, *, micro_batch: int | None = None) -> Workbench:
    """Dropout 0."""
    bench = replace(
        new_bench(parallel=parallel, checkpoint_every=1000),
        splits=Splits(**{name: make_examples(size, prefix=name) for name, size in SIZES.items()}),
        discriminator=DISCRIMINATOR,
        micro_batch=micro_batch,
    )
    for module in bench.policy.language.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return bench


def record() -> None:
    """From here on samples are written down the first time they are drawn, and read afterwards."""
    draw = Workbench.write

    def write(self: Workbench, contexts: list[Context], *, k: int, stage: str, step: int, decoding: object = None) -> list[list[Candidate]]:
        names = [f"{stage} {step} {context.product.product_id}" for context in contexts]
        if not all(name in RECORDED for name in names):
            assert (self.parallel.world_size, self.micro_batch) == (1, None), "everything is on the record"
            groups = draw(self, contexts, k=k, stage=stage, step=step)
            RECORDED.update({name: [list(written(one)) for one in group] for name, group in zip(names, groups, strict=True)})
        return [[as_candidate(self, context, ids) for ids in RECORDED[name]] for name, context in zip(names, contexts, strict=True)]

    Workbench.write = write  # type: ignore[method-assign]


def as_candidate(bench: Workbench, context: Context, ids: list[int]) -> Candidate:
    """One by one: how its features are rounded depends on no neighbour."""
    (features,) = bench.features([Answer(context, tuple(ids))])
    text = decode(tuple(ids), bench.policy.language).strip()
    return Candidate(text, tuple(ids), len(ids), float(features.stats_T3[:, 0].mean()), float(features.stats_T3[:, 0].min()), features)


def fit(state: State, on_progress: Callable[[Progress], None], **shared: object) -> State:
    return train_discriminator(state, DISCRIMINATOR, on_progress, stage="discriminator", steps=STEPS, **shared)


def fool(state: State, on_progress: Callable[[Progress], None], **shared: object) -> State:
    return adversarial_round(state, ADVERSARIAL, on_progress, stage="adversarial", **shared)


def learn(state: State, on_progress: Callable[[Progress], None], **shared: object) -> State:
    return train_on_best(state, FILTERING, on_progress, stage="filtering", collected_in="kept", **shared)


def tune(state: State, on_progress: Callable[[Progress], None], **shared: object) -> State:
    return sft(state, SFT, on_progress, **shared)


def told_by(name: str, state: State, bench: Workbench) -> tuple[State, dict[str, object]]:
    """A stage from its beginning; what it told at each step, and the weights that it left."""
    told: Told = []
    left = STAGES[name](state, lambda progress: told.append(dict(progress.metrics)), bench=bench, save=lambda state: None)
    weights = {key: tensor.flatten().tolist() for key, tensor in left.tensors.items() if key.startswith(("policy/", "discriminator/"))}
    return left, {
        "told": [metrics for metrics in told if "grad_norm" in metrics or "discriminator_grad_norm" in metrics],
        "weights": weights,
    }


def alone(bench: Workbench) -> tuple[dict[str, State], dict[str, object]]:
    """One worker goes through all stages: the state at the beginning of each, and what it told."""
    nothing = lambda progress: None  # noqa: E731
    shared: dict[str, object] = {"bench": bench, "save": lambda state: None}
    begins, found = {"sft": State(bench.run)}, {}
    state, found["sft"] = told_by("sft", begins["sft"], bench)
    begins["discriminator"] = collect(state, bench.splits.discriminator, nothing, stage="samples", k=1, **shared)
    bench.load(state.group("policy"))
    begins["adversarial"], found["discriminator"] = told_by("discriminator", begins["discriminator"], bench)
    state, found["adversarial"] = told_by("adversarial", begins["adversarial"], bench)
    begins["filtering"] = collect_best(state, FILTERING, nothing, stage="kept", **shared)
    _, found["filtering"] = told_by("filtering", begins["filtering"], bench)
    return begins, found


def again(begins: dict[str, State], bench: Workbench) -> dict[str, object]:
    found = {}
    for name, state in begins.items():
        bench.load(state.group("policy") or bench.policy.adapter())
        found[name] = told_by(name, state, bench)[1]
    return found


def worker(rank: int, world_size: int, store: str, begins: dict[str, State], file: str) -> None:
    try:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
        Path(f"{file}.{world_size}.{rank}").write_text(json.dumps(again(begins, bench_of(Parallel(rank, world_size)))))
        dist.destroy_process_group()
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def main(file: str) -> None:
    torch.set_num_threads(1)
    record()
    begins, told = alone(bench_of(Parallel()))
    found = {"alone": [told]}
    fork = multiprocessing.get_context("fork")
    for world_size in (2, 3):
        with tempfile.TemporaryDirectory() as folder:
            given = (world_size, f"{folder}/store", begins, file)
            processes = [fork.Process(target=worker, args=(rank, *given)) for rank in range(world_size)]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            assert all(process.exitcode == 0 for process in processes), f"{world_size} workers failed"
        found[f"{world_size} workers"] = [json.loads(Path(f"{file}.{world_size}.{rank}").read_text()) for rank in range(world_size)]
    found["in parts of 5"] = [again(begins, bench_of(Parallel(), micro_batch=5))]
    Path(file).write_text(json.dumps(found))


STAGES: dict[str, Stage] = {"sft": tune, "discriminator": fit, "adversarial": fool, "filtering": learn}

if __name__ == "__main__":
    main(sys.argv[1])
