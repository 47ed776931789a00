"""Adversarial rounds: the policy against a discriminator that learns beside it. One step is rollout, rewards, both updates, policy's first.

Prompts come from the discriminator's split, whose texts the generator never reads; cross-entropy runs on the training split.
"""

import math
import random
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from common.domain.context import Context
from common.errors import TrainingDiverged
from common.generation.candidates import Candidate
from common.language.base_model import answer_logprobs, teacher_forced
from common.quality.discriminator import Discriminator, features_batch
from train_app.config import AdversarialConfig
from train_app.data.examples import Example
from train_app.stages.adversarial.advantages import advantages
from train_app.stages.adversarial.contrastive import contrastive_loss
from train_app.stages.adversarial.guards import tripped, variety
from train_app.stages.adversarial.losses import kl_k3, policy_loss
from train_app.stages.adversarial.relaxation import gumbel_loss, temperature_at
from train_app.stages.adversarial.replay import Replay
from train_app.stages.adversarial.rewards import asked_for, check_rewards, discriminator_rewards, fairness_rewards
from train_app.stages.adversarial.throttle import discriminator_learns, discriminator_pays
from train_app.stages.adversarial.vitals import Vitals
from train_app.stages.discriminator.training import (
    GROUP,
    discriminator_optimiser,
    discriminator_reading,
    discriminator_step,
    exhibits,
    held_out_rows,
    weights_of,
)
from train_app.stages.optimisation import Optimiser
from train_app.stages.sft import backward_of, encode_rows, num_answer_tokens
from train_app.stages.state import OnProgress, Progress, Save, State, TextPair, pack_rows, tensors_digest, unpack_rows
from train_app.stages.workbench import Answer, Workbench, written


@dataclass(frozen=True, slots=True)
class Rollout:
    """One worker's share of a step."""

    indices: list[int]
    """of the examples in the discriminator split"""
    contexts: list[Context]
    """what was asked: the examples', but for users of whom a trait was told"""
    groups: list[list[Candidate]]
    advantage_BK: Tensor
    means: dict[str, float]
    """mean of every reward and of both measures of variety, over all workers"""


def adversarial_round(
    state: State,
    config: AdversarialConfig,
    on_progress: OnProgress,
    *,
    stage: str,
    bench: Workbench,
    save: Save,
) -> State:
    """From and to groups `policy` and `discriminator`. A guard that trips brings back the state that was kept last, the one at the round's
    start where there is none; the value `stopped` says why."""
    state = state.enter(stage)
    examples = bench.splits.discriminator[: bench.discriminator.rows]
    kept_apart = held_out_rows(bench, len(examples), bench.discriminator)
    rows = [index for index in range(len(examples)) if index not in kept_apart]
    reference = {name: tensor.to(bench.parallel.device) for name, tensor in state.group("reference").items()}
    starts_at_reference = tensors_digest(state.group("policy")) == tensors_digest(reference)
    bench.load(state.group("policy"))
    discriminator = bench.new_discriminator()
    discriminator.load_state_dict(state.group(GROUP))
    policy_optimiser = Optimiser(
        bench.policy.parameters(), learning_rate=config.learning_rate, max_grad_norm=config.max_grad_norm, saved=state.group("optimiser")
    )
    critic_optimiser = discriminator_optimiser(
        discriminator,
        learning_rate=config.discriminator_learning_rate,
        weight_decay=bench.discriminator.weight_decay,
        saved=state.group("critic"),
    )
    replay = Replay(config.replay_size, [(row[0], tuple(row[1:])) for row in unpack_rows(state.group("replay"))])
    vitals = Vitals.kept(state.values) if state.step else Vitals.kept(state.values).at_round_start()
    good = state.with_values(vitals.values())
    stopped: str | None = None
    total = config.steps_per_round
    step = state.step
    while step < total and stopped is None:
        informed = discriminator_pays(vitals.accuracy, config)
        rollout = roll_out(bench, examples, discriminator, config, rows=rows, stage=stage, step=step, informed=informed)
        gathered = bench.parallel.gather_groups(
            [[(index, *written(one)) for one in group] for index, group in zip(rollout.indices, rollout.groups, strict=True)]
        )
        current = [(row[0], tuple(row[1:])) for group in gathered for row in group]
        picked = random.Random(bench.seed(stage, step, "fakes"))
        new = [(row[0], tuple(row[1:])) for row in map(picked.choice, gathered)]
        old = replay.draw(len(new), seed=bench.seed(stage, step, "replay"))
        shown = exhibits(bench, examples, [(index, [ids]) for index, ids in [*new, *old]])
        metrics = dict(rollout.means)
        try:
            metrics |= policy_step(
                bench, rollout, discriminator, policy_optimiser, config, examples, reference, stage=stage, step=step, informed=informed
            )
            assert step or not starts_at_reference or metrics["kl"] < 1e-6, "the reference is not the adapter that the policy starts from"
            bench.seed_step(stage, step)
            seed = bench.seed(stage, step, "critic")
            reading = discriminator_reading(discriminator, shown[: len(new)], bench.discriminator, bench=bench, seed=seed)
            if discriminator_learns(vitals.accuracy, config):
                metrics |= discriminator_step(
                    discriminator, shown, critic_optimiser, bench.discriminator, bench=bench, seed=seed, step=step
                )
            metrics |= reading  # of what the generator writes now, whether or not it was learnt from, and without dropout
        except TrainingDiverged as error:
            stopped = str(error)
            break
        replay.add(current)
        vitals = vitals.after(metrics, certain_above=config.throttle_certain, confused_below=config.min_auc)
        metrics |= vitals.metrics()
        stopped = tripped(metrics, vitals, config=config)
        step += 1
        bench.merge()
        metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}  # the guard has read them: `stopped` names one
        on_progress(Progress(stage=stage, step=step, total=total, metrics=metrics, texts=_texts(rollout, examples)))
        if stopped is None and (step % bench.checkpoint_every == 0 or step == total):
            good = state.with_group("policy", bench.policy.adapter()).with_group(GROUP, weights_of(discriminator))
            good = good.with_group("optimiser", policy_optimiser.tensors()).with_group("critic", critic_optimiser.tensors())
            good = good.with_group("replay", pack_rows([[index, *ids] for index, ids in replay.samples])).with_values(vitals.values())
            good = good.at(step)
            if step < total:
                save(good)
    bench.load(good.group("policy"))
    if stopped:
        note = f"stopped: {stopped}; the last good state, that of step {good.step}, is kept"
        on_progress(Progress(stage=stage, step=step, total=total, note=note))
    return good.without_groups("optimiser", "critic").with_values({"stopped": stopped}).at(total)


