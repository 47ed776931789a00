"""The kinds of adapter that can be trained: what each puts into the base, and how the copy that writes follows it. Knows no loss, no data.

All share one base: the copy that writes is another tree of modules over the same weights. A low-rank update is added into weights of
the copy's own where they are small, since the engine then writes faster; above MERGED_UP_TO bytes it runs beside them, as bottlenecks do.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from peft import AdaLoraConfig, inject_adapter_in_model
from peft import LoraConfig as PeftConfig
from peft.tuners.adalora import RankAllocator, SVDLinear
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from common.bundle.adapters import ADAPTER_PREFIX as PREFIX
from common.bundle.adapters import PARTS
from common.language.bottleneck import PROJECTIONS, insert_bottlenecks
from train_app.config import AdapterKind, BottleneckConfig, LoraConfig

Adapter = dict[str, Tensor]
"""Weights under the names that peft saves (`base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`), float32."""

SLOT = "default"
MERGED_UP_TO = 1 << 30
"""Bytes of adapted weights up to which the copy that writes has its own."""
BEGINS_WITH, WARM_UP, SETTLE, ALLOCATIONS = 1.5, 0.1, 0.4, 100
"""AdaLoRA: first rank over the mean of the last (the paper's), shares of SFT's steps before ranks are taken and after, and how often they
are in between at most."""
ORTHOGONAL = 0.1
"""Weight of AdaLoRA's |P'P - I| + |QQ' - I|, the mean over all matrices; the paper has .1 to .5."""


class Adaptation(Protocol):
    """An adapter inside a base. `exported` is what a bundle holds, `alpha` with what it is scaled there."""

    alpha: float

    @property
    def layers(self) -> Mapping[str, nn.Module]:
        """Name of each adapted layer -> what was put there."""
        ...

    def exported(self, adapter: Mapping[str, Tensor]) -> Adapter: ...

    def write(self, exported: Mapping[str, Tensor], *, alpha: float) -> None:
        """The copy that writes follows an adapter of any rank."""
        ...


def adapted(
    kind: AdapterKind, model: nn.Module, copy: nn.Module, *, lora: LoraConfig, bottleneck: BottleneckConfig, steps: int | None
) -> Adaptation:
    """Changes both. `steps`: over which AdaLoRA shares its ranks out."""
    match kind:
        case "lora":
            return LowRank(model, copy, lora)
        case "adalora":
            assert steps is not None, "AdaLoRA is told how long SFT lasts"
            return AdaptiveLowRank(model, copy, lora, steps=steps)
        case "bottleneck":
            return Bottlenecks(model, copy, bottleneck)


class Beside(nn.Module):
    """A low-rank update that is added to what a layer of the copy gives."""

    down: Tensor
    up: Tensor
    NAME = "low_rank"

    def __init__(self) -> None:
        super().__init__()
        for side in ("down", "up"):
            self.register_buffer(side, torch.zeros(0))
        self.scale = 1.0

    def forward(self, hidden: Tensor, output: Tensor) -> Tensor:
        return output + (self.scale * (hidden.float() @ self.down.T @ self.up.T)).to(output.dtype)


def _added(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    added: Tensor = layer.get_submodule(Beside.NAME)(inputs[0], output)
    return added


class LowRank:
    """LoRA (Hu et al. 2021) on every linear layer but the head."""

    def __init__(self, model: nn.Module, copy: nn.Module, lora: LoraConfig) -> None:
        self.alpha = float(lora.alpha)
        self._adapted = self._inject(model, lora)
        assert self._adapted, "LoRA found no linear layer to adapt"
        num_bytes = sum(self._base(name).nbytes for name in self._adapted)
        self._copies = {name: copy.get_submodule(name) for name in self._adapted}
        self.merges = num_bytes <= MERGED_UP_TO
        for name, layer in self._copies.items():
            if self.merges:
                layer.weight = nn.Parameter(self._base(name).clone(), requires_grad=False)
            else:
                layer.add_module(Beside.NAME, Beside())
                layer.register_forward_hook(_added)
        self._clear()

    @property
    def layers(self) -> Mapping[str, nn.Module]:
        return self._adapted

    def _inject(self, model: nn.Module, lora: LoraConfig) -> Mapping[str, LoraLinear | SVDLinear]:
        config = PeftConfig(
            r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        inject_adapter_in_model(config, model, adapter_name=SLOT)
        return {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}

    def exported(self, adapter: Mapping[str, Tensor]) -> Adapter:
        return dict(adapter)

    @torch.no_grad()
    def write(self, exported: Mapping[str, Tensor], *, alpha: float) -> None:
        for name, layer in self._copies.items():
            base = self._base(name)
            down, up = (exported[f"{PREFIX}{name}.{part}"].to(base.device) for part in PARTS["lora"])
            scale = alpha / down.shape[0]
            if self.merges:
                weight = layer.weight
                assert isinstance(weight, Tensor)
                weight.copy_(base + (up @ down) * scale)
            else:
                beside = layer.get_submodule(Beside.NAME)
                assert isinstance(beside, Beside)
                beside.down, beside.up, beside.scale = down.clone(), up.clone(), scale

    def _clear(self) -> None:
        """A new adapter changes nothing, whatever its halves hold."""
        if not self.merges:
            shapes = {name: self._base(name).shape for name in self._copies}
            empty = {f"{PREFIX}{name}.lora_A.weight": torch.zeros(1, shape[1]) for name, shape in shapes.items()}
            self.write(empty | {f"{PREFIX}{name}.lora_B.weight": torch.zeros(shape[0], 1) for name, shape in shapes.items()}, alpha=1.0)

    def _base(self, name: str) -> Tensor:
        weight = self._adapted[name].get_base_layer().weight
        assert isinstance(weight, Tensor)
        return weight


class AdaptiveLowRank(LowRank):
    """AdaLoRA (Zhang et al. 2023): P Λ Q instead of B A. In SFT singular values of little importance are set to 0, those of all layers
    held against each other, until the mean rank is `lora.rank`; afterwards what is 0 stays 0. Exported as the LoRA that it is then."""

    def __init__(self, model: nn.Module, copy: nn.Module, lora: LoraConfig, *, steps: int) -> None:
        self.first_rank = max(lora.rank + 1, round(BEGINS_WITH * lora.rank))
        warm_up, settle = round(WARM_UP * steps), round(SETTLE * steps)
        self.settled_at = steps - settle
        self._config = AdaLoraConfig(
            init_r=self.first_rank,
            target_r=lora.rank,
            tinit=warm_up,
            tfinal=settle,
            deltaT=max(1, (self.settled_at - warm_up) // ALLOCATIONS),
            total_step=steps,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            orth_reg_weight=ORTHOGONAL,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        self._model = model
        super().__init__(model, copy, lora)
        self._allocator = RankAllocator(model, self._config, SLOT)  # type: ignore[no-untyped-call]
        self.pattern: dict[str, Tensor] | None = None
        """Name of each Λ -> what of it lives; None while ranks are not settled."""

    def _inject(self, model: nn.Module, lora: LoraConfig) -> Mapping[str, LoraLinear | SVDLinear]:
        inject_adapter_in_model(self._config, model, adapter_name=SLOT)
        return {name: module for name, module in model.named_modules() if isinstance(module, SVDLinear)}

    def exported(self, adapter: Mapping[str, Tensor]) -> Adapter:
        """A' = ΛQ, B' = P, with peft's own divisor (the first rank and 1e-5)."""
        made: Adapter = {}
        for name in self._adapted:
            down, values, up = (adapter[f"{PREFIX}{name}.lora_{part}"] for part in "AEB")
            made[f"{PREFIX}{name}.lora_A.weight"] = down * values * (self.first_rank / (self.first_rank + 1e-5))
            made[f"{PREFIX}{name}.lora_B.weight"] = up.clone()
        return made

    def orthogonality(self) -> Tensor:
        """To be added to a step's loss."""
        gaps = []
        for name, parameter in self._model.named_parameters():
            if f"lora_A.{SLOT}" in name or f"lora_B.{SLOT}" in name:
                square = parameter @ parameter.T if "lora_A" in name else parameter.T @ parameter
                gaps.append(torch.linalg.norm(square - torch.eye(len(square), device=square.device)))
        return ORTHOGONAL * torch.stack(gaps).mean()

    def allocate(self, done: int) -> None:
        """After SFT's optimiser step number `done`, gradients still there."""
        if done > self.settled_at:
            self.keep()
            return
        if done == self.settled_at:  # peft takes the importance of the steps before this one, and takes ranks once more
            _, pattern = self._allocator.update_and_allocate(self._model, done, force_mask=True)  # type: ignore[no-untyped-call]
            self.pattern = {name: torch.tensor(alive) for name, alive in pattern.items()}
        else:
            self._allocator.update_and_allocate(self._model, done)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def keep(self) -> None:
        """After every other step: what was taken stays away."""
        for name, parameter in self._values().items():
            if self.pattern is not None:
                parameter.mul_(self.pattern[name].to(parameter.device)[:, None])

    def fix(self) -> None:
        """The ranks are those that the adapter has now; a new one, whose singular values all start at 0, has none yet."""
        alive = {name: (parameter != 0).flatten() for name, parameter in self._values().items()}
        self.pattern = alive if any(bool(each.any()) for each in alive.values()) else None

    def tensors(self) -> dict[str, Tensor]:
        """What a resumed SFT needs: importance and its uncertainty, and the pattern once there is one."""
        kept = {"importance": self._allocator.exp_avg_ipt, "uncertainty": self._allocator.exp_avg_unc, "pattern": self.pattern or {}}
        return {f"{part}.{name}": tensor for part, named in kept.items() for name, tensor in named.items()}

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        def part(name: str) -> dict[str, Tensor]:
            return {key.removeprefix(f"{name}."): tensor.clone() for key, tensor in saved.items() if key.startswith(f"{name}.")}

        parameters = dict(self._model.named_parameters())
        self._allocator.exp_avg_ipt = {name: tensor.to(parameters[name].device) for name, tensor in part("importance").items()}
        self._allocator.exp_avg_unc = {name: tensor.to(parameters[name].device) for name, tensor in part("uncertainty").items()}
        self._allocator.ipt = {name: torch.zeros_like(tensor) for name, tensor in self._allocator.exp_avg_ipt.items()}
        self.pattern = part("pattern") or None

    def _values(self) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self._model.named_parameters() if f"lora_E.{SLOT}" in name}


class Bottlenecks:
    """See common.language.bottleneck. The copy that writes has the same small networks behind its layers."""

    def __init__(self, model: nn.Module, copy: nn.Module, config: BottleneckConfig) -> None:
        targets = PROJECTIONS[config.places]
        self.alpha = float(config.size)
        self._inserted = insert_bottlenecks(model, targets=targets, size=config.size)
        self._copies = insert_bottlenecks(copy, targets=targets, size=config.size)
        assert self._inserted, f"no layer of the base is named {' or '.join(targets)}"
        for adapter in self._copies.values():
            adapter.requires_grad_(False)

    @property
    def layers(self) -> Mapping[str, nn.Module]:
        return self._inserted

    def exported(self, adapter: Mapping[str, Tensor]) -> Adapter:
        return dict(adapter)

    @torch.no_grad()
    def write(self, exported: Mapping[str, Tensor], *, alpha: float) -> None:
        for name, copy in self._copies.items():
            for part in PARTS["bottleneck"]:
                copy.get_parameter(part.split(".")[1]).copy_(exported[f"{PREFIX}{name}.{part}"])
