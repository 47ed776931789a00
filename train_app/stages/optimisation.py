"""Adam's moments as tensors, the learning rate as a function of the step, and one clipped step over all workers' gradients."""

from collections.abc import Mapping
from math import cos, isfinite, pi

import torch
from torch import Tensor, nn

from common.errors import TrainingDiverged
from train_app.stages.parallel import Parallel


def cosine_rate(step: int, *, total: int, peak: float, warmup: float = 0.0) -> float:
    """Rises linearly over `warmup` of the steps, then falls to a tenth of `peak`. A function of the step alone: nothing to save."""
    rising = max(1, round(warmup * total))
    if step < rising:
        return peak * (step + 1) / rising
    done = (step - rising) / max(1, total - rising)
    return peak * (0.1 + 0.9 * 0.5 * (1 + cos(pi * min(1.0, done))))


class Optimiser:
    """AdamW over named parameters, with its moments as plain tensors that go into a State."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        learning_rate: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        max_grad_norm: float = 1.0,
        saved: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.parameters, self.max_grad_norm = dict(parameters), max_grad_norm
        self.adam = torch.optim.AdamW(self.parameters.values(), lr=learning_rate, weight_decay=weight_decay, betas=betas)
        for name, parameter in self.parameters.items() if saved else ():
            kept = {part: saved[f"{name}.{part}"].clone() for part in ("step", "exp_avg", "exp_avg_sq")} if saved else {}
            self.adam.state[parameter] = {part: tensor if part == "step" else tensor.to(parameter.device) for part, tensor in kept.items()}

    def tensors(self) -> dict[str, Tensor]:
        return {
            f"{name}.{part}": self.adam.state[parameter][part]
            for name, parameter in self.parameters.items()
            for part in self.adam.state[parameter]
        }

    def zero(self) -> None:
        self.adam.zero_grad(set_to_none=True)

    def step(self, parallel: Parallel, *, learning_rate: float | None = None) -> float:
        """Sums gradients over workers, clips, steps; the norm before clipping. Raises TrainingDiverged instead of stepping on NaN."""
        parallel.sum_gradients(self.parameters.values())
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.max_grad_norm))
        if not isfinite(norm):
            raise TrainingDiverged(f"gradient norm is {norm}; the step was not taken. Lower the learning rate or look at the batch.")
        for group in self.adam.param_groups:
            group["lr"] = group["lr"] if learning_rate is None else learning_rate
        self.adam.step()
        return norm
