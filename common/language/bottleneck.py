"""Bottleneck adapters: a small network behind a linear layer of the base, added to what the layer gives. Knows no loss and no file.

Houlsby et al. 2019 put one behind attention and one behind the feed-forward part of every layer, Pfeiffer et al. 2021 the second only. Both
parts end in a projection (`o_proj`, `down_proj`), so an adapter belongs to that projection and acts before the residual sum. peft has none.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu

Places = Literal["pfeiffer", "houlsby"]
PROJECTIONS: dict[Places, tuple[str, ...]] = {"pfeiffer": ("down_proj",), "houlsby": ("down_proj", "o_proj")}
NAME = "bottleneck"
"""Of the submodule that a projection gets: MODULE.bottleneck.down and so on are the adapter's tensors."""


class Bottleneck(nn.Module):
    """h + up relu(down h), computed in fp32; `up` starts at 0, so it changes nothing at first."""

    def __init__(self, width: int, size: int, *, device: torch.device | None = None) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(size, width, device=device))
        self.down_bias = nn.Parameter(torch.zeros(size, device=device))
        self.up = nn.Parameter(torch.zeros(width, size, device=device))
        self.up_bias = nn.Parameter(torch.zeros(width, device=device))
        nn.init.kaiming_uniform_(self.down, a=sqrt(5))

    def forward(self, hidden: Tensor) -> Tensor:
        inner = relu(linear(hidden.to(self.down.dtype), self.down, self.down_bias))
        return hidden + linear(inner, self.up, self.up_bias).to(hidden.dtype)


def insert_bottlenecks(model: nn.Module, *, targets: Sequence[str], size: int) -> dict[str, Bottleneck]:
    """Behind every linear layer whose name ends in one of `targets`; its name -> adapter, in the model's order. Changes the model.

    A hook calls the adapter, so the layers keep their names, classes and weights; copies of the model keep their adapters.
    """
    found = {}
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear) and name.rpartition(".")[2] in targets:
            adapter = Bottleneck(layer.out_features, size, device=layer.weight.device)
            layer.add_module(NAME, adapter)
            layer.register_forward_hook(_through)
            found[name] = adapter
    return found


def _through(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    adapted: Tensor = layer.get_submodule(NAME)(output)
    return adapted
