"""Contrast of contexts: what a person wrote for one context is to be likelier there than under another code or another product.

max(0, m - log p(y | x, c) + log p(y | x', c')), the max-margin form of maximum mutual information (Mao et al. 2016, arXiv 1511.02283,
section 4.3), on the real rows of a step. (x', c') is (x, another code) or (another product, c), as `negatives.mismatched` draws it. A pair
that is a margin apart teaches nothing more, so no likelihood is pushed down without end.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import relu

from common.language.base_model import answer_logprobs
from train_app.data.examples import Example
from train_app.stages.discriminator.negatives import mismatched
from train_app.stages.workbench import Workbench


def margin_loss(here_B: Tensor, elsewhere_B: Tensor, *, margin: float) -> Tensor:
    """Of log-probabilities of whole texts, nats; one value a pair."""
    return relu(margin - here_B + elsewhere_B)


def contrastive_loss(bench: Workbench, examples: Sequence[Example], *, margin: float, stage: str, step: int) -> Tensor:
    """This worker's part of the mean over the step's pairs. Which code or product stands against a text depends on the step."""
    pairs = []
    for example in examples:
        seed = bench.seed(stage, step, f"contrast {example.example_id}")
        other = mismatched(example, others=bench.splits.train, vocabulary=bench.vocabulary, seed=seed)
        if other != example.context:
            pairs.append((bench.encoded(bench.real(example)), bench.encoded(bench.real(example, context=other))))
    mine = bench.parallel.mine(pairs)
    if not mine:
        return torch.zeros((), device=bench.parallel.device)
    rows = [here for here, _ in mine] + [elsewhere for _, elsewhere in mine]
    logprobs = answer_logprobs(bench.policy.language.model, [ids for ids, _ in rows], prompt_lens=[start for _, start in rows])
    here_B, elsewhere_B = torch.stack([one.sum() for one in logprobs]).chunk(2)
    return margin_loss(here_B, elsewhere_B, margin=margin).sum() / len(pairs)
