"""A bottleneck adapter in a bundle: it is written, loaded, and refused where it is not what it says."""

import shutil

import orjson
import pytest
import torch
from safetensors.torch import load_file, save_file

from common.artifacts.digest import sha256_file
from common.bundle.admission import admit
from common.bundle.load import load_bundle
from common.bundle.manifest import AdapterRef, BundleManifest, bundle_id_of
from common.errors import BundleMismatch, ConfigError
from common.language.base_model import load_base

SIZE = 3


@pytest.fixture(scope="module")
def bottlenecks(parts):
    generator, made = torch.Generator().manual_seed(5), {}
    for layer in range(2):
        for module, width in ((f"model.layers.{layer}.mlp.down_proj", 32), (f"model.layers.{layer}.self_attn.o_proj", 32)):
            shapes = {"down": (SIZE, width), "down_bias": (SIZE,), "up": (width, SIZE), "up_bias": (width,)}
            for part, shape in shapes.items():
                made[f"base_model.model.{module}.bottleneck.{part}"] = torch.randn(shape, generator=generator) * 0.3
    return made


@pytest.fixture(scope="module")
def folder(parts, bottlenecks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bottleneck") / "bundle"
    parts.write(folder, adapter=bottlenecks, alpha=SIZE)
    return folder


def spoilt(folder, tmp_path, change):
    """A copy whose weights were changed by somebody who knows how to write a manifest."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    weights = copy / "adapter/adapter_model.safetensors"
    tensors = load_file(weights)
    change(tensors)
    save_file(tensors, str(weights), metadata={"format": "pt"})
    manifest = orjson.loads((copy / "manifest.json").read_bytes())
    manifest["files"]["adapter/adapter_model.safetensors"] = {"sha256": sha256_file(weights), "size_bytes": weights.stat().st_size}
    manifest["bundle_id"] = bundle_id_of(manifest)
    (copy / "manifest.json").write_bytes(orjson.dumps(BundleManifest.model_validate(manifest).model_dump(mode="json")))
    return copy


def test_it_is_written_and_loaded_and_its_canaries_are_what_they_were(parts, folder) -> None:
    manifest = admit(folder).manifest
    assert manifest.adapter == AdapterRef(kind="bottleneck", rank=SIZE, alpha=SIZE, targets=("down_proj", "o_proj"))
    loaded = load_bundle(folder, base=str(parts.base))
    assert loaded.canaries.from_trained < 1e-6 < loaded.canaries.from_base
    assert not any(one.requires_grad for name, one in loaded.language.model.named_parameters() if "bottleneck" in name)
    half = load_bundle(folder, base=str(parts.base), dtype="bfloat16")
    assert half.canaries.from_trained <= half.canaries.tolerance
    assert "LIYOU_BOTTLENECK" in (folder / "adapter/adapter_config.json").read_text()


NAME = "base_model.model.model.layers.0.mlp.down_proj"
SPOILT = {
    "a part is missing": (lambda tensors: tensors.pop(f"{NAME}.bottleneck.up_bias"), "lacks bottleneck.up_bias"),
    "another width": (lambda tensors: tensors.update({f"{NAME}.bottleneck.up": torch.zeros(31, SIZE)}), "needs 32 on axis 0"),
    "another size": (lambda tensors: tensors.update({f"{NAME}.bottleneck.down": torch.zeros(4, 32)}), "expected rank 3 on axis 0"),
    "half a LoRA": (lambda tensors: tensors.update({f"{NAME}.lora_A.weight": torch.zeros(3, 64)}), "and nothing else"),
    "no such layer": (
        lambda tensors: tensors.update({k.replace("layers.0", "layers.7"): tensors.pop(k) for k in list(tensors) if "layers.0" in k}),
        "does not have",
    ),
    "a layer left out": (
        lambda tensors: [tensors.pop(k) for k in list(tensors) if k.startswith(NAME)],
        r"has no weights for model\.layers\.0\.mlp\.down_proj",
    ),
}


@pytest.mark.parametrize("what", SPOILT)
def test_one_that_is_not_what_it_says_is_refused(what, parts, folder, tmp_path) -> None:
    change, told = SPOILT[what]
    with pytest.raises(BundleMismatch, match=told):
        load_bundle(spoilt(folder, tmp_path, change), base=load_base(str(parts.base)))


def test_a_scale_that_nothing_applies_is_refused(parts, bottlenecks, tmp_path) -> None:
    with pytest.raises(ConfigError, match="nothing scales it"):
        parts.write(tmp_path / "scaled", adapter=bottlenecks, alpha=8.0)
