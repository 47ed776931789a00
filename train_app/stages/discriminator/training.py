"""Fits the discriminator to the current generator: real texts against its samples, and against real texts made wrong for their context.

Cross-fitted: all rows come from a split that the generator never reads. A discriminator rates rows that the generator was trained on above
unseen real ones, since it sees the generator's own certainty.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from common.domain.token_features import TokenFeatures
from common.errors import BadInput
from common.metrics.calibration import auc
from common.quality.discriminator import Discriminator, DiscriminatorOut, features_batch
from train_app.config import DiscriminatorLoss, DiscriminatorStageConfig
from train_app.data.examples import Example
from train_app.stages.adversarial.losses import discriminator_loss, gradient_penalty, r1_penalty, wrong_text_loss
from train_app.stages.discriminator.negatives import mismatched, perturbed
from train_app.stages.discriminator.spectral import one_power_iteration
from train_app.stages.optimisation import Optimiser, cosine_rate
from train_app.stages.pool import pooled
from train_app.stages.state import OnProgress, Progress, Save, State
from train_app.stages.workbench import Answer, Workbench

GROUP = "discriminator"
BETAS = (0.5, 0.99)


@dataclass(frozen=True, slots=True)
class Judged:
    """One text as the discriminator reads it."""

    features: TokenFeatures
    controls: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A context's real text with what stands against it."""

    real: Judged
    fakes: tuple[Judged, ...]
    perturbed: Judged | None
    mismatched: Judged | None


def judged_as(bench: Workbench, answers: Sequence[Answer]) -> list[Judged]:
    """Under the merged policy as it is now."""
    return [Judged(one, answer.context.controls) for one, answer in zip(bench.features(answers), answers, strict=True)]


def exhibits(bench: Workbench, examples: Sequence[Example], fakes: Sequence[tuple[int, Sequence[tuple[int, ...]]]]) -> list[Exhibit]:
    """One for each of `fakes`: an example's number and samples for it, at least one; features under the merged policy as it is now.

    With `permuted_labels` which of a context's texts counts as the real one is left to chance: a discriminator that still gains from it
    has gained from something else.
    """
    wrong = [_wrong(bench, examples, index) for index, _ in fakes]
    answers: list[Answer] = []
    for (index, samples), (swapped, elsewhere) in zip(fakes, wrong, strict=True):
        answers += [bench.real(examples[index]), *(Answer(examples[index].context, ids) for ids in samples)]
        answers += [answer for answer in (swapped, elsewhere) if answer is not None]
    texts = judged_as(bench, answers)
    if bench.discriminator.permuted_labels:
        sizes = [1 + len(samples) + sum(one is not None for one in pair) for (_, samples), pair in zip(fakes, wrong, strict=True)]
        texts = _permuted(texts, sizes, bench)
    judged = iter(texts)
    return [
        Exhibit(
            real=next(judged),
            fakes=tuple(next(judged) for _ in samples),
            perturbed=None if swapped is None else next(judged),
            mismatched=None if elsewhere is None else next(judged),
        )
        for (_, samples), (swapped, elsewhere) in zip(fakes, wrong, strict=True)
    ]


def _permuted(texts: Sequence[Judged], sizes: Sequence[int], bench: Workbench) -> list[Judged]:
    """Within each context's texts, `sizes` of them one after another."""
    found, start = [], 0
    for number, size in enumerate(sizes):
        found += random.Random(bench.seed("permuted labels", number)).sample(texts[start : start + size], size)
        start += size
    return found


def _wrong(bench: Workbench, examples: Sequence[Example], index: int) -> tuple[Answer | None, Answer | None]:
    example, seed = examples[index], bench.seed("negatives", 0, examples[index].example_id)
    others = random.Random(seed).sample(list(examples), min(200, len(examples)))
    claims = bench.checker.judge(example.text, context=example.context, score=None).claims
    text = perturbed(example, claims=claims, others=[other.context.product for other in others], seed=seed)
    context = mismatched(example, others=others, vocabulary=bench.vocabulary, seed=seed)
    elsewhere = None if context == example.context else bench.real(example, context=context)
    return None if text is None else bench.real(example, text=text), elsewhere


