import json
from pathlib import Path

import pytest

from common.artifacts.registry import Registry
from common.artifacts.storage import open_storage
from common.bundle.admission import read_manifest
from common.bundle.published import fetch_bundle, published_manifest
from common.errors import DigestMismatch


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(open_storage(tmp_path / "registry"))


def test_a_version_is_the_bundle_of_that_id(registry: Registry, written: Path) -> None:
    manifest = read_manifest(written)[0]
    registry.publish(written, version=manifest.bundle_id)
    assert read_manifest(fetch_bundle(registry, manifest.bundle_id[:12]))[0] == published_manifest(registry, manifest.bundle_id) == manifest


@pytest.mark.parametrize("reading", [fetch_bundle, published_manifest])
def test_another_bundle_under_its_name_is_refused(registry: Registry, parts, written: Path, tmp_path: Path, reading) -> None:
    name = registry.publish(written, version=read_manifest(written)[0].bundle_id)
    doubled = {key: tensor * 2 for key, tensor in parts.adapter.items()}
    other = registry.publish(tmp_path / "b", version=parts.write(tmp_path / "b", adapter=doubled))
    entry = {"version": name, "files": registry.describe(other).files}
    registry.storage.put(f"versions/{name}.json", json.dumps(entry).encode())
    with pytest.raises(DigestMismatch, match=f"{name} holds {other}"):
        reading(registry, name)
