"""Poisoned bundles: each is refused with a message of its own, before any model is loaded. Where a spoiler re-signs the manifest
(`remade`), digests and id are right again, as an attacker would make them."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cluster.bench.faults.poison import change_manifest, edit_bytes, first, flip, manifest_of, put, remade, spoil_tensor
from common.bundle import load as load_module
from common.bundle.admission import admit
from common.bundle.load import load_bundle
from common.errors import BundleMismatch, BundleNotFound, ConfigError, DigestMismatch, LiyouError

WEIGHTS = "adapter/adapter_model.safetensors"
CONFIG = "adapter/adapter_config.json"
DISCRIMINATOR = "discriminator.safetensors"


def spoil_json(path: str, **fields: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        data = json.loads((folder / path).read_bytes())
        (folder / path).write_text(json.dumps({**data, **fields}))
        remade(folder)

    return spoil


def retitle_header(data: bytes, change: Callable[[dict], object]) -> bytes:
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    change(header)
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data[8 + length :]


def overlap(header: dict) -> None:
    names = sorted(name for name in header if name != "__metadata__")
    header[names[0]]["data_offsets"] = header[names[1]]["data_offsets"]


def link(folder: Path) -> None:
    (folder / "report" / "link.html").symlink_to("/etc/hostname")


def forge_id(folder: Path) -> None:
    manifest = manifest_of(folder)
    manifest["answering"]["threshold"] = 0.0
    (folder / "manifest.json").write_text(json.dumps(manifest))


POISONED: dict[str, tuple[Callable[[Path], None], type[LiyouError], str]] = {
    "a flipped bit": (lambda folder: flip(folder / WEIGHTS), DigestMismatch, "expected sha256"),
    "a threshold changed by hand": (forge_id, DigestMismatch, "but its content is"),
    "a missing file": (lambda folder: (folder / WEIGHTS).unlink(), DigestMismatch, "is missing"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), BundleNotFound, "no manifest.json"),
    "an unlisted file": (put("extra.json"), BundleMismatch, "unexpected file extra.json"),
    "a listed file of no known role": (put("model.safetensors", listed=True), BundleMismatch, "unexpected file 'model.safetensors'"),
    "code": (put("modeling_evil.py", listed=True), BundleMismatch, "unexpected file 'modeling_evil.py'"),
    "code in the report": (put("report/evil.py", listed=True), BundleMismatch, r"unexpected file 'report/evil\.py'"),
    **{
        f"a pickle {where} as {name}": (put(name, listed=listed), BundleMismatch, "pickle")
        for where, listed in (("listed", True), ("unlisted", False))
        for name in ("adapter/adapter_model.bin", "discriminator.pt", "x.pkl", "report/x.pickle", "x.PTH", "x.ckpt", "x.npy")
    },
    **{
        f"the path {name}": (
            change_manifest(lambda m, name=name: m["files"].update({name: m["files"][WEIGHTS]})),
            BundleMismatch,
            "leaves the bundle",
        )
        for name in ("../outside.html", "/etc/passwd", "report/../../x.html", "report\\x.html", "report//x.html")
    },
    "a symbolic link": (link, BundleMismatch, "symbolic link"),
    "a manifest of another format": (change_manifest(lambda m: m.update(format=2)), BundleMismatch, "format"),
    "an unknown field": (change_manifest(lambda m: m.update(trust_remote_code=True)), BundleMismatch, "trust_remote_code"),
    "no licence of the base": (change_manifest(lambda m: m["base"].pop("licence")), BundleMismatch, "licence"),
    "another prompt version": (change_manifest(lambda m: m.update(prompt_version=99)), BundleMismatch, "prompt v99; this build has v"),
    "another vocabulary in the manifest": (
        change_manifest(lambda m: m["pack"]["vocabulary"].update(style=["loud"])),
        BundleMismatch,
        r"style=loud.*style=concise\|detailed",
    ),
    "controls changed inside": (
        spoil_json("pack/controls.json", form={"min_chars": 9}),
        BundleMismatch,
        "pack controls: the manifest says digest",
    ),
    "facts changed inside": (spoil_json("pack/facts.json", brands=["别家"]), BundleMismatch, "pack facts: the manifest says digest"),
    "a pack that is no JSON": (edit_bytes("pack/facts.json", lambda data: b"!!python/object"), BundleMismatch, "not JSON"),
    "auto_map": (spoil_json(CONFIG, auto_map={"AutoModel": "evil.Model"}), BundleMismatch, "auto_map: got"),
    "a base to fetch": (
        spoil_json(CONFIG, base_model_name_or_path="http://evil"),
        BundleMismatch,
        "base_model_name_or_path: got 'http://evil'",
    ),
    "rank-stabilised scale": (spoil_json(CONFIG, use_rslora=True), BundleMismatch, "use_rslora: got True"),
    "another alpha": (spoil_json(CONFIG, lora_alpha=800.0), BundleMismatch, "lora_alpha: got 800.0; expected 8.0"),
    "a rank beyond the cap": (change_manifest(lambda m: m["adapter"].update(rank=100_000)), BundleMismatch, "rank"),
    "the embedding as target": (
        change_manifest(lambda m: m["adapter"].update(targets=["embed_tokens"])),
        BundleMismatch,
        "targets embed_tokens; expected some of q_proj",
    ),
    "NaN": (spoil_tensor(WEIGHTS, lambda t: t[first(t)].__setitem__((0, 0), np.nan)), BundleMismatch, "NaN or infinity"),
    "infinity": (spoil_tensor(WEIGHTS, lambda t: t[first(t)].__setitem__((0, 0), -np.inf)), BundleMismatch, "NaN or infinity"),
    "NaN in the discriminator": (
        spoil_tensor(DISCRIMINATOR, lambda t: t["head.weight"].__setitem__((0, 0), np.nan)),
        BundleMismatch,
        "head.weight holds NaN",
    ),
    "an oversize header": (edit_bytes(WEIGHTS, lambda d: struct.pack("<Q", 1 << 60) + d[8:]), DigestMismatch, "oversize header"),
    "a header that is no JSON": (edit_bytes(WEIGHTS, lambda d: d[:8] + b"x" + d[9:]), DigestMismatch, "not that of a safetensors"),
    "overlapping tensors": (edit_bytes(WEIGHTS, lambda d: retitle_header(d, overlap)), DigestMismatch, "lies at"),
    "bytes behind the tensors": (edit_bytes(WEIGHTS, lambda d: d + b"payload"), DigestMismatch, "7 bytes behind"),
    "an integer tensor": (
        edit_bytes(WEIGHTS, lambda d: retitle_header(d, lambda h: h[sorted(h)[-1]].update(dtype="I32"))),
        DigestMismatch,
        "dtype 'I32'",
    ),
    "an empty weights file": (edit_bytes(WEIGHTS, lambda d: b""), DigestMismatch, "0 bytes"),
    "a tensor of no LoRA pair": (
        spoil_tensor(WEIGHTS, lambda t: t.update(evil=np.zeros((1, 1), np.float32))),
        BundleMismatch,
        "tensor 'evil'",
    ),
    "a missing half": (spoil_tensor(WEIGHTS, lambda t: t.pop(first(t))), BundleMismatch, "lacks lora_A"),
    "another rank in the tensors": (
        spoil_tensor(WEIGHTS, lambda t: t.update({n: a[:2] if "lora_A" in n else a[:, :2].copy() for n, a in t.items()})),
        BundleMismatch,
        "expected rank 4",
    ),
    "a module beside the targets": (
        spoil_tensor(WEIGHTS, lambda t: t.update({n.replace("q_proj", "lm_head"): a for n, a in t.items() if "q_proj" in n})),
        BundleMismatch,
        "lm_head; the manifest names",
    ),
}


@pytest.mark.parametrize("poison", POISONED)
def test_a_poisoned_bundle_is_refused_before_a_model_is_loaded(poison: str, copy, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil, error, message = POISONED[poison]
    folder = copy()
    spoil(folder)

    def fail(*arguments: object, **named: object) -> None:
        raise AssertionError("a model was touched")

    for name in ("load_base", "load_file", "merge_adapter"):
        monkeypatch.setattr(load_module, name, fail)
    with pytest.raises(error, match=message):
        load_bundle(folder)


def test_the_unspoilt_copy_is_admitted(copy) -> None:
    folder = copy()
    remade(folder)
    assert admit(folder).manifest.has_discriminator


UNFIT: dict[str, tuple[Callable[[Path], None], str]] = {
    "an adapter for a wider base": (
        spoil_tensor(WEIGHTS, lambda t: t.update({n: np.zeros((4, 48), np.float32) for n in t if n.endswith("q_proj.lora_A.weight")})),
        "needs 32 on axis 1",
    ),
    "an adapter for a deeper base": (
        spoil_tensor(WEIGHTS, lambda t: t.update({n.replace("layers.1.", "layers.9."): t.pop(n) for n in sorted(t) if "layers.1." in n})),
        "layers.9",
    ),
    "a discriminator of another width": (spoil_json("discriminator.json", hidden_size=48), "hidden size 48"),
    "a discriminator of other controls": (spoil_json("discriminator.json", controls={"style": ["loud", "mute"]}), "loud"),
    "a discriminator whose tensors do not fit": (spoil_json("discriminator.json", channels=16), "its configuration needs"),
    "a discriminator with one tensor too many": (
        spoil_tensor(DISCRIMINATOR, lambda t: t.update(evil=np.zeros(1, np.float32))),
        "tensor evil",
    ),
}


@pytest.mark.parametrize("unfit", UNFIT)
def test_weights_that_do_not_fit_the_base_are_refused_before_they_are_read(unfit: str, copy, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil, message = UNFIT[unfit]
    folder = copy()
    spoil(folder)

    read: list[Path] = []
    real = load_module.load_file
    monkeypatch.setattr(load_module, "load_file", lambda path: read.append(path) or real(path))
    with pytest.raises(BundleMismatch, match=message):
        load_bundle(folder)
    assert [path for path in read if unfit.startswith("an adapter") or path.name == DISCRIMINATOR] == []


def test_a_discriminator_too_large_to_describe_is_refused_before_it_is_built(copy) -> None:
    folder = copy()
    spoil_json("discriminator.json", num_residual=10**9)(folder)
    with pytest.raises(ConfigError, match="num_residual"):
        load_bundle(folder)
