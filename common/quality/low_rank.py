"""LoRA on a model that belongs to somebody else: the update is added while a block lasts, and the model is left as it was found.

The discriminator's update thus lives beside the generator's in one base. Knows no text and no loss.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import sqrt

import torch
from torch import Tensor, nn


class LowRank(nn.Module):
    """y += alpha / rank * B A x on every linear layer of `model` (Hu et al. 2021); B starts at 0, so it changes nothing at first.

    The model is neither a submodule nor saved here. Nobody else may run it while the update is `within` it.
    """

    def __init__(self, model: nn.Module, *, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        shapes = {key: layer.weight.shape for key, layer in _linear_layers(model).items()}
        assert shapes, "LoRA found no linear layer to adapt"
        self.down = nn.ParameterDict({key: nn.Parameter(torch.empty(rank, width)) for key, (_, width) in shapes.items()})
        self.up = nn.ParameterDict({key: nn.Parameter(torch.zeros(width, rank)) for key, (width, _) in shapes.items()})
        for parameter in self.down.values():
            nn.init.kaiming_uniform_(parameter, a=sqrt(5))

    @contextmanager
    def within(self, model: nn.Module) -> Iterator[None]:
        handles = [layer.register_forward_hook(self._adding(key)) for key, layer in _linear_layers(model).items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _adding(self, key: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            update: Tensor = self.scale * (inputs[0].float() @ self.down[key].T @ self.up[key].T)
            return output + update.to(output.dtype)

        return add


def _linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Key -> layer; a parameter's name may hold no dot."""
    return {name.replace(".", "-"): layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
