"""The generator in training: an adapter inside the base, and a copy over the same weights that writes. Knows no loss and no data."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from itertools import chain

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from common.bundle.adapters import ADAPTER_PREFIX as PREFIX
from common.errors import UnsupportedModel
from common.language.base_model import LanguageModel
from train_app.config import AdapterKind, BottleneckConfig, LoraConfig
from train_app.stages.adapters import SLOT, Adapter, AdaptiveLowRank, adapted

SUMMED_UP_TO = 1 << 18
"""Weights of a layer up to which W + s BA is summed before it meets the tokens; see `summed_forward`."""


class Policy:
    """`language` carries the adapter and is trained; `merged` writes as the adapter says: sampling and the discriminator's features come
    from it, as they will when a bundle is served. `merge` brings it up to date. Base weights are in memory once, but for small ones into
    which an adapter is merged."""

    def __init__(
        self,
        language: LanguageModel,
        *,
        rank: int = 16,
        alpha: int = 32,
        dropout: float = 0.0,
        seed: int,
        kind: AdapterKind = "lora",
        bottleneck: BottleneckConfig | None = None,
        steps: int | None = None,
    ) -> None:
        """`rank`, `alpha`, `dropout` are of lora and adalora, `steps` (SFT's) of adalora alone."""
        language.model.requires_grad_(False)
        self.merged = replace(language, model=over_the_same_weights(language.model))
        self.language = language
        self.rank = rank
        torch.manual_seed(seed)
        lora = LoraConfig(rank=rank, alpha=alpha, dropout=dropout)
        self._adaptation = adapted(
            kind, language.model, self.merged.model, lora=lora, bottleneck=bottleneck or BottleneckConfig(), steps=steps
        )
        self._recomputed: list[nn.Module] = []
        for layer in self._adaptation.layers.values():
            base = layer.get_base_layer() if isinstance(layer, LoraLinear) else None
            if not dropout and isinstance(base, nn.Linear) and base.weight.numel() <= SUMMED_UP_TO:
                layer.forward = summed_forward(layer)  # type: ignore[arg-type]
        for parameter in self.parameters().values():
            parameter.data = parameter.data.float()
        assert self.parameters(), "no parameter of the base is trained"
        self.train(False)

    @property
    def alpha(self) -> float:
        """By which a bundle scales what `exported` gives."""
        return self._adaptation.alpha

    @property
    def ranks(self) -> AdaptiveLowRank | None:
        """Of AdaLoRA: who shares them out."""
        return self._adaptation if isinstance(self._adaptation, AdaptiveLowRank) else None

    def train(self, training: bool) -> None:
        """Dropout on the adapters' inputs is on while training; `merged` never drops anything."""
        self.language.model.train(training)
        self.merged.model.train(False)
        for layer in self._recomputed:
            layer.training = True  # its own flag only says that it recomputes; what it holds keeps its mode

    def recompute_layers(self) -> None:
        """Gradient checkpointing from here on, in training and in evaluation mode alike: the policy gradient is taken without dropout.

        Raises UnsupportedModel where the architecture cannot. `use_reentrant` would lose all gradients: the base is frozen, so the
        first layer's input asks for none.
        """
        model = self.language.model
        if not model.supports_gradient_checkpointing:
            raise UnsupportedModel(
                f"runtime.gradient_checkpointing: {type(model).__name__} cannot; leave it out and lower runtime.micro_batch"
            )
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.disable_input_require_grads()  # type: ignore[no-untyped-call]
        self._recomputed = [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)]
        self.train(False)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Name under which peft saves it -> parameter, in the model's order."""
        named = self.language.model.named_parameters()
        return {PREFIX + re.sub(rf"\.{SLOT}(?=\.|$)", "", name): parameter for name, parameter in named if parameter.requires_grad}

    def targets(self) -> tuple[str, ...]:
        """Last parts of the adapted modules' names (q_proj, down_proj, …)."""
        return tuple(sorted({name.rpartition(".")[2] for name in self._adaptation.layers}))

    def adapter(self) -> Adapter:
        return {name: parameter.detach().to("cpu", copy=True) for name, parameter in self.parameters().items()}

    def moved_from(self, adapter: Mapping[str, Tensor]) -> bool:
        return any(not torch.equal(parameter.detach().cpu(), adapter[name]) for name, parameter in self.parameters().items())

    def exported(self, adapter: Mapping[str, Tensor]) -> Adapter:
        """As a bundle holds it."""
        return self._adaptation.exported(adapter)

    def load(self, adapter: Mapping[str, Tensor]) -> None:
        """AdaLoRA's ranks are the adapter's from here on."""
        self._put(adapter)
        if self.ranks is not None:
            self.ranks.fix()
        self.merge()

    @torch.no_grad()
    def merge(self) -> None:
        self.show({name: parameter.detach() for name, parameter in self.parameters().items()}, alpha=self.alpha)

    def show(self, adapter: Mapping[str, Tensor], *, alpha: float) -> None:
        """`merged` writes as another run's adapter says, of any rank; the policy's own is untouched until `merge`."""
        self._adaptation.write(self.exported(adapter), alpha=alpha)

    def regularise(self, *, leads: bool) -> None:
        """Adds the gradients of what the adapter itself asks of a step (AdaLoRA's orthogonality), on one worker, since they are summed."""
        if self.ranks is not None and leads:
            self.ranks.orthogonality().backward()  # type: ignore[no-untyped-call]

    def stepped(self, *, sft_steps: int | None = None) -> None:
        """After an optimiser step: AdaLoRA shares ranks out at SFT's, of which `sft_steps` are done, and keeps them at any other."""
        if self.ranks is not None:
            self.ranks.keep() if sft_steps is None else self.ranks.allocate(sft_steps)

    @contextmanager
    def holding(self, adapter: Mapping[str, Tensor]) -> Iterator[None]:
        """The adapter in place of the policy's for the length of a block; `merged` is left as it is.

        A frozen second adapter on the same base: the modules point to its tensors and back, nothing is copied that lies on their device.
        peft's `disable_adapter` would give the bare base instead of the SFT model; loading its second adapter can freeze the first.
        """
        parameters = self.parameters()
        assert adapter.keys() == parameters.keys(), "not this policy's adapter"
        own = {name: parameter.data for name, parameter in parameters.items()}
        for name, parameter in parameters.items():
            parameter.data = adapter[name].to(parameter.device)
        try:
            yield
        finally:
            for name, parameter in parameters.items():
                parameter.data = own[name]

    @torch.no_grad()
    def _put(self, adapter: Mapping[str, Tensor]) -> None:
        parameters = self.parameters()
        assert adapter.keys() == parameters.keys(), "not this policy's adapter"
        for name, parameter in parameters.items():
            parameter.copy_(adapter[name])


def over_the_same_weights(model: PreTrainedModel) -> PreTrainedModel:
    """Another tree of the model's modules, whose parameters and buffers are the model's own."""
    return deepcopy(model, {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())})


def summed_forward(layer: LoraLinear) -> Callable[[Tensor], Tensor]:
    """(W + s BA) x instead of peft's W x + s B(A x): the same function without dropout, with one product and no sum over the tokens.

    Its gradient goes through a matrix as large as W, which for small layers and many tokens costs less than what is saved: a step of 32
    rows with the starter base took 0.75 s of a core instead of 0.97 in bf16, and 1.5 instead of 2.1 in fp32, with any rank.
    """
    base, scale = layer.get_base_layer(), layer.scaling[SLOT]
    down, up = layer.lora_A[SLOT], layer.lora_B[SLOT]
    assert isinstance(base, nn.Linear)
    assert isinstance(down, nn.Linear)
    assert isinstance(up, nn.Linear)

    def forward(x: Tensor, *args: object, **kwargs: object) -> Tensor:
        return linear(x, base.weight + scale * (up.weight @ down.weight), base.bias)

    return forward