def discriminator_step(
    discriminator: Discriminator,
    batch: Sequence[Exhibit],
    optimiser: Optimiser,
    config: DiscriminatorStageConfig,
    *,
    bench: Workbench,
    seed: int,
    step: int,
) -> dict[str, float]:
    """One step on the global batch; every worker takes its share. Which of an exhibit's fakes is shown depends on the seed.

    Returns loss, gradient norm and what `discriminator_reading` does.
    """
    sizes, picked = _sizes(batch), _picked(batch, seed)
    mixes = (
        torch.rand(len(batch), generator=torch.Generator().manual_seed(seed)).tolist() if config.gradient_penalty else [0.0] * len(batch)
    )
    discriminator.train()
    one_power_iteration(discriminator)
    optimiser.zero()
    total, read = 0.0, NOTHING_READ
    for part in bench.micro_batches(bench.parallel.mine(list(zip(batch, picked, mixes, strict=True)))):
        mine, fakes = [one for one, _, _ in part], [fake for _, fake, _ in part]
        real, fake = _out(discriminator, [one.real for one in mine]), _out(discriminator, fakes)
        read = _with_samples(read, config.loss, real.logit_B, fake.logit_B)
        share = len(mine) / sizes[0]
        loss = share * discriminator_loss(config.loss, real.logit_B, fake.logit_B, real_target=config.real_target)
        loss = loss + share * config.control_weight * _control_loss(discriminator, real, [one.real for one in mine])
        for name, size in (("perturbed", sizes[1]), ("mismatched", sizes[2])):
            rows = [row for row, one in enumerate(mine) if getattr(one, name) is not None]
            if rows:
                wrong_B = _out(discriminator, [getattr(mine[row], name) for row in rows]).logit_B
                loss = loss + config.mismatch_weight / 2 * len(rows) / size * wrong_text_loss(config.loss, wrong_B, real.logit_B[rows])
                read = _with_wrong(read, real.logit_B[rows], wrong_B)
        if config.gradient_penalty:
            reals, others = (features_batch([one.features for one in texts]).to(loss.device) for texts in ([m.real for m in mine], fakes))
            codes = discriminator.code_indices([one.real.controls for one in mine])
            mix_B = torch.tensor([mix for _, _, mix in part], device=loss.device)
            loss = loss + share * config.gradient_penalty * gradient_penalty(discriminator, reals, others, codes, mix_B=mix_B)
        if config.r1 and step % config.r1_every == 0:
            reals = features_batch([one.real.features for one in mine]).to(loss.device)
            codes = discriminator.code_indices([one.real.controls for one in mine])
            loss = loss + share * config.r1 * config.r1_every * r1_penalty(discriminator, reals, codes)
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    norm = optimiser.step(bench.parallel)
    discriminator.eval()
    (summed,) = bench.parallel.sum([total])
    return {"discriminator_loss": summed, "discriminator_grad_norm": norm} | _reading(bench, read, sizes)


@torch.no_grad()
def discriminator_reading(
    discriminator: Discriminator, batch: Sequence[Exhibit], config: DiscriminatorStageConfig, *, bench: Workbench, seed: int
) -> dict[str, float]:
    """How it reads a batch, without learning from it: accuracy, and of the pairs that a real text makes with its sample and with its wrong
    texts the shares in which it stands above (`ordered_samples`, `ordered_wrong`; a tie is half) and the share of ties of both.

    A logit of bce or hinge is right on its side of 0; those of bt and wgan mean something beside each other only, so there a pair is.
    """
    mine, fakes = bench.parallel.mine(batch), bench.parallel.mine(_picked(batch, seed))
    discriminator.eval()
    read = NOTHING_READ
    if mine:
        real_B = _out(discriminator, [one.real for one in mine]).logit_B
        read = _with_samples(read, config.loss, real_B, _out(discriminator, fakes).logit_B)
        pairs = [(row, text) for row, one in enumerate(mine) for text in (one.perturbed, one.mismatched) if text is not None]
        if pairs:
            read = _with_wrong(read, real_B[[row for row, _ in pairs]], _out(discriminator, [text for _, text in pairs]).logit_B)
    return _reading(bench, read, _sizes(batch))


