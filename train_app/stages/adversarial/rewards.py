"""What each sample of a step earns, reward by reward; every one is logged by itself. Knows no gradient and no weight."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.domain.context import Context
from common.domain.reason import QualityVerdict
from common.generation.candidates import Candidate
from common.packs.schema import Traits
from common.quality.discriminator import Discriminator, FeatureBatch
from common.text.segments import ngrams
from train_app.config import DiscriminatorLoss
from train_app.data.traits import twins
from train_app.stages.adversarial.losses import generator_reward
from train_app.stages.workbench import Answer, Workbench, written

FORM = ("length", "language", "repetition")
COPY_SHARE, COPY_NGRAM = 0.8, 4
"""A sample is a near-copy when it shares more than this part of its 4-grams with another of its prompt."""


def check_rewards(verdicts: Sequence[Sequence[QualityVerdict]], texts: Sequence[Sequence[str]]) -> dict[str, Tensor]:
    """What the rules can verify, [prompts, samples] each. An empty text loses `form`."""
    found: dict[str, list[list[float]]] = {
        "controls": [[_passed(verdict, ("controls",)) for verdict in group] for group in verdicts],
        "facts": [[_supported(verdict) for verdict in group] for group in verdicts],
        "compliance": [[_passed(verdict, ("compliance",)) - 1 for verdict in group] for group in verdicts],
        "form": [[_passed(verdict, FORM) for verdict in group] for group in verdicts],
        "variety": [[-float(_is_copy(at, group)) for at in range(len(group))] for group in texts],
    }
    return {name: torch.tensor(rows) for name, rows in found.items()}


@torch.no_grad()
def discriminator_rewards(
    discriminator: Discriminator, batch: FeatureBatch, controls: Sequence[Mapping[str, str]], *, kind: DiscriminatorLoss, samples: int
) -> dict[str, Tensor]:
    """`realism` is the non-saturating reward, `codes` the mean log-probability of the codes asked for; [prompts, samples] each."""
    discriminator.eval()
    codes_BC = discriminator.code_indices(controls)
    out = discriminator(batch, codes_BC)
    asked_BC = codes_BC > 0
    logprobs = [logits.log_softmax(-1).gather(1, codes_BC[:, at : at + 1])[:, 0] for at, logits in enumerate(out.control_logits.values())]
    codes_B = (torch.stack(logprobs, 1) * asked_BC).sum(1) / asked_BC.sum(1).clamp(min=1) if logprobs else torch.zeros_like(out.logit_B)
    return {
        "realism": generator_reward(kind, out.logit_B.reshape(-1, samples)).cpu(),
        "codes": codes_B.reshape(-1, samples).cpu(),
        "logit": out.logit_B.reshape(-1, samples).cpu(),
    }


@dataclass(frozen=True, slots=True)
class Asked:
    """What a rollout is drawn for, and beside it the same with another value of a trait of the user; itself where no trait is told."""

    context: Context
    twin: Context


def asked_for(contexts: Sequence[Context], traits: Traits, *, seeds: Sequence[int]) -> list[Asked]:
    """Half of the users, by chance, are said to have a trait; the rest stay what they are, as most are who will be served."""
    found = []
    for context, seed in zip(contexts, seeds, strict=True):
        rng = random.Random(seed)
        told = rng.random() < 0.5
        sides = list(twins(context, traits, rng.choice(list(traits.traits)), seed=seed)) if told else [context, context]
        rng.shuffle(sides)
        found.append(Asked(*sides))
    return found


def fairness_rewards(bench: Workbench, asked: Sequence[Asked], groups: Sequence[Sequence[Candidate]]) -> Tensor:
    """[prompts, samples]: -(log p(text | user) - log p(text | twin)), nats of the whole text.

    Its mean over the user's own samples is -KL(user's texts, twin's texts), and with the likelihoods held fixed its policy gradient is
    that of -KL, since the other term, the mean of grad log p, is 0. It is greatest, 0, where a trait changes nothing (counterfactual
    fairness: Kusner et al. 2017; of the distribution of texts: Huang et al. 2020). The distance |log p - log p| is a poor teacher: where
    women get one text and men another, both are as far from the twin, and odd samples alone earn more. Of two such groups, in tests,
    it left 5.2 of 9.7 nats after 40 steps and broken sentences; this leaves .2 and one sentence for all.
    """
    rows = [(one, candidate) for one, group in zip(asked, groups, strict=True) for candidate in group]
    told = [(one, written(candidate)) for one, candidate in rows if one.twin != one.context]
    own = bench.features([Answer(one.context, ids) for one, ids in told])
    other = bench.features([Answer(one.twin, ids) for one, ids in told])
    ratios = iter([twin.log_likelihood - one.log_likelihood for one, twin in zip(own, other, strict=True)])
    return torch.tensor([next(ratios) if one.twin != one.context else 0.0 for one, _ in rows]).reshape(len(groups), -1)


def _passed(verdict: QualityVerdict, names: Sequence[str]) -> float:
    """Share of the named checks that pass, of those that were made."""
    made = [verdict.checks[name].passed for name in names if name in verdict.checks]
    return sum(made) / len(made) if made else 1.0


def _supported(verdict: QualityVerdict) -> float:
    if not verdict.claims:
        return _passed(verdict, ("facts",))
    return sum(claim.supported for claim in verdict.claims) / len(verdict.claims)


def _is_copy(at: int, texts: Sequence[str]) -> bool:
    own = set(ngrams(texts[at], COPY_NGRAM))
    if not own:
        return any(text == texts[at] for row, text in enumerate(texts) if row != at)
    return any(len(own & set(ngrams(text, COPY_NGRAM))) > COPY_SHARE * len(own) for row, text in enumerate(texts) if row != at)