def roll_out(
    bench: Workbench,
    examples: Sequence[Example],
    discriminator: Discriminator,
    config: AdversarialConfig,
    *,
    rows: Sequence[int],
    stage: str,
    step: int,
    informed: bool,
) -> Rollout:
    """Samples, rewards and advantages of this worker's prompts (of `rows`), which stay together. `informed` False: D pays nothing."""
    drawn = random.Random(bench.seed(stage, step, "prompts")).sample(rows, min(config.prompts, len(rows)))
    indices = bench.parallel.mine(drawn)
    contexts = [examples[index].context for index in indices]
    seeds = [bench.seed(stage, step, f"trait {index}") for index in indices]
    asked = asked_for(contexts, bench.checker.pack.traits, seeds=seeds) if config.weights.fairness else []
    contexts = [one.context for one in asked] or contexts
    groups = bench.write(contexts, k=config.samples, stage=stage, step=step)
    flat = [candidate for group in groups for candidate in group]
    controls = [context.controls for context in contexts for _ in range(config.samples)]
    verdicts = [[bench.checker.judge(one.text, context=c, score=None) for one in group] for c, group in zip(contexts, groups, strict=True)]
    rewards = check_rewards(verdicts, [[one.text for one in group] for group in groups])
    batch = features_batch([one.features for one in flat if one.features is not None]).to(bench.parallel.device)
    rewards |= discriminator_rewards(discriminator, batch, controls, kind=bench.discriminator.loss, samples=config.samples)
    if config.weights.fairness:
        rewards["fairness"] = fairness_rewards(bench, asked, groups)
    weights = config.weights.model_dump() | {"logit": 0.0} | ({} if informed else {"realism": 0.0, "codes": 0.0})
    advantage_BK = advantages(rewards, weights, clip=config.advantage_clip, parallel=bench.parallel)
    measures = {f"reward_{name}": float(values.sum()) for name, values in rewards.items() if name != "logit"}
    measures |= {
        "checks_passed": float(sum(verdict.checks_passed for group in verdicts for verdict in group)),
        "reads_samples": float((rewards["logit"] < 0).sum()),
        "taken_for_real": float(rewards["logit"].sigmoid().sum()),
        "tokens_per_text": float(sum(one.num_tokens for one in flat)),
    }
    summed = bench.parallel.sum([*measures.values(), float(len(flat))])
    means = dict(zip(measures, (value / summed[-1] for value in summed[:-1]), strict=True))
    texts = bench.parallel.gather_groups([[[ord(char) for char in one.text] for one in group] for group in groups])
    return Rollout(indices, contexts, groups, advantage_BK, means | variety(["".join(map(chr, text)) for group in texts for text in group]))


