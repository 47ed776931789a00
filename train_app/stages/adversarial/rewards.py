"""What each sample of a step earns, reward by reward; every one is logged by itself. Knows no gradient and no weight."""

import random
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from common.domain.context import Context
from common.domain.reason import QualityVerdict
from common.generation.candidates import Candidate
from common.quality.discriminator import Discriminator, FeatureBatch
from common.text.segments import ngrams
from train_app.config import DiscriminatorLoss
from train_app.data.traits import counterfactuals, known_traits
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
        "realism": generator_reward(kind, out.logit_B).reshape(-1, samples).cpu(),
        "codes": codes_B.reshape(-1, samples).cpu(),
        "logit": out.logit_B.reshape(-1, samples).cpu(),
    }


def fairness_rewards(bench: Workbench, contexts: Sequence[Context], groups: Sequence[Sequence[Candidate]], *, seed: int) -> Tensor:
    """[prompts, samples]: minus |log p(text | user) - log p(text | the user's twin)| a token, for twins that differ in one trait by chance
    and in nothing else. 0 for a policy that does not read the trait."""
    trait = random.Random(seed).choice(sorted(known_traits()))
    twins = [counterfactuals(context, trait, seed=seed) for context in contexts]
    sides = [
        bench.features([Answer(pair[side], written(one)) for pair, group in zip(twins, groups, strict=True) for one in group])
        for side in (0, 1)
    ]
    gaps = [-abs(one.log_likelihood - other.log_likelihood) / len(one.ids_T) for one, other in zip(*sides, strict=True)]
    return torch.tensor(gaps).reshape(len(groups), -1)


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
