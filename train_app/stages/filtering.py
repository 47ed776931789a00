"""Filtered fine-tuning: the discriminator's best among the samples that pass the checks becomes training text, beside what people wrote.

Keeping the single best is what pays (joint success .44 -> .58 in a pilot); a threshold on the same scores hardly did.
"""

import random
from collections.abc import Sequence

from common.domain.context import Context
from common.generation.candidates import Candidate
from common.quality.discriminator import Discriminator
from train_app.config import FilteringConfig
from train_app.data.examples import Example
from train_app.stages.discriminator.training import GROUP
from train_app.stages.optimisation import Optimiser, cosine_rate
from train_app.stages.pool import Choose, collect, pooled
from train_app.stages.sft import answer_rows, ce_step, encode_rows
from train_app.stages.state import OnProgress, Progress, Save, State
from train_app.stages.workbench import Answer, Workbench


def prompts_of_round(bench: Workbench, config: FilteringConfig, *, stage: str) -> list[Example]:
    """Training rows that are answered again; each round draws its own."""
    train = bench.splits.train
    return random.Random(bench.seed(stage, 0, "prompts")).sample(list(train), min(config.prompts_per_round, len(train)))


def best_of(bench: Workbench, discriminator: Discriminator) -> Choose:
    """The highest score among candidates that pass the checks, the first of equals; nothing where none passes."""

    def choose(context: Context, candidates: Sequence[Candidate]) -> list[Candidate]:
        passing = [one for one in candidates if bench.checker.judge(one.text, context=context, score=None).checks_passed]
        if not passing:
            return []
        features = [one.features for one in passing if one.features is not None]
        scores = discriminator.log_real(features, [context.controls] * len(features))
        return [passing[max(range(len(scores)), key=lambda index: (scores[index], -index))]]

    return choose


def collect_best(
    state: State,
    config: FilteringConfig,
    on_progress: OnProgress,
    *,
    stage: str,
    bench: Workbench,
    save: Save,
) -> State:
    """Group `pool`: at most one text for each prompt of the round."""
    bench.load(state.group("policy"))
    discriminator = bench.new_discriminator()
    discriminator.load_state_dict(state.group(GROUP))
    discriminator.eval()
    prompts = prompts_of_round(bench, config, stage=stage)
    choose = best_of(bench, discriminator)
    return collect(state, prompts, on_progress, stage=stage, k=config.samples, bench=bench, save=save, choose=choose)


def train_on_best(
    state: State, config: FilteringConfig, on_progress: OnProgress, *, stage: str, collected_in: str, bench: Workbench, save: Save
) -> State:
    """Cross-entropy on `generated_share` of kept samples and the rest real rows. A round that kept too few changes nothing and says so."""
    state = state.enter(stage)
    prompts = prompts_of_round(bench, config, stage=collected_in)
    kept: dict[str, Answer] = {}
    for index, ids in pooled(state):
        kept.setdefault(str(ids), Answer(prompts[index].context, ids))  # the same sentence twice teaches repetition
    share = len(kept) / max(1, len(prompts))
    total = config.steps_per_round
    if share < config.min_acceptance:
        note = f"{share:.1%} of {len(prompts)} prompts kept a sample, less than {config.min_acceptance:.1%}: the round changes nothing"
        on_progress(Progress(stage=stage, step=total, total=total, metrics={"kept_share": share}, note=note))
        return state.without_groups("pool").at(total)
    generated = answer_rows(bench, list(kept.values()))
    bench.load(state.group("policy"))
    optimiser = Optimiser(bench.policy.parameters(), learning_rate=config.learning_rate, saved=state.group("optimiser"))
    num_generated = round(config.generated_share * config.batch_size)
    for step in range(state.step, total):
        rng = random.Random(bench.seed(stage, step, "batch"))
        batch = rng.sample(generated, min(num_generated, len(generated)))
        batch += encode_rows(bench, rng.sample(bench.splits.train, min(config.batch_size - len(batch), len(bench.splits.train))))
        rate = cosine_rate(step, total=total, peak=config.learning_rate, warmup=0.05)
        loss, norm = ce_step(bench, optimiser, batch, stage=stage, step=step, learning_rate=rate)
        metrics = {"loss": loss, "grad_norm": norm, "learning_rate": rate, "kept_share": share}
        on_progress(Progress(stage=stage, step=step + 1, total=total, metrics=metrics))
        if (step + 1) % bench.checkpoint_every == 0 and step + 1 < total:
            save(state.with_group("policy", bench.policy.adapter()).with_group("optimiser", optimiser.tensors()).at(step + 1))
    return state.without_groups("optimiser", "pool").with_group("policy", bench.policy.adapter()).at(total)
