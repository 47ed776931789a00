"""From several rewards to one advantage: each is normalised within its prompt by itself (GDPO, 2601.05242), then summed.

Summing first would make different mixtures of rewards collapse to equal advantages.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from train_app.stages.parallel import Parallel

EPSILON = 1e-2
"""Added to a group's deviation: a reward that hardly differs within a prompt hardly counts."""


def advantages(rewards: Mapping[str, Tensor], weights: Mapping[str, float], *, clip: float, parallel: Parallel) -> Tensor:
    """rewards[name] is [prompts, samples] -> advantages of that shape with mean 0 and deviation 1 over all workers, clipped at +-`clip`.

    A prompt whose samples all earn the same teaches nothing and gets zeros.
    """
    total_BK = torch.zeros_like(next(iter(rewards.values())))
    for name, reward_BK in rewards.items():
        if weights[name]:
            centred_BK = reward_BK - reward_BK.mean(1, keepdim=True)
            total_BK = total_BK + weights[name] * centred_BK / (reward_BK.std(1, keepdim=True, correction=0) + EPSILON)
    flat = total_BK.flatten().double()
    count, sum_of, squares = parallel.sum([float(len(flat)), float(flat.sum()), float((flat**2).sum())])
    mean = sum_of / count
    deviation = max(squares / count - mean**2, 0.0) ** 0.5
    varied = (total_BK.amax(1, keepdim=True) - total_BK.amin(1, keepdim=True)) > 0
    return torch.where(varied, (total_BK - mean) / (deviation + 1e-6), 0.0).clamp(-clip, clip)
