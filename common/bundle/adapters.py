"""How an adapter lies in a bundle: its tensors' names and shapes by kind, and the configuration beside them. Loads nothing.

LoRA lies as peft writes and vLLM reads it; AdaLoRA too, since once its ranks are found it is a LoRA whose singular values are multiplied
into one half. A bottleneck, which peft does not have, lies in the same two files under names and a type of its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.bundle.manifest import AdapterKind, AdapterRef
from common.bundle.tensors import TensorInfo
from common.errors import BundleMismatch

ADAPTER_PREFIX = "base_model.model."
"""What peft puts before the module path of the model that it wraps."""


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor of a module's adapter."""

    num_axes: int
    rank_axis: int | None
    """that is as long as the adapter's rank"""
    width: tuple[int, int] | None
    """an axis, and the axis of the base's weight that it is as long as"""


PARTS: Mapping[AdapterKind, Mapping[str, Part]] = {
    "lora": {"lora_A.weight": Part(2, 0, (1, 1)), "lora_B.weight": Part(2, 1, (0, 0))},
    "bottleneck": {
        "bottleneck.down": Part(2, 0, (1, 0)),
        "bottleneck.down_bias": Part(1, 0, None),
        "bottleneck.up": Part(2, 1, (0, 0)),
        "bottleneck.up_bias": Part(1, None, (0, 0)),
    },
}


def kind_of(names: Iterable[str]) -> AdapterKind:
    """By the names of its tensors."""
    return "bottleneck" if any(name.endswith(tuple(PARTS["bottleneck"])) for name in names) else "lora"


def split_name(name: str, kind: AdapterKind) -> tuple[str, str]:
    """The base's module that a tensor belongs to, and which part of its adapter it is. Raises BundleMismatch for a name of another kind."""
    for part in PARTS[kind]:
        if name.startswith(ADAPTER_PREFIX) and name.endswith(f".{part}"):
            return name.removeprefix(ADAPTER_PREFIX).removesuffix(f".{part}"), part
    expected = " or ".join(f".{part}" for part in PARTS[kind])
    raise BundleMismatch(f"adapter: tensor {name!r}; expected {ADAPTER_PREFIX}MODULE{expected} and nothing else")


def modules_of(names: Iterable[str], kind: AdapterKind) -> list[str]:
    return sorted({split_name(name, kind)[0] for name in names})


def check_adapter(infos: Mapping[str, TensorInfo], adapter: AdapterRef) -> None:
    """Names, parts and ranks of the adapter's tensors; the widths are the base's and are checked beside it. Raises BundleMismatch."""
    modules = modules_of(infos, adapter.kind)
    for module in modules:
        if module.rpartition(".")[2] not in adapter.targets:
            raise BundleMismatch(f"adapter: changes {module}; the manifest names {', '.join(adapter.targets)}. Write the bundle again.")
        for name, part in PARTS[adapter.kind].items():
            info = infos.get(f"{ADAPTER_PREFIX}{module}.{name}")
            short = name.removesuffix(".weight")
            if info is None:
                raise BundleMismatch(f"adapter: {module} lacks {short}; all of {', '.join(PARTS[adapter.kind])} are needed")
            if len(info.shape) != part.num_axes or (part.rank_axis is not None and info.shape[part.rank_axis] != adapter.rank):
                raise BundleMismatch(
                    f"adapter: {module}.{short} has shape {list(info.shape)}; expected rank {adapter.rank} on axis {part.rank_axis}"
                )
    if {module.rpartition(".")[2] for module in modules} != set(adapter.targets):
        raise BundleMismatch(f"adapter: has no weights for some of {', '.join(adapter.targets)}, though the manifest names them")


def adapter_config(adapter: AdapterRef) -> dict[str, object]:
    """What peft and vLLM read beside the weights of a LoRA. Names no base: the manifest does, by digest."""
    told = {"task_type": "CAUSAL_LM", "base_model_name_or_path": None, "inference_mode": True, "target_modules": list(adapter.targets)}
    if adapter.kind == "bottleneck":
        return {"peft_type": "LIYOU_BOTTLENECK", "size": adapter.rank, "activation": "relu", **told}
    return {
        "peft_type": "LORA",
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        **told,
    }
