"""A round of filtered fine-tuning: samples are drawn and chosen, then learnt beside real rows, with or without what was bad."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from common.domain.context import Context
from common.errors import BadInput
from common.generation.candidates import Candidate
from train_app.config import FilteringConfig, SelectBy
from train_app.data.examples import Example
from train_app.stages.discriminator.training import GROUP
from train_app.stages.filtering.choosing import bounds_of, chooser
from train_app.stages.filtering.preference import Pair, Preference, preference_step
from train_app.stages.optimisation import Optimiser, cosine_rate
from train_app.stages.pool import GROUP as POOL
from train_app.stages.pool import collect, pooled
from train_app.stages.sft import ce_step, encode_rows
from train_app.stages.state import OnProgress, Progress, Save, State
from train_app.stages.validation import loaded
from train_app.stages.workbench import Answer, Workbench

DRAWN_BY, CHOSEN_BY = "pool_run", "pool_by"
"""Values: the run that drew the pool, which may be an arm's start, and the way by which the pool was chosen; others have their own."""


def prompts_of_round(bench: Workbench, config: FilteringConfig, *, stage: str) -> list[Example]:
    """Training rows that are answered again; each round draws its own."""
    train = bench.splits.train
    return random.Random(bench.seed(stage, 0, "prompts")).sample(list(train), min(config.prompts_per_round, len(train)))


def collect_best(
    state: State,
    config: FilteringConfig,
    on_progress: OnProgress,
    *,
    stage: str,
    bench: Workbench,
    save: Save,
) -> State:
    """Groups `pool` and `pool, rejected`: at most one text each for every prompt of the round, by `select_by`; two more for each way that
    it is `drawn_for`."""
    bench.load(state.group("policy"))
    wanted: dict[str, SelectBy] = {POOL: config.select_by} | {pool_for(by): by for by in config.drawn_for if by != config.select_by}
    discriminator = loaded(state.group(GROUP), bench) if "discriminator" in wanted.values() else None
    choosers = {name: chooser(by, bench, discriminator, bounds=bounds_of(config, by, bench, discriminator)) for name, by in wanted.items()}

    def choose(context: Context, candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
        checks = [bench.checker.judge(one.text, context=context, score=None).checks_passed for one in candidates]
        pools = {}
        for name, of in choosers.items():
            pools[name], pools[rejected(name)] = of(context, candidates, checks)
        return pools

    prompts, pools = prompts_of_round(bench, config, stage=stage), [*choosers, *map(rejected, choosers)]
    state = state.with_values({DRAWN_BY: bench.run, CHOSEN_BY: config.select_by})
    return collect(state, prompts, on_progress, stage=stage, k=config.samples, bench=bench, save=save, choose=choose, pools=pools)


def rejected(pool: str) -> str:
    return f"{pool}, rejected"


def pool_for(select_by: SelectBy) -> str:
    """Group of what another run will choose by `select_by`."""
    return f"{POOL} for {select_by}"


@dataclass(frozen=True, slots=True)
class Kept:
    """A text to learn, and one to its prompt that is worse, where there was one."""

    answer: Answer
    worse: Answer | None


def kept_answers(state: State, config: FilteringConfig, bench: Workbench, *, stage: str) -> list[Kept]:
    """Of the pool that `stage` collected, each text once: the same sentence twice teaches repetition."""
    name = POOL if state.values.get(CHOSEN_BY, config.select_by) == config.select_by else pool_for(config.select_by)
    assert state.group(name), f"the samples were not drawn for {config.select_by}"
    drawn_by = replace(bench, run=str(state.values.get(DRAWN_BY, bench.run)))
    prompts = prompts_of_round(drawn_by, config, stage=stage)
    worse = {index: Answer(prompts[index].context, ids) for index, ids in pooled(state, rejected(name))}
    kept: dict[str, Kept] = {}
    for index, ids in pooled(state, name):
        kept.setdefault(str(ids), Kept(Answer(prompts[index].context, ids), worse.get(index)))
    return list(kept.values())


def real_rows(config: FilteringConfig, bench: Workbench) -> list[Example]:
    """Raises BadInput where `real_rows: passing` leaves none."""
    train = bench.splits.train
    if config.real_rows == "passing":
        train = [one for one in train if bench.checker.judge(one.text, context=one.context, score=None).checks_passed]
    if not train:
        raise BadInput("filtering.real_rows: no training row passes the checks; correct the rows or the pack, or set it to all")
    return train


def train_on_best(
    state: State, config: FilteringConfig, on_progress: OnProgress, *, stage: str, collected_in: str, bench: Workbench, save: Save
) -> State:
    """Cross-entropy on `generated_share` of kept samples and the rest real rows, and with `preference_weight` what was kept against what
    is bad. A round that kept too few changes nothing and says so; with a share of 0 it is more cross-entropy on real rows, what a study
    holds the others against."""
    state = state.enter(stage)
    total = config.steps_per_round
    kept, told = kept_answers(state, config, bench, stage=collected_in) if config.generated_share else [], {}
    generated = [Pair(bench.encoded(one.answer), bench.encoded(one.worse) if one.worse else None) for one in kept]
    if config.generated_share:
        share = len(generated) / max(1, min(config.prompts_per_round, len(bench.splits.train)))
        told = {"kept_share": share}
        if share < config.min_acceptance:
            note = f"{share:.1%} of the prompts kept a sample, less than {config.min_acceptance:.1%}: the round changes nothing"
            on_progress(Progress(stage=stage, step=total, total=total, metrics=told, note=note))
            return state.without_groups(*state.groups(POOL)).at(total)
    real = real_rows(config, bench)
    bench.load(state.group("policy"))
    optimiser = Optimiser(bench.policy.parameters(), learning_rate=config.learning_rate, saved=state.group("optimiser"))
    num_generated = round(config.generated_share * config.batch_size)
    preference = Preference(reference=state.group("reference"), beta=config.preference_beta, weight=config.preference_weight)
    for step in range(state.step, total):
        rng = random.Random(bench.seed(stage, step, "batch"))
        pairs = rng.sample(generated, min(num_generated, len(generated)))
        rows = encode_rows(bench, rng.sample(real, min(config.batch_size - len(pairs), len(real))))
        rate = cosine_rate(step, total=total, peak=config.learning_rate, warmup=0.05)
        if config.preference_weight:
            metrics = preference_step(bench, optimiser, pairs, rows, preference, stage=stage, step=step, learning_rate=rate)
        else:
            rows = [*(pair.better for pair in pairs), *rows]
            loss, norm = ce_step(bench, optimiser, rows, stage=stage, step=step, learning_rate=rate)
            metrics = {"loss": loss, "grad_norm": norm}
        metrics |= {"learning_rate": rate, **told}
        on_progress(Progress(stage=stage, step=step + 1, total=total, metrics=metrics))
        if (step + 1) % bench.checkpoint_every == 0 and step + 1 < total:
            save(state.with_group("policy", bench.policy.adapter()).with_group("optimiser", optimiser.tensors()).at(step + 1))
    return state.without_groups("optimiser", *state.groups(POOL)).with_group("policy", bench.policy.adapter()).at(total)
