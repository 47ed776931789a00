"""The image's steps, as far as a machine without Docker can take them: its context is enough, its user can run it."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
UID = 1000


def named(requirement: str) -> str:
    return re.split(r"[\[=<>~! ]", requirement)[0].lower().replace("_", "-")


def sh(*words: str, cwd: Path, **settings: str) -> str:
    done = subprocess.run(words, cwd=cwd, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def interpreter() -> str:
    """A Python that the image's user may run here: root's own often lies in root's home."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (Path(sys.executable).resolve(), *(Path(folder) / version for folder in ("/usr/local/bin", "/usr/bin"))):
        if path.is_file() and (os.getuid() or all(parent.stat().st_mode & 0o001 for parent in path.parents)):
            return str(path)
    raise AssertionError(f"no {version} that another user may run: `apt-get install {version}`")


@pytest.fixture(scope="module")
def context() -> Iterator[Path]:
    """What .dockerignore lets Docker see, where another user can read it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        first, *rules = (line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#"))
        assert first == "*", "nothing, but for what is named"
        for rule in rules:
            if rule.startswith("!"):
                source, target = ROOT / rule[1:], folder / rule[1:]
                target.parent.mkdir(exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, target)
        yield folder


def test_project_installs_from_the_context_and_runs_as_the_images_user(context: Path) -> None:
    venv = context / "venv"
    sh(interpreter(), "-m", "venv", "--without-pip", str(venv), cwd=context)
    packages = Path(sysconfig.get_paths(vars={"base": str(venv), "platbase": str(venv)})["purelib"])
    (packages / "tested.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")  # what `packages` would have installed
    _, *script = (Path(sys.executable).parent / "ray").read_text().splitlines()
    (venv / "bin" / "ray").write_text("\n".join([f"#!{venv}/bin/python", *script]))
    (venv / "bin" / "ray").chmod(0o755)
    sh("k8s/build.sh", "project", cwd=context, VENV=str(venv), PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_IGNORE_INSTALLED="1")
    assert (packages / "common" / "starter" / "bundle" / "manifest.json").is_file(), "the starter bundle travels in the image"
    with tempfile.TemporaryDirectory() as home:
        other: dict[str, Any] = {}
        if os.getuid() == 0:
            os.chown(home, UID, UID)
            other = {"user": UID, "group": UID, "extra_groups": []}
        step = [str(context / "k8s" / "build.sh"), "check", "cpu"]
        settings = {"VENV": str(venv), "HOME": home, "PATH": f"{venv}/bin:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
        settings |= {"PYTHONPATH": "", "RAY_USAGE_STATS_ENABLED": "0"}
        done = subprocess.run(step, cwd=home, env=os.environ | settings, capture_output=True, text=True, check=False, **other)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "starter bundle lb-" in done.stdout


def test_check_refuses_root(context: Path) -> None:
    done = subprocess.run([context / "k8s" / "build.sh", "check", "cpu"], capture_output=True, text=True, check=False)
    assert (os.getuid() == 0) == (done.returncode == 1 and "runs as root" in done.stderr)


def test_the_image_has_the_locks_packages_without_the_developers_tools() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tools = {named(one) for one in project["optional-dependencies"]["dev"]}
    locked = {named(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")}
    taken = {named(line) for line in sh("k8s/build.sh", "lock", cwd=ROOT).splitlines()}
    assert locked - taken == tools - {"psutil"}, "psutil is Ray's too"
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
