"""What a run knows besides its data and configuration: enough to go on in the middle of any stage. Knows neither Ray nor any stage.

A state is two files, `state.safetensors` and `state.json`; nothing is pickled, and both are checked against their digests when they are
read: they may come from a bucket by way of Ray, which checks none. Randomness is no part of it: every draw is seeded by run,
stage and step, so a resumed step draws what an undisturbed one would have drawn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import torch
from pydantic import Field, JsonValue
from safetensors.torch import load_file, save_file
from torch import Tensor

from common.artifacts.digest import sha256_bytes, sha256_file
from common.config import Frozen
from common.errors import DigestMismatch

TENSORS, VALUES = "state.safetensors", "state.json"


class TextPair(Frozen):
    """A sample beside what a person wrote for the same context."""

    product: str
    real: str
    generated: str


class Progress(Frozen):
    """One line of a run's story. `total` is the steps that the stage will take at most."""

    stage: str
    step: int = Field(ge=0)
    total: int = Field(ge=0)
    metrics: dict[str, float] = Field(default_factory=dict)
    texts: tuple[TextPair, ...] = ()
    note: str = Field("", description="a sentence for a person: why a stage stopped, what was chosen")


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class State:
    """`step` counts the steps of `stage` that are done. Tensor names are "group/name"; a group is replaced as a whole."""

    inputs: str
    """Digest of configuration and data: a state is never continued under others."""
    stage: str = ""
    step: int = 0
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    values: Mapping[str, JsonValue] = field(default_factory=dict)

    def group(self, name: str) -> dict[str, Tensor]:
        return {key.removeprefix(f"{name}/"): tensor for key, tensor in self.tensors.items() if key.startswith(f"{name}/")}

    def groups(self, prefix: str) -> list[str]:
        """Names of the groups below `prefix`, in the order in which they were added."""
        return list(dict.fromkeys(key.split("/")[0] for key in self.tensors if key.startswith(prefix)))

    def with_group(self, name: str, tensors: Mapping[str, Tensor]) -> "State":
        assert "/" not in name, "a group's name has no slash"
        kept = {key: tensor for key, tensor in self.tensors.items() if not key.startswith(f"{name}/")}
        copies = {f"{name}/{key}": tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in tensors.items()}
        return replace(self, tensors=kept | copies)

    def without_groups(self, *names: str) -> "State":
        return replace(self, tensors={key: tensor for key, tensor in self.tensors.items() if key.split("/")[0] not in names})

    def with_values(self, values: Mapping[str, JsonValue]) -> "State":
        return replace(self, values={**self.values, **values})

    def at(self, step: int) -> "State":
        return replace(self, step=step)

    def enter(self, stage: str) -> "State":
        """The state at the start of a stage, or unchanged where it is in the middle of it."""
        return self if self.stage == stage else replace(self, stage=stage, step=0)


Save = Callable[[State], None]
"""Keeps a state for a resume. All workers call it equally often."""


def write_state(state: State, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(state.tensors), str(folder / TENSORS))
    order = list(state.tensors)  # safetensors sorts by alignment; the order of groups is part of the state
    body = {"inputs": state.inputs, "stage": state.stage, "step": state.step, "values": dict(state.values), "order": order}
    body["tensors"] = sha256_file(folder / TENSORS)
    (folder / VALUES).write_bytes(orjson.dumps({"state": body, "sha256": sha256_bytes(orjson.dumps(body))}))


def read_state(folder: Path, *, inputs: str) -> State:
    """Raises DigestMismatch when the state belongs to another configuration or other data, or when it is damaged."""
    body = _checked_values(folder / VALUES)
    if (got := sha256_file(folder / TENSORS) if (folder / TENSORS).is_file() else "no file") != body["tensors"]:
        raise _damaged(TENSORS, f"expected sha256 {body['tensors']}, got {got}")
    if body["inputs"] != inputs:
        raise DigestMismatch(
            f"{folder}: the saved state was made with configuration and data {body['inputs'][:12]}; this run has {inputs[:12]}. "
            "Start it under another `out`, or restore the configuration."
        )
    tensors = load_file(str(folder / TENSORS))
    return State(inputs, body["stage"], body["step"], {name: tensors[name] for name in body["order"]}, body["values"])


def _checked_values(file: Path) -> dict[str, Any]:
    try:
        content = orjson.loads(file.read_bytes())
        body, expected = content["state"], content["sha256"]
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise _damaged(VALUES, f"expected a state and its sha256 ({error!r})") from error
    if (got := sha256_bytes(orjson.dumps(body))) != expected:
        raise _damaged(VALUES, f"expected sha256 {expected}, got {got}")
    found: dict[str, Any] = body
    return found


def _damaged(name: str, told: str) -> DigestMismatch:
    return DigestMismatch(
        f"the checkpoint's {name}: {told}. It was damaged where it lies, or an older release wrote it: remove the run's folder or prefix, "
        "and the run begins anew"
    )


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Names a set of weights by their bytes."""
    parts = [
        f"{name}:{sha256_bytes(tensors[name].detach().cpu().flatten().view(torch.uint8).numpy().tobytes())}" for name in sorted(tensors)
    ]
    return sha256_bytes("\n".join(parts).encode())


def pack_rows(rows: list[list[int]]) -> dict[str, Tensor]:
    """Ragged integer rows as two tensors."""
    flat = [value for row in rows for value in row]
    return {"flat": torch.tensor(flat, dtype=torch.int32), "lengths": torch.tensor([len(row) for row in rows], dtype=torch.int32)}


def unpack_rows(tensors: Mapping[str, Tensor]) -> list[list[int]]:
    if not tensors:
        return []
    flat, rows, start = tensors["flat"].tolist(), [], 0
    for length in tensors["lengths"].tolist():
        rows.append(flat[start : start + length])
        start += length
    return rows