Read = tuple[float, float, float, float]
"""Right logits, pairs in order with samples, with wrong texts, and ties, of one worker."""
NOTHING_READ: Read = (0.0, 0.0, 0.0, 0.0)


def _with_samples(read: Read, kind: DiscriminatorLoss, real_B: Tensor, fake_B: Tensor) -> Read:
    ties = float((real_B == fake_B).sum())
    ordered = float((real_B > fake_B).sum()) + ties / 2
    right = 2 * ordered if kind in ("bt", "wgan") else float((real_B > 0).sum() + (fake_B < 0).sum())
    return read[0] + right, read[1] + ordered, read[2], read[3] + ties


def _with_wrong(read: Read, real_B: Tensor, wrong_B: Tensor) -> Read:
    ties = float((real_B == wrong_B).sum())
    return read[0], read[1], read[2] + float((real_B > wrong_B).sum()) + ties / 2, read[3] + ties


def _reading(bench: Workbench, read: Read, sizes: tuple[int, int, int]) -> dict[str, float]:
    right, samples, wrong, ties = bench.parallel.sum(read)
    num_wrong = sizes[1] + sizes[2]
    return {
        "accuracy": right / (2 * sizes[0]),
        "ordered_samples": samples / sizes[0],
        "ordered_wrong": wrong / num_wrong if num_wrong else 0.5,
        "ties": ties / (sizes[0] + num_wrong),
    }


def _sizes(batch: Sequence[Exhibit]) -> tuple[int, int, int]:
    """Real texts (as many samples), perturbed and mismatched ones."""
    return len(batch), sum(one.perturbed is not None for one in batch), sum(one.mismatched is not None for one in batch)


def _picked(batch: Sequence[Exhibit], seed: int) -> list[Judged]:
    return [one.fakes[(seed + row) % len(one.fakes)] for row, one in enumerate(batch)]


def train_discriminator(
    state: State, config: DiscriminatorStageConfig, on_progress: OnProgress, *, stage: str, steps: int, bench: Workbench, save: Save
) -> State:
    """From group `pool` (samples for its split) to group `discriminator`, the best on held-out rows. Warm where there is one."""
    state = state.enter(stage)
    examples = bench.splits.discriminator[: config.rows]
    fakes: dict[int, list[tuple[int, ...]]] = {}
    for index, ids in pooled(state):
        fakes.setdefault(index, []).append(ids)
    kept_apart = held_out_rows(bench, len(examples), config)
    held_out, train = (
        exhibits(bench, examples, [(index, fakes[index]) for index in sorted(fakes) if (index in kept_apart) is apart])
        for apart in (True, False)
    )
    if len(held_out) < 2 or len(train) < 6:
        raise BadInput(f"the discriminator needs at least 8 rows of its own split; got {len(held_out) + len(train)}. Import more reasons.")
    discriminator = bench.new_discriminator()
    if saved := state.group(GROUP):
        discriminator.load_state_dict(saved)
    optimiser = discriminator_optimiser(
        discriminator, learning_rate=config.learning_rate, weight_decay=config.weight_decay, saved=state.group("optimiser")
    )
    best = state.group("best") or weights_of(discriminator)
    measured = measure(discriminator, held_out)
    top = float(str(state.values["discriminator_top"])) if state.step else _merit(measured)
    if state.step == 0:
        on_progress(Progress(stage=stage, step=0, total=steps, metrics=measured))
    for step in range(state.step, steps):
        bench.seed_step(stage, step)
        seed = bench.seed(stage, step, "batch")
        batch = random.Random(seed).sample(train, min(config.batch_size, len(train)))
        rate = cosine_rate(step, total=steps, peak=config.learning_rate, warmup=0.05)
        for group in optimiser.adam.param_groups:
            group["lr"] = rate
        metrics = discriminator_step(discriminator, batch, optimiser, config, bench=bench, seed=seed, step=step)
        done = step + 1
        if done % config.evaluate_every == 0 or done == steps:
            measured = measure(discriminator, held_out)
            metrics |= measured
            if _merit(measured) >= top:
                top, best = _merit(measured), weights_of(discriminator)
        on_progress(Progress(stage=stage, step=done, total=steps, metrics=metrics))
        if done % bench.checkpoint_every == 0 and done < steps:
            kept = state.with_group(GROUP, weights_of(discriminator)).with_group("optimiser", optimiser.tensors()).with_group("best", best)
            save(kept.with_values({"discriminator_top": top}).at(done))
    discriminator.load_state_dict(best)
    final = measure(discriminator, held_out)
    blind = max(final["auc_fake"], final["auc_perturbed"]) < config.abort_auc
    note = f"held-out AUC: {final['auc_fake']:.3f} against samples, {final['auc_perturbed']:.3f} against one wrong fact"
    if blind:
        note += f"; below {config.abort_auc} there is nothing to learn from it: adversarial rounds and filtering are left out"
    on_progress(Progress(stage=stage, step=steps, total=steps, metrics=final, note=note))
    finished = state.without_groups("optimiser", "best", "pool").with_group(GROUP, best).at(steps)
    return finished.with_values({"discriminator_blind": blind, "discriminator_auc": dict(final), "discriminator_top": top})


