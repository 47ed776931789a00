"""Direct preference optimisation beside cross-entropy: a kept sample against one to the same prompt that is worse. Chooses neither."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from common.language.base_model import answer_logprobs
from train_app.stages.optimisation import Optimiser
from train_app.stages.sft import Row, ce_step
from train_app.stages.workbench import Workbench


@dataclass(frozen=True, slots=True)
class Pair:
    better: Row
    worse: Row | None


@dataclass(frozen=True, slots=True)
class Preference:
    reference: Mapping[str, Tensor]
    """Adapter that the policy is held to."""
    beta: float
    weight: float


def preference_loss(better_B: Tensor, worse_B: Tensor, *, beta: float) -> Tensor:
    """-log sigma(beta (m_better - m_worse)) a pair, m a text's log-probability under the policy less that under the reference, nats
    (Rafailov et al. 2023, eq. 7)."""
    return -logsigmoid(beta * (better_B - worse_B))


def preference_step(
    bench: Workbench,
    optimiser: Optimiser,
    pairs: Sequence[Pair],
    rows: Sequence[Row],
    config: Preference,
    *,
    stage: str,
    step: int,
    learning_rate: float,
) -> dict[str, float]:
    """One optimiser step on the global batch: cross-entropy a token on `rows` and on what is better of `pairs`, and `weight` times the mean
    preference loss of those that have a worse text (the two together: Pang et al. 2024, eq. 2)."""
    told = [pair for pair in pairs if pair.worse is not None]
    rows = [*rows, *(pair.better for pair in pairs if pair.worse is None)]
    apart = ordered = 0.0

    def learn(tokens: float) -> float:
        """Without dropout: a margin is of two passes, which would differ with it where the weights do not."""
        nonlocal apart, ordered
        loss, model = 0.0, bench.policy.language.model
        mine = sorted(bench.parallel.mine(told), key=lambda pair: len(pair.better[0]))
        for part in bench.micro_batches(mine, texts=2):
            texts = [text for pair in part for text in (pair.better, pair.worse) if text is not None]
            ids, starts = [ids for ids, _ in texts], [start for _, start in texts]
            with bench.autocast(), torch.no_grad(), bench.policy.holding(config.reference):
                anchors = torch.stack([one.sum() for one in answer_logprobs(model, ids, prompt_lens=starts)])
            with bench.autocast():  # another: one context would read the reference's weights again, which it keeps as it cast them
                logprobs = torch.stack([one.sum() for one in answer_logprobs(model, ids, prompt_lens=starts)])
            margins = logprobs - anchors
            preferred = preference_loss(margins[::2], margins[1::2], beta=config.beta)
            learnt = -logprobs[::2].sum() / tokens
            (learnt + config.weight * preferred.sum() / len(told)).backward()  # type: ignore[no-untyped-call]
            loss, apart = loss + float(learnt.detach()), apart + float(preferred.detach().sum())
            ordered += float((margins[::2] > margins[1::2]).sum())
        return loss

    better = [pair.better for pair in told]
    loss, norm = ce_step(bench, optimiser, rows, stage=stage, step=step, learning_rate=learning_rate, also=better, also_backward=learn)
    apart, ordered = bench.parallel.sum([apart, ordered])
    many = max(1, len(told))
    return {"loss": loss, "grad_norm": norm, "preference_loss": apart / many, "preferred": ordered / many}
