"""The literal GAN: the generator's gradient comes through the discriminator, by straight-through Gumbel-softmax (Jang et al. 2017).

The policy's own sample is read once more with the tokens it drew. Forwards, the discriminator sees exactly these tokens; backwards, each is
a softmax over the vocabulary, sharper with every step. The Gumbel noise is drawn given that the drawn token won (Maddison et al. 2014), so
that relaxation and sample agree (Paulus et al. 2021).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from common.domain.token_features import TokenFeatures
from common.language.base_model import AnswerStates, head_logits
from common.quality.discriminator import Discriminator, features_batch
from train_app.config import AdversarialConfig, DiscriminatorLoss
from train_app.stages.adversarial.losses import generator_loss


def temperature_at(step: int, config: AdversarialConfig) -> float:
    """From `gumbel_start` at a round's first step to `gumbel_end` at its last, by equal factors."""
    share = step / max(1, config.steps_per_round - 1)
    return float(config.gumbel_start * (config.gumbel_end / config.gumbel_start) ** share)


def relaxed(logits_TV: Tensor, ids_T: Tensor, *, temperature: float, seed: int) -> Tensor:
    """softmax((log p + g) / temperature), [T, V], with Gumbel noise g under which each `ids_T` is the largest; g has no gradient.

    The noise depends on the seed alone, so a text's gradient does not depend on the worker that takes it.
    """
    logprob_TV = logits_TV.log_softmax(-1)
    with torch.no_grad():
        waits_TV = torch.empty(logits_TV.shape).exponential_(generator=torch.Generator().manual_seed(seed)).clamp(min=1e-20)
        log_waits_TV = waits_TV.to(logits_TV.device).log()
        first_T1 = log_waits_TV.gather(1, ids_T[:, None])
        keys_TV = -torch.logaddexp(first_T1, log_waits_TV - logprob_TV)
        noise_TV = keys_TV.scatter(1, ids_T[:, None], -first_T1) - logprob_TV
    return ((logprob_TV + noise_TV) / temperature).softmax(-1)


def gumbel_loss(
    model: nn.Module,
    discriminator: Discriminator,
    states: Sequence[AnswerStates],
    features: Sequence[TokenFeatures],
    controls: Sequence[Mapping[str, str]],
    *,
    kind: DiscriminatorLoss,
    temperature: float,
    drawn_at: float,
    seeds: Sequence[int],
) -> Tensor:
    """`generator_loss` summed over texts; `states` are of `model`, with their graph, `drawn_at` the temperature they were drawn at.

    Gradients reach the policy by the tokens' embeddings and by log-probability, entropy and gap. Hidden states are taken as they were when
    the text was drawn: through them the policy could please the discriminator by what it thinks, without writing anything else. The
    discriminator is in evaluation mode and gets no gradient.
    """
    if not states:
        return torch.zeros((), device=next(model.parameters()).device)
    device = states[0].logprob_T.device
    batch = features_batch(features).to(device)
    soft, stats = [], []
    for state, one, seed in zip(states, features, seeds, strict=True):
        ids_T = torch.from_numpy(one.ids_T).long().to(device)
        logits_TV = head_logits(model, state.hidden_TD).float()
        soft.append(relaxed(logits_TV / drawn_at, ids_T, temperature=temperature, seed=seed))
        logprob_TV = logits_TV.log_softmax(-1)
        entropy_T = -(logprob_TV.exp() * logprob_TV).sum(-1)
        stats.append(torch.stack([state.logprob_T, entropy_T, logprob_TV.amax(-1) - state.logprob_T], -1))
    with held_still(discriminator):
        shown = replace(batch, soft_BTV=pad_sequence(soft, batch_first=True), stats_BT3=pad_sequence(stats, batch_first=True))
        out = discriminator(shown, discriminator.code_indices(controls))
    return generator_loss(kind, out.logit_B).sum()


@contextmanager
def held_still(discriminator: Discriminator) -> Iterator[None]:
    """No dropout, no power iteration, no gradient of its own; it is left in evaluation mode."""
    discriminator.eval().requires_grad_(False)
    try:
        yield
    finally:
        discriminator.requires_grad_(True)
