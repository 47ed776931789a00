from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from common.bundle.admission import read_manifest
from common.bundle.manifest import BundleManifest, Metric, Risk, bundle_id_of


@pytest.fixture
def manifest(written: Path) -> BundleManifest:
    return read_manifest(written)[0]


def changed(manifest: BundleManifest, **update: object) -> str:
    return manifest.model_copy(update=update).expected_id()


def test_the_id_leaves_out_times_paths_circumstances_and_the_report(manifest: BundleManifest) -> None:
    origin = manifest.origin.model_copy(update={"created_at": datetime(2030, 1, 1, tzinfo=UTC), "run": {"resumes": 7}})
    base = manifest.base.model_copy(update={"source": "/elsewhere"})
    files = {path: file for path, file in manifest.files.items() if not path.startswith("report/")}
    assert changed(manifest, origin=origin, base=base, files=files) == manifest.bundle_id


def test_the_id_covers_weights_config_thresholds_metrics_and_data(manifest: BundleManifest) -> None:
    weights = "adapter/adapter_model.safetensors"
    data = manifest.origin.data.model_copy(update={"digest": "e" * 64})
    calibration = manifest.calibration
    assert calibration is not None
    changes: list[dict[str, object]] = [
        {"files": {**manifest.files, weights: manifest.files[weights].model_copy(update={"sha256": "0" * 64})}},
        {"origin": manifest.origin.model_copy(update={"config": {"sft": {"learning_rate": 1e-4}}})},
        {"origin": manifest.origin.model_copy(update={"data": data})},
        {"answering": manifest.answering.model_copy(update={"threshold": 0.5})},
        {"calibration": calibration.model_copy(update={"risk": Risk(labels="none", alpha=0.1, delta=0.1, min_acceptance=0.3)})},
        {"metrics": {"joint": Metric(value=0.9, num=300)}},
        {"base": manifest.base.model_copy(update={"digest": "0" * 64})},
        {"prompt_version": manifest.prompt_version + 1},
    ]
    ids = {changed(manifest, **change) for change in changes}
    assert len(ids) == len(changes)
    assert manifest.bundle_id not in ids


def test_a_bundle_from_before_risks_were_tested_keeps_its_id(manifest: BundleManifest) -> None:
    content = manifest.model_dump(mode="json")
    del content["calibration"]["risk"]
    assert bundle_id_of(content) == manifest.bundle_id


@pytest.mark.parametrize("interval", [(0.5, None), (None, 0.5), (0.9, 0.1)])
def test_half_an_interval_is_none(interval: tuple[float | None, float | None]) -> None:
    with pytest.raises(ValidationError, match="interval"):
        Metric(value=0.5, low=interval[0], high=interval[1], num=10)
