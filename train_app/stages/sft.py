"""Supervised fine-tuning: cross-entropy on what people wrote, until validation gets no better. Also the step that later stages reuse."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import BadInput
from common.language.base_model import answer_logprobs
from common.language.prompt import build_prompt
from common.language.tokens import encode_example, encode_prompt
from train_app.config import SftConfig
from train_app.data.examples import Example
from train_app.stages.adapters import Adapter
from train_app.stages.optimisation import Optimiser, cosine_rate
from train_app.stages.state import OnProgress, Progress, Save, State
from train_app.stages.workbench import Workbench

STAGE = "sft"
BUCKET_BATCHES = 32
"""Batches whose rows are sorted by length together: less padding (a third of the time), and still a shuffled order."""

Row = tuple[tuple[int, ...], int]
"""Prompt and answer ids, and where the answer starts."""


def encode_rows(bench: Workbench, examples: Sequence[Example], *, code_dropout: float = 0.0) -> list[Row]:
    """Rows that do not fit the base are an error that names them, never cut."""
    rows = []
    for example in examples:
        prompt = build_prompt(example.context, vocabulary=bench.vocabulary)
        encoded = encode_example(prompt, example.text, bench.policy.language)
        ids, start = encoded.ids, encoded.prompt_len
        if code_dropout and random.Random(bench.seed("code dropout", 0, example.example_id)).random() < code_dropout:
            free = encode_prompt(prompt, bench.policy.language).null_ids
            ids, start = free + ids[start:], len(free)
        rows.append((ids, start))
    return rows


def cross_entropy(bench: Workbench, rows: Sequence[Row], *, tokens: float) -> Tensor:
    """Sum of the answer tokens' negative log-probabilities over `tokens`, the count over all workers; zero without rows."""
    if not rows:
        return torch.zeros((), device=bench.parallel.device)
    with bench.autocast():
        logprobs = answer_logprobs(bench.policy.language.model, [ids for ids, _ in rows], prompt_lens=[start for _, start in rows])
    return -torch.cat(logprobs).sum() / tokens


def num_answer_tokens(rows: Sequence[Row]) -> int:
    return sum(len(ids) - start for ids, start in rows)


def batches(lengths: Sequence[int], *, batch_size: int, seed: int) -> list[list[int]]:
    """One epoch of row numbers: shuffled, sorted by length within buckets, buckets' batches shuffled. The last batch may be smaller."""
    rng = random.Random(seed)
    order = list(range(len(lengths)))
    rng.shuffle(order)
    made = []
    for start in range(0, len(order), batch_size * BUCKET_BATCHES):
        bucket = sorted(order[start : start + batch_size * BUCKET_BATCHES], key=lambda row: (lengths[row], row))
        made += [bucket[at : at + batch_size] for at in range(0, len(bucket), batch_size)]
    rng.shuffle(made)
    return made


@torch.no_grad()
def validation_loss(bench: Workbench, rows: Sequence[Row], *, batch_size: int = 64) -> float:
    """Cross-entropy a token, nats, over all workers."""
    mine = sorted(bench.parallel.mine(rows), key=lambda row: len(row[0]))
    total = 0.0
    for start in range(0, len(mine), batch_size):
        total += float(cross_entropy(bench, mine[start : start + batch_size], tokens=1.0))
    loss, tokens = bench.parallel.sum([total, float(num_answer_tokens(mine))])
    return loss / max(tokens, 1.0)