def policy_step(
    bench: Workbench,
    rollout: Rollout,
    discriminator: Discriminator,
    optimiser: Optimiser,
    config: AdversarialConfig,
    examples: Sequence[Example],
    reference: dict[str, Tensor],
    *,
    stage: str,
    step: int,
    informed: bool,
) -> dict[str, float]:
    """Policy gradient (or the discriminator's own, by relaxation), KL to the SFT adapter, cross-entropy and contrast on real rows in one
    step. No dropout: KL is exactly 0 at the start."""
    model = bench.policy.language.model
    flat = [(row, k, one) for row, group in enumerate(rollout.groups) for k, one in enumerate(group)]
    encoded = [bench.encoded(Answer(rollout.contexts[row], written(one))) for row, _, one in flat]
    tokens, texts = bench.parallel.sum([float(num_answer_tokens(encoded)), float(len(encoded))])
    parts = bench.micro_batches(list(zip(encoded, flat, rollout.advantage_BK.flatten().tolist(), strict=True)))
    products = bench.autocast if config.mode == "policy_gradient" else nullcontext  # a relaxation reads hidden states: they stay fp32
    with torch.no_grad(), bench.policy.holding(reference), products():
        anchors = [answer_logprobs(model, [ids for (ids, _), *_ in part], prompt_lens=[at for (_, at), *_ in part]) for part in parts]
    optimiser.zero()
    totals = {"policy_loss": 0.0, "kl": 0.0, "entropy": 0.0}
    for part, anchor in zip(parts, anchors, strict=True):
        with products():
            states = teacher_forced(model, [ids for (ids, _), *_ in part], prompt_lens=[at for (_, at), *_ in part])
        kl = torch.stack([kl_k3(s.logprob_T, of).sum() for s, of in zip(states, anchor, strict=True)]).sum() / tokens
        entropy = torch.stack([s.entropy_T.detach().sum() for s in states]).sum() / tokens
        if config.mode == "gumbel":
            relaxed = gumbel_loss(
                model,
                discriminator,
                states,
                [one.features for _, (_, _, one), _ in part if one.features is not None],
                [rollout.contexts[row].controls for _, (row, _, _), _ in part],
                kind=bench.discriminator.loss,
                temperature=temperature_at(step, config),
                drawn_at=bench.decoding.temperature,
                seeds=[bench.seed(stage, step, f"gumbel {rollout.indices[row]} {k}") for _, (row, k, _), _ in part],
            )
            gradient = config.weights.realism * float(informed) * relaxed / texts
        else:
            advantage_B = torch.tensor([advantage for *_, advantage in part], device=bench.parallel.device)
            gradient = policy_loss(
                [s.logprob_T for s in states], advantage_B, max_tokens=bench.decoding.max_new_tokens, num_texts=int(texts)
            )
        (gradient + config.kl_weight * kl).backward()  # type: ignore[no-untyped-call]
        for name, value in (("policy_loss", gradient), ("kl", kl), ("entropy", entropy)):
            totals[name] += float(value.detach())
    train = bench.splits.train
    real = random.Random(bench.seed(stage, step, "real")).sample(train, min(config.ce_rows, len(train)))
    rows = encode_rows(bench, real)
    totals["ce_loss"] = backward_of(bench, bench.parallel.mine(rows), tokens=float(num_answer_tokens(rows)), weight=config.ce_weight)
    if config.contrastive_weight:
        apart = contrastive_loss(bench, real, margin=config.contrastive_margin, stage=stage, step=step)
        if apart.requires_grad:
            (config.contrastive_weight * apart).backward()  # type: ignore[no-untyped-call]
        totals["contrastive_loss"] = float(apart.detach())
    bench.policy.regularise(leads=bench.parallel.leads)
    before = None if step else bench.policy.adapter()
    norm = optimiser.step(bench.parallel)
    bench.policy.stepped()
    assert before is None or not norm or bench.policy.moved_from(before), "an optimiser step moved no parameter"
    return dict(zip(totals, bench.parallel.sum(list(totals.values())), strict=True)) | {"grad_norm": norm}


def _texts(rollout: Rollout, examples: Sequence[Example]) -> tuple[TextPair, ...]:
    pairs = zip(rollout.indices[:2], rollout.groups[:2], strict=True)
    return tuple(
        TextPair(product=examples[index].context.product.title, real=examples[index].text, generated=group[0].text)
        for index, group in pairs
    )
