"""Spectral norm on the discriminator while it learns: each weight matrix divided by its largest singular value (Miyato et al. 2018).

torch moves its estimate of that value at each forward pass in training mode; how many passes a step makes would then depend on the batch
and the worker. Here it moves once a step, and passes in between, the generator's too, find it still. Its two vectors are part of
the state dict, so a resumed run goes on to the bit; a bundle gets the plain quotient.
"""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from common.quality.discriminator import Discriminator

READING = ("words", "asking", "asked")
"""Layers that make the inputs of kind ids: the slope is bounded from the inputs on."""


def spectrally_normalised(discriminator: Discriminator) -> Discriminator:
    """In place; every linear layer, convolution and table of codes."""
    for name, module in list(discriminator.named_modules()):
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Embedding) and name.split(".")[0] not in READING:
            spectral_norm(module)
    return discriminator


@torch.no_grad()
def one_power_iteration(discriminator: Discriminator) -> None:
    """Afterwards the estimates stay as they are, whatever mode the network is in, until this is called again. Nothing without them."""
    for norm in _norms(discriminator):
        norm.train()
        norm()
        norm.eval()


def _norms(discriminator: Discriminator) -> Iterator[ParametrizationList]:
    for module in discriminator.modules():
        if is_parametrized(module):
            parametrizations = module.parametrizations
            assert isinstance(parametrizations, nn.ModuleDict)
            for norm in parametrizations.values():
                assert isinstance(norm, ParametrizationList)
                yield norm