@dataclass(frozen=True, slots=True)
class Length:
    """How long SFT lasts at most, in optimiser steps."""

    per_epoch: int
    total: int
    every: int
    """between validations"""

    @property
    def num_validations(self) -> int:
        return -(-self.total // self.every)


def length(config: SftConfig, *, num_rows: int) -> Length:
    per_epoch = -(-num_rows // config.batch_size)
    total = min(config.max_epochs * per_epoch, config.max_steps or config.max_epochs * per_epoch)
    return Length(per_epoch=per_epoch, total=total, every=min(config.evaluate_every or per_epoch, total))


def sft(state: State, config: SftConfig, on_progress: OnProgress, *, bench: Workbench, save: Save) -> State:
    """Ends with groups `policy` and `reference`, the adapter that was best on validation. Raises BadInput without training rows."""
    train, held_out = bench.splits.train, bench.splits.validation[: config.validation_rows]
    if not train or not held_out:
        raise BadInput(
            f"SFT needs training and validation rows; got {len(train)} and {len(held_out)}. Import more reasons, or split them otherwise."
        )
    rows, checks = encode_rows(bench, train, code_dropout=config.code_dropout), encode_rows(bench, held_out)
    lengths = [len(ids) for ids, _ in rows]
    planned = length(config, num_rows=len(rows))
    per_epoch, total, every = planned.per_epoch, planned.total, planned.every
    state = state.enter(STAGE)
    if state.step == 0:
        if left_out := sum(bench.splits.left_out.values()):
            kept = f"{left_out} rows are left out of training: only the test has their {len(bench.splits.held_out)} combinations of codes"
            on_progress(Progress(stage=STAGE, step=0, total=total, note=f"{kept} (data.held_out)"))
        state = state.with_values({"sft_best": None, "sft_bad": 0, "sft_stopped": False})
    else:
        bench.load(state.group("policy"))
    ranks = bench.policy.ranks
    if ranks is not None:
        ranks.restore(state.group("ranks"))
    first: Adapter = bench.policy.adapter()
    parameters = bench.policy.parameters()
    optimiser = Optimiser(
        parameters,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        saved=state.group("optimiser"),
    )
    best: Adapter = state.group("best")
    epoch, plan = -1, []
    step = state.step
    while step < total and not state.values["sft_stopped"]:
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            plan = batches(lengths, batch_size=config.batch_size, seed=bench.seed(STAGE, epoch, "order"))
        batch = [rows[row] for row in plan[step % per_epoch]]
        rate = cosine_rate(step, total=total, peak=config.learning_rate, warmup=config.warmup)
        loss, norm = ce_step(bench, optimiser, batch, stage=STAGE, step=step, learning_rate=rate)
        step += 1
        assert step > state.step + 1 or bench.policy.moved_from(first), "an optimiser step moved no parameter"
        metrics = {"loss": loss, "grad_norm": norm, "learning_rate": rate, "epoch": step / per_epoch}
        if step % every == 0 or step == total:
            measured = validation_loss(bench, checks)
            metrics["validation_loss"] = measured
            previous = state.values["sft_best"]
            settled = ranks is None or step >= ranks.settled_at  # with more rank than it may keep it is no candidate
            better = settled and (not isinstance(previous, float) or measured < previous)
            bad = 0 if better or not settled else int(str(state.values["sft_bad"])) + 1
            best = bench.policy.adapter() if better else best
            state = state.with_values({"sft_best": measured if better else previous, "sft_bad": bad, "sft_stopped": bad >= config.patience})
        on_progress(Progress(stage=STAGE, step=step, total=total, metrics=metrics))
        if step % bench.checkpoint_every == 0 and step < total:
            save(_kept(state.at(step), bench, optimiser, best))
    bench.load(best)
    on_progress(
        Progress(
            stage=STAGE,
            step=step,
            total=total,
            note=f"SFT's best validation cross-entropy: {float(str(state.values['sft_best'])):.3f} nats a token",
        )
    )
    done = state.at(step).without_groups("optimiser", "best", "ranks").with_group("policy", best).with_group("reference", best)
    return done


def ce_step(
    bench: Workbench,
    optimiser: Optimiser,
    batch: Sequence[Row],
    *,
    stage: str,
    step: int,
    learning_rate: float,
    also: Sequence[Row] = (),
    also_backward: Callable[[float], float] = lambda tokens: 0.0,
) -> tuple[float, float]:
    """One optimiser step on the global batch; (loss a token, gradient norm).

    `also` are rows of the same batch whose gradients `also_backward` adds, without dropout: given the batch's answer tokens, it returns
    this worker's part of their loss.
    """
    tokens = float(num_answer_tokens([*batch, *also]))
    bench.seed_step(stage, step)
    bench.policy.train(True)
    optimiser.zero()
    loss = backward_of(bench, bench.parallel.mine(batch), tokens=tokens)
    bench.policy.regularise(leads=bench.parallel.leads)
    bench.policy.train(False)
    loss += also_backward(tokens)
    norm = optimiser.step(bench.parallel, learning_rate=learning_rate)
    bench.policy.stepped(sft_steps=step + 1 if stage == STAGE else None)
    return bench.parallel.sum([loss])[0], norm


def backward_of(bench: Workbench, rows: Sequence[Row], *, tokens: float, weight: float = 1.0) -> float:
    """Adds the gradients of `weight` times the rows' cross-entropy, a micro-batch of rows of like length at a time; the cross-entropy."""
    total = 0.0
    for part in bench.micro_batches(sorted(rows, key=lambda row: len(row[0]))):
        loss = cross_entropy(bench, part, tokens=tokens)
        (weight * loss).backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total


def _kept(state: State, bench: Workbench, optimiser: Optimiser, best: Mapping[str, Tensor]) -> State:
    kept = state.with_group("policy", bench.policy.adapter()).with_group("optimiser", optimiser.tensors()).with_group("best", best)
    return kept.with_group("ranks", bench.policy.ranks.tensors()) if bench.policy.ranks is not None else kept