def held_out_rows(bench: Workbench, num: int, config: DiscriminatorStageConfig) -> frozenset[int]:
    """Of the first `num` rows of its split, those that only measure it: no fit and no adversarial round learns from them, nor from another
    row of their groups. Whole groups by lot, until they hold the share."""
    groups: dict[str, list[int]] = {}
    for index, example in enumerate(bench.splits.discriminator[:num]):
        groups.setdefault(example.group, []).append(index)
    order = sorted(groups)
    random.Random(bench.seed("discriminator", 0, "held out")).shuffle(order)
    wanted, found = min(num, max(2, round(config.held_out * num))), list[int]()
    for group in order:
        if len(found) >= wanted:
            break
        found += groups[group]
    return frozenset(found)


def measure(discriminator: Discriminator, shown: Sequence[Exhibit]) -> dict[str, float]:
    """AUC of real texts against each kind of wrong ones; .5 where there is none of a kind."""
    real = logits_of(discriminator, [one.real for one in shown])
    found = {}
    for name, wrong in (
        ("auc_fake", [fake for one in shown for fake in one.fakes]),
        ("auc_perturbed", [one.perturbed for one in shown if one.perturbed]),
        ("auc_mismatched", [one.mismatched for one in shown if one.mismatched]),
    ):
        value = auc(real, logits_of(discriminator, wrong)) if wrong else 0.5
        found[name] = value if np.isfinite(value) else 0.5
    return found


def discriminator_optimiser(
    discriminator: Discriminator, *, learning_rate: float, weight_decay: float, saved: Mapping[str, Tensor] | None = None
) -> Optimiser:
    parameters: dict[str, nn.Parameter] = dict(discriminator.named_parameters())
    return Optimiser(parameters, learning_rate=learning_rate, weight_decay=weight_decay, betas=BETAS, saved=saved or None)


def weights_of(discriminator: Discriminator) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in discriminator.state_dict().items()}


def _merit(measured: Mapping[str, float]) -> float:
    """Samples and wrong facts alike: real against sample alone rewards tells of style."""
    return measured["auc_fake"] + measured["auc_perturbed"] + 0.5 * measured["auc_mismatched"]


def logits_of(discriminator: Discriminator, texts: Sequence[Judged]) -> list[float]:
    return discriminator.logits([one.features for one in texts], [one.controls for one in texts])


def log_real_of(discriminator: Discriminator, texts: Sequence[Judged]) -> list[float]:
    return discriminator.log_real([one.features for one in texts], [one.controls for one in texts])


def _out(discriminator: Discriminator, texts: Sequence[Judged]) -> DiscriminatorOut:
    batch = features_batch([one.features for one in texts]).to(discriminator.temperature.device)
    out: DiscriminatorOut = discriminator(batch, discriminator.code_indices([one.controls for one in texts]))
    return out


def _control_loss(discriminator: Discriminator, out: DiscriminatorOut, texts: Sequence[Judged]) -> Tensor:
    """The heads learn on real texts only (AC-GAN's reading of what a sample meant would teach them the generator's mistakes)."""
    codes_BC = discriminator.code_indices([one.controls for one in texts])
    losses = [cross_entropy(logits, codes_BC[:, at]) for at, logits in enumerate(out.control_logits.values())]
    return torch.stack(losses).mean() if losses else torch.zeros((), device=codes_BC.device)
