import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from common.artifacts.digest import file_digests
from common.bundle.admission import read_manifest
from common.bundle.manifest import Calibration
from common.errors import AlreadyExists, BadInput, BundleMismatch, CanaryFailed


def test_the_same_inputs_give_the_same_id_and_the_same_bytes(parts, written: Path, tmp_path: Path) -> None:
    bundle_id = parts.write(tmp_path / "again")
    assert bundle_id == read_manifest(written)[0].bundle_id
    assert file_digests(tmp_path / "again") == file_digests(written)


def test_another_time_report_or_resume_count_keeps_the_id(parts, written: Path, tmp_path: Path) -> None:
    origin = read_manifest(written)[0].origin.model_copy(update={"created_at": datetime(2030, 1, 1, tzinfo=UTC), "run": {"resumes": 3}})
    bundle_id = parts.write(tmp_path / "later", origin=origin, report={"index.html": b"tuesday", "loss.png": b"png"})
    assert bundle_id == read_manifest(written)[0].bundle_id


def test_one_changed_weight_changes_the_id(parts, written: Path, tmp_path: Path) -> None:
    name = next(iter(parts.adapter))
    adapter = {**parts.adapter, name: parts.adapter[name] + 1e-3}
    assert parts.write(tmp_path / "other", adapter=adapter) != read_manifest(written)[0].bundle_id


def test_the_manifest_names_all_that_a_loader_needs(written: Path, parts) -> None:
    manifest = json.loads((written / "manifest.json").read_bytes())
    assert manifest["adapter"] == {"kind": "lora", "rank": 4, "alpha": 8.0, "targets": ["down_proj", "q_proj", "v_proj"]}
    assert manifest["base"]["digest"] == parts.language.digest
    assert manifest["base"]["licence"] == "Apache-2.0"
    assert manifest["pack"]["controls_digest"] == parts.pack.controls.digest
    assert list(manifest["files"]) == sorted(manifest["files"])
    assert len(manifest["canaries"]) == 2
    assert sorted(path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()) == [
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "discriminator.json",
        "discriminator.safetensors",
        "manifest.json",
        "pack/controls.json",
        "pack/facts.json",
        "report/index.html",
    ]


def test_writing_leaves_the_base_as_it_was(parts, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in parts.language.model.state_dict().items()}
    parts.write(tmp_path / "b")
    assert all(torch.equal(before[name], tensor) for name, tensor in parts.language.model.state_dict().items())


def test_live_state_dict_names_are_brought_to_pefts_file_layout(parts, written: Path, tmp_path: Path) -> None:
    live = {name.replace(".weight", ".default.weight"): tensor for name, tensor in parts.adapter.items()}
    assert parts.write(tmp_path / "live", adapter=live) == read_manifest(written)[0].bundle_id


def test_an_adapter_without_effect_is_refused(parts, tmp_path: Path) -> None:
    idle = {name: tensor * (".lora_A." in name) for name, tensor in parts.adapter.items()}
    with pytest.raises(CanaryFailed, match="no effect"):
        parts.write(tmp_path / "idle", adapter=idle)
    assert not (tmp_path / "idle").exists()


def test_a_half_adapter_is_refused(parts, tmp_path: Path) -> None:
    halves = {name: tensor for name, tensor in parts.adapter.items() if ".lora_A." in name}
    with pytest.raises(BundleMismatch, match="lacks lora_B"):
        parts.write(tmp_path / "half", adapter=halves)


def test_a_path_in_the_configuration_is_refused(parts, written: Path, tmp_path: Path) -> None:
    origin = read_manifest(written)[0].origin.model_copy(update={"config": {"data": [{"folder": "/home/mei"}]}})
    with pytest.raises(BadInput, match=r"config\.data\.0\.folder"):
        parts.write(tmp_path / "b", origin=origin)


@pytest.mark.parametrize("name", ["../x.html", "/x.html", "weights.pt", "a//b.html"])
def test_a_report_file_stays_a_report_file(parts, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="report file"):
        parts.write(tmp_path / "b", report={name: b""})


def test_a_bundle_is_never_written_over(parts, written: Path) -> None:
    with pytest.raises(AlreadyExists, match="never written over"):
        parts.write(written)


def test_a_temperature_that_the_discriminator_does_not_use_is_refused(parts, tmp_path: Path) -> None:
    with pytest.raises(BundleMismatch, match="temperature 2"):
        parts.write(tmp_path / "b", calibration=Calibration(temperature=2.0))
