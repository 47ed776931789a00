import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.artifacts.registry import Registry
from common.artifacts.storage import open_storage
from common.bundle.admission import read_manifest
from common.bundle.published import check_fits, fetch_bundle, is_bundle, published_manifest
from common.errors import ConfigError, DigestMismatch
from common.packs.load import load_pack
from common.packs.policy import publish_policy


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


def test_a_policy_beside_the_bundles_is_none_of_them_and_has_to_fit_those_that_an_alias_names(registry: Registry, written: Path) -> None:
    shop = load_pack("shop")
    bundle = registry.publish(written, version=read_manifest(written)[0].bundle_id)
    assert [is_bundle(registry, version) for version in (bundle, publish_policy(registry, shop))] == [True, False]
    rule = shop.lexicon.rules[0].model_copy(update={"scope": ("哪里都没有",)})
    misfit = shop.model_copy(update={"lexicon": shop.lexicon.model_copy(update={"rules": (rule,)})})
    check_fits(registry, misfit)
    registry.promote("prod", bundle, reason="first", by="mei", at=datetime(2026, 11, 24, tzinfo=UTC))
    check_fits(registry, shop)
    with pytest.raises(ConfigError, match=f"prod, which is {bundle}: .*does not fit"):
        check_fits(registry, misfit)
