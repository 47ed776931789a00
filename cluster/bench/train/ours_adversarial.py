"""Our adversarial step, discriminator's update, KL and real rows included: `python -m cluster.bench.train.ours_adversarial JOB OUT`."""

import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from common.bundle.load import load_bundle
from common.domain.decoding import DecodingParams
from common.features.snapshot import Snapshot
from common.quality.verdict import Checker
from train_app.config import AdversarialConfig, DiscriminatorStageConfig
from train_app.data.examples import examples
from train_app.data.split import split
from train_app.runtime.setting_up import engine_for
from train_app.stages.adversarial.rounds import adversarial_round
from train_app.stages.discriminator.training import GROUP, weights_of
from train_app.stages.parallel import Parallel
from train_app.stages.policy import Policy
from train_app.stages.state import OnProgress, Progress, Save, State
from train_app.stages.workbench import Workbench


def main(job: dict[str, Any]) -> dict[str, Any]:
    return measured(*opened(job), job)


def opened(job: dict[str, Any], *, parallel: Parallel = Parallel()) -> tuple[Workbench, State]:  # noqa: B008  (frozen)
    """A workbench on the starter bundle, merged, and the state that a round begins with."""
    torch.set_num_threads(job["threads"])
    bundle = load_bundle(Path(job["bundle"]), dtype="float32")
    assert bundle.discriminator is not None
    pack = bundle.pack
    splits = split(examples(Snapshot.open(job["snapshot"]), vocabulary=pack.vocabulary))
    policy = Policy(bundle.language, rank=job["rank"], alpha=job["alpha"], dropout=0.0, seed=0)
    policy.language.model.set_attn_implementation("eager")  # as open_workbench does on a CPU
    decoding = DecodingParams(max_new_tokens=job["max_new_tokens"], temperature=1.0)
    contexts = [example.context for example in splits.discriminator]
    bench = Workbench(
        run="0" * 64,
        policy=policy,
        engine=engine_for(policy.merged, contexts, decoding=decoding, vocabulary=pack.vocabulary, slots=job["prompts"] * job["samples"]),
        checker=Checker(pack, threshold=0.0),
        vocabulary=pack.vocabulary,
        splits=splits,
        decoding=decoding,
        served=decoding,
        parallel=parallel,
        discriminator=DiscriminatorStageConfig(),
        bf16=job["bf16"],
    )
    adapter = policy.adapter()
    state = State("0" * 64).with_group("policy", adapter).with_group("reference", adapter)
    state = state.with_group(GROUP, weights_of(bundle.discriminator))
    return bench, state


def measured(
    bench: Workbench,
    state: State,
    job: dict[str, Any],
    *,
    save: Save = lambda state: None,
    also: OnProgress = lambda progress: None,
) -> dict[str, Any]:
    config = AdversarialConfig(steps_per_round=job["steps"], prompts=job["prompts"], samples=job["samples"], learning_rate=3e-4)
    times, tokens, began = [], [], time.perf_counter()

    def on_progress(progress: Progress) -> None:
        nonlocal began
        now = time.perf_counter()
        if progress.metrics:
            times.append(now - began)
            tokens.append(progress.metrics["tokens_per_text"])
        also(progress)
        began = time.perf_counter()

    adversarial_round(state, config, on_progress, stage="adversarial 1", bench=bench, save=save)
    told = {"tokens_per_text": statistics.fmean(tokens)}
    return {"losses": [], "step_s": times, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "told": told}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
