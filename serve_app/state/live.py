"""Which bundle is served: found once, when the application is built. Loads no model."""

from pathlib import Path

from common.artifacts.registry import Registry
from common.artifacts.storage import open_storage
from common.errors import BundleNotFound

STARTER = Path(__file__).resolve().parents[2] / "common" / "starter" / "bundle"
"""The bundle that ships with the package, so that serving works before anything was trained."""
DEFAULT_ALIAS = "prod"


def locate_bundle(bundle: str | None, *, registry: str | None) -> Path:
    """The folder of a bundle on this machine: a folder, a version or alias of a registry, or the starter. Raises BundleNotFound."""
    if registry is not None:
        return Registry(open_storage(registry)).fetch(bundle or DEFAULT_ALIAS)
    folder = STARTER if bundle is None else Path(bundle).expanduser()
    if not (folder / "manifest.json").is_file():
        remedy = "run `make starter`" if bundle is None else "pass the folder of a bundle, or --registry for a version or alias"
        raise BundleNotFound(f"{folder}: no manifest.json there, so it is no bundle; {remedy}")
    return folder.resolve()
