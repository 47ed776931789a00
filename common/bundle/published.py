"""Bundles in a registry. A version serves nothing but the bundle whose id it bears, whatever somebody wrote under that name."""

from pathlib import Path

import orjson

from common.artifacts.registry import Registry, version_at
from common.artifacts.storage import is_bucket, open_storage
from common.bundle.admission import parse_manifest, read_manifest
from common.bundle.manifest import CONTROLS, FACTS, MANIFEST, BundleManifest
from common.config import parse
from common.errors import ConfigError, DigestMismatch
from common.packs.load import under_policy
from common.packs.schema import ControlPack, FactPack, Pack


def fetch_bundle(store: Registry, name: str) -> Path:
    """The folder of a version, an alias or the beginning of an id, on this machine. Raises ArtifactNotFound, DigestMismatch."""
    version = store.resolve(name)
    folder = store.fetch(version)
    _check_id(read_manifest(folder)[0], version, store)
    return folder


def bundle_folder(name: str, registry: str | None) -> Path:
    """The folder of a bundle on this machine: a version or alias of `registry`, s3://BUCKET/REGISTRY/VERSION, or a folder that may not be
    there. Raises ArtifactNotFound, DigestMismatch."""
    if registry is not None:
        return fetch_bundle(Registry(open_storage(registry)), name)
    return fetch_bundle(*version_at(name)) if is_bucket(name) else Path(name).expanduser()


def published_manifest(store: Registry, name: str) -> BundleManifest:
    """What it says about itself, without its weights. Raises ArtifactNotFound, DigestMismatch."""
    version = store.resolve(name)
    manifest, _ = parse_manifest(store.read(version, MANIFEST), source=f"{store.storage.uri} {version}")
    _check_id(manifest, version, store)
    return manifest


def is_bundle(store: Registry, version: str) -> bool:
    """A registry may hold policies, bases and snapshots too."""
    return MANIFEST in store.describe(version).files


def check_fits(store: Registry, policy: Pack) -> None:
    """Raises ConfigError where a bundle that an alias names could not be served under the policy of a pack."""
    for alias, version in store.aliases().items():
        if not is_bundle(store, version):
            continue
        controls, facts = (orjson.loads(store.read(version, name)) for name in (CONTROLS, FACTS))
        try:
            under_policy(policy, controls=parse(controls, ControlPack, source=CONTROLS), facts=parse(facts, FactPack, source=FACTS))
        except ConfigError as error:
            raise ConfigError(f"{alias}, which is {version}: {error}") from error


def _check_id(manifest: BundleManifest, version: str, store: Registry) -> None:
    if manifest.bundle_id != version:
        raise DigestMismatch(
            f"{store.storage.uri}: the entry of {version} holds {manifest.bundle_id}; it was changed after it was published"
        )
