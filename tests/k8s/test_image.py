"""The image's steps, as far as a machine without Docker can take them: its context is enough, its user can run it."""

import os
import re
import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from .image import Image, sh

ROOT = Path(__file__).resolve().parents[2]


def named(requirement: str) -> str:
    return re.split(r"[\[=<>~! ]", requirement)[0].lower().replace("_", "-")


def test_project_installs_from_the_context_and_runs_as_the_images_user(image: Image) -> None:
    (bundle,) = image.venv.glob("lib/python3*/site-packages/common/starter/bundle/manifest.json")
    assert bundle.is_file(), "the starter bundle travels in the image"
    with tempfile.TemporaryDirectory() as home:
        other: dict[str, Any] = {}
        if os.getuid() == 0:
            os.chown(home, image.uid, image.uid)
            other = {"user": image.uid, "group": image.uid, "extra_groups": []}
        step = [str(image.sources / "k8s" / "build.sh"), "check", "cpu"]
        settings = image.environment | {"VENV": str(image.venv), "HOME": home}
        done = subprocess.run(step, cwd=home, env=settings, capture_output=True, text=True, check=False, **other)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "starter bundle lb-" in done.stdout


def test_check_refuses_root(image: Image) -> None:
    done = subprocess.run([image.sources / "k8s" / "build.sh", "check", "cpu"], capture_output=True, text=True, check=False)
    assert (os.getuid() == 0) == (done.returncode == 1 and "runs as root" in done.stderr)


def test_the_image_has_the_locks_packages_without_the_developers_tools() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tools = {named(one) for one in project["optional-dependencies"]["dev"]}
    locked = {named(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")}
    taken = {named(line) for line in sh("k8s/build.sh", "lock", cwd=ROOT).splitlines()}
    assert locked - taken == tools - {"psutil"} | {"execnet"}, "psutil is Ray's too, and execnet is there for pytest-xdist"
    assert {named(one) for one in project["dependencies"]} <= taken
    without = {named(line) for line in sh("k8s/build.sh", "lock", cwd=ROOT, TORCH_INDEX="somewhere").splitlines()}
    assert taken - without == {"torch"}


def test_every_step_of_the_dockerfile_is_one_of_the_script() -> None:
    dockerfile, script = ((ROOT / "k8s" / name).read_text() for name in ("Dockerfile", "build.sh"))
    asked = set(re.findall(r"build\.sh (\w+)", "\n".join(line for line in dockerfile.splitlines() if line.startswith("RUN"))))
    assert asked == set(re.findall(r"^(\w+)\(\) \{", script, re.MULTILINE)) - {"lock"}
    targets = re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)[2:]
    assert [target.split()[2] for target in targets] == ["cuda", "cpu"], "cpu is last, so it is what is built when no target is named"
    assert all("USER 1000:1000" in target for target in targets)
    for copied in re.findall(r"^COPY (?!\. )(\S+)", dockerfile, re.MULTILINE):
        assert (ROOT / copied).is_file(), copied
