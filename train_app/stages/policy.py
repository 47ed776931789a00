"""The generator in training: LoRA adapters inside the base's linear layers, and a merged copy that writes. Knows no loss and no data."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import torch
from peft import LoraConfig as PeftConfig
from peft import inject_adapter_in_model
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers.modeling_layers import GradientCheckpointingLayer

from common.errors import UnsupportedModel
from common.language.base_model import LanguageModel

Adapter = dict[str, Tensor]
"""LoRA weights under the names that peft saves (`base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`), float32."""

PREFIX, SLOT = "base_model.model.", "default"
SUMMED_UP_TO = 1 << 18
"""Weights of a layer up to which W + s BA is summed before it meets the tokens; see `summed_forward`."""


class Policy:
    """`language` carries the adapter and is trained; `merged` is a copy with the adapter added to its weights: sampling and the
    discriminator's features come from it, as they will when a bundle is served. `merge` brings it up to date."""

    def __init__(self, language: LanguageModel, *, rank: int, alpha: int, dropout: float, seed: int) -> None:
        self.merged = replace(language, model=deepcopy(language.model).requires_grad_(False))
        self.language = language
        self.rank, self.alpha = rank, alpha
        language.model.requires_grad_(False)
        torch.manual_seed(seed)
        config = PeftConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
        inject_adapter_in_model(config, language.model, adapter_name=SLOT)
        self._layers = {name: module for name, module in language.model.named_modules() if isinstance(module, LoraLinear)}
        self._recomputed: list[nn.Module] = []
        assert self._layers, "LoRA found no linear layer to adapt"
        for layer in self._layers.values():
            base = layer.get_base_layer()
            if not dropout and isinstance(base, nn.Linear) and base.weight.numel() <= SUMMED_UP_TO:
                layer.forward = summed_forward(layer)  # type: ignore[method-assign, assignment]
        for parameter in self.parameters().values():
            parameter.data = parameter.data.float()
        self.train(False)

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
        return {PREFIX + name.replace(f".{SLOT}.", "."): parameter for name, parameter in named if parameter.requires_grad}

    def targets(self) -> tuple[str, ...]:
        """Last parts of the adapted modules' names (q_proj, down_proj, …)."""
        return tuple(sorted({name.rpartition(".")[2] for name in self._layers}))

    def adapter(self) -> Adapter:
        return {name: parameter.detach().to("cpu", copy=True) for name, parameter in self.parameters().items()}

    def load(self, adapter: Mapping[str, Tensor]) -> None:
        self._put(adapter)
        self.merge()

    @torch.no_grad()
    def merge(self) -> None:
        for name, layer in self._layers.items():
            self._write_merged(name, layer.get_delta_weight(SLOT))

    @torch.no_grad()
    def show(self, adapter: Mapping[str, Tensor], *, alpha: int) -> None:
        """`merged` becomes the base with another run's adapter, of any rank; the policy's own is untouched until `merge`."""
        for name in self._layers:
            lora_a, lora_b = (adapter[f"{PREFIX}{name}.lora_{side}.weight"] for side in "AB")
            self._write_merged(name, alpha / lora_a.shape[0] * (lora_b @ lora_a))

    def _write_merged(self, name: str, delta: Tensor) -> None:
        merged: nn.Module = self.merged.model.get_submodule(name)
        base = self._layers[name].get_base_layer()
        assert isinstance(merged, nn.Linear)
        assert isinstance(base, nn.Linear)
        merged.weight.copy_(base.weight + delta.to(base.weight.device))

    @contextmanager
    def holding(self, adapter: Mapping[str, Tensor]) -> Iterator[None]:
        """The adapter in place of the policy's for the length of a block; `merged` is left as it is.

        peft's `disable_adapter` would give the bare base instead of the SFT model; loading a second adapter can freeze the first.
        """
        own = self.adapter()
        self._put(adapter)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, adapter: Mapping[str, Tensor]) -> None:
        parameters = self.parameters()
        assert adapter.keys() == parameters.keys(), "not this policy's adapter"
        for name, parameter in parameters.items():
            parameter.copy_(adapter[name])


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
