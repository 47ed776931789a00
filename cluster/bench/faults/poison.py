"""Bundles as somebody would leave them who wants to be served: digests and id of the manifest fit again where a spoiler re-signs it."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from common.artifacts.digest import sha256_bytes
from common.bundle.manifest import ADAPTER_WEIGHTS, MANIFEST, bundle_id_of

Spoiler = Callable[[Path], None]
Tensors = dict[str, "np.ndarray[Any, Any]"]


def manifest_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / MANIFEST).read_bytes()))


def remade(folder: Path, change: Callable[[dict[str, Any]], object] = lambda manifest: None, *, listed: tuple[str, ...] = ()) -> None:
    """Writes the manifest again so that digests and id fit what the folder now holds."""
    manifest = manifest_of(folder)
    for path in (*manifest["files"], *listed):
        data = (folder / path).read_bytes() if (folder / path).is_file() else b""
        manifest["files"][path] = {"sha256": sha256_bytes(data), "size_bytes": len(data)}
    change(manifest)
    manifest["bundle_id"] = bundle_id_of(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def spoil_tensor(path: str, change: Callable[[Tensors], object]) -> Spoiler:
    def spoil(folder: Path) -> None:
        tensors = {name: array.copy() for name, array in load_file(folder / path).items()}
        change(tensors)
        save_file(tensors, folder / path)
        remade(folder)

    return spoil


def put(name: str, data: bytes = b"\x80\x04.", *, listed: bool = False) -> Spoiler:
    def spoil(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        if listed:
            remade(folder, listed=(name,))

    return spoil


def change_manifest(change: Callable[[dict[str, Any]], object]) -> Spoiler:
    return lambda folder: remade(folder, change)


def edit_bytes(path: str, change: Callable[[bytes], bytes]) -> Spoiler:
    def spoil(folder: Path) -> None:
        (folder / path).write_bytes(change((folder / path).read_bytes()))
        remade(folder)

    return spoil


def flip(path: Path) -> None:
    """The last bit of its last byte."""
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def first(tensors: Mapping[str, object]) -> str:
    return sorted(tensors)[0]


POISONS: dict[str, tuple[Spoiler, str]] = {
    "a pickle": (
        put("adapter/adapter_model.bin", listed=True),
        "bundle_mismatch: manifest: file 'adapter/adapter_model.bin' may hold a pickle",
    ),
    "a file nobody listed": (put("extra.json"), "bundle_mismatch: unexpected file extra.json"),
    "code": (put("modeling_evil.py", listed=True), "bundle_mismatch: manifest: unexpected file 'modeling_evil.py'"),
    "a path outside": (
        change_manifest(lambda m: m["files"].update({"../outside.html": m["files"][ADAPTER_WEIGHTS]})),
        "bundle_mismatch: manifest: file '../outside.html' leaves the bundle's folder",
    ),
    "another base": (change_manifest(lambda m: m["base"].update(digest="0" * 64)), "bundle_mismatch: base: "),
    "a rank of 100,000": (change_manifest(lambda m: m["adapter"].update(rank=100_000)), "bundle_mismatch: "),
    "NaN in the weights": (
        spoil_tensor(ADAPTER_WEIGHTS, lambda t: t[first(t)].__setitem__((0, 0), np.nan)),
        "bundle_mismatch: adapter_model.safetensors: tensor",
    ),
    "a header of 2^60 bytes": (
        edit_bytes(ADAPTER_WEIGHTS, lambda data: struct.pack("<Q", 1 << 60) + data[8:]),
        "digest_mismatch: adapter_model.safetensors: claims an oversize header",
    ),
    "a flipped bit": (lambda folder: flip(folder / ADAPTER_WEIGHTS), "digest_mismatch: adapter/adapter_model.safetensors: expected sha256"),
    "weights of the bare base": (
        spoil_tensor(ADAPTER_WEIGHTS, lambda t: t.update({name: np.zeros_like(array) for name, array in t.items()})),
        "stays out of prod:\n  - its canaries failed: ",
    ),
}
"""What is done to a copy of the starter, and what `liyou` says of it in the end."""
