"""The image without Docker: what .dockerignore lets through, installed by the steps of k8s/build.sh, where another user can run it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Image:
    folder: Path

    uid = 1000

    @property
    def sources(self) -> Path:
        return self.folder / "src"

    @property
    def venv(self) -> Path:
        return self.folder / "venv"

    @property
    def environment(self) -> dict[str, str]:
        """As the Dockerfile sets it, with the paths of this machine."""
        dockerfile = (ROOT / "k8s" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
        (words,) = re.findall(r"^ENV (.*OMP_WAIT_POLICY.*)$", dockerfile, re.MULTILINE)
        settings = dict(word.split("=", 1) for word in shlex.split(words))
        return settings | {"VENV": str(self.venv), "PATH": f"{self.venv}/bin:/usr/local/bin:/usr/bin:/bin"}


def build(folder: Path) -> Image:
    """The steps `project` for real; `packages` is the virtual environment that runs this."""
    folder.chmod(0o755)
    image = Image(folder)
    copy_context(image.sources)
    sh(interpreter(), "-m", "venv", "--without-pip", str(image.venv), cwd=folder)
    packages = Path(sysconfig.get_paths(vars={"base": str(image.venv), "platbase": str(image.venv)})["purelib"])
    (packages / "tested.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    _, *script = (Path(sys.executable).parent / "ray").read_text().splitlines()
    (image.venv / "bin" / "ray").write_text("\n".join([f"#!{image.venv}/bin/python", *script]))
    (image.venv / "bin" / "ray").chmod(0o755)
    sh("k8s/build.sh", "project", cwd=image.sources, VENV=str(image.venv), PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_IGNORE_INSTALLED="1")
    return image


def copy_context(folder: Path) -> None:
    """What .dockerignore lets Docker see."""
    first, *rules = (line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#"))
    assert first == "*", "nothing, but for what is named"
    for rule in rules:
        if rule.startswith("!"):
            source, target = ROOT / rule[1:], folder / rule[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)


def interpreter() -> str:
    """A Python that the image's user may run here: root's own often lies in root's home."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (Path(sys.executable).resolve(), *(Path(folder) / version for folder in ("/usr/local/bin", "/usr/bin"))):
        if path.is_file() and (os.getuid() or all(parent.stat().st_mode & 0o001 for parent in path.parents)):
            return str(path)
    raise AssertionError(f"no {version} that another user may run: `apt-get install {version}`")


def sh(*words: str, cwd: Path, **settings: str) -> str:
    done = subprocess.run(words, cwd=cwd, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout
