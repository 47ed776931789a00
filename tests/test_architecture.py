"""The rules of ARCHITECTURE.md, kept: who imports whom, who may call what, and how long a file may be."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("common", "train_app", "serve_app", "tune_app", "cluster")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
MAY_IMPORT = {
    "common": set(),
    "train_app": {"common"},
    "serve_app": {"common"},
    "tune_app": {"common", "train_app", "serve_app"},
    "cluster": {"common", "train_app", "serve_app", "tune_app"},
}
# Folders of `common` from the bottom up; a row may import the rows before it and itself file by file, siblings not each other.
LAYERS = (
    {"errors", "config", "log", "text"},
    {"domain"},
    {"artifacts", "metrics"},
    {"contract", "packs"},
    {"features", "language"},
    {"quality"},
    {"generation"},
    {"bundle"},
    {"starter"},
)
TORCH_HOMES = {
    "common/language/attribution.py",
    "common/language/base_model.py",
    "common/language/bottleneck.py",
    "common/language/packing.py",
    "common/language/trim.py",
    "common/quality/discriminator.py",
    "common/quality/low_rank.py",
    "common/bundle/write.py",
    "common/bundle/load.py",
    "common/bundle/canaries.py",
}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> set[str]:
    """Dotted names of all modules a file imports, lazily or not; relative imports are refused elsewhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}: relative import"
            found.add(node.module or "")
    return found


def calls(path: Path) -> set[str]:
    """Dotted callee names, such as ray.init or datetime.now."""
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)}


def layer(folder: str) -> int:
    return next(index for index, names in enumerate(LAYERS) if folder in names)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_packages_import_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    wrong = {name.split(".")[0] for name in imports(path)} & MAY_IMPORT.keys() - MAY_IMPORT[package] - {package}
    assert not wrong, f"{package} may import {sorted(MAY_IMPORT[package])}, not {sorted(wrong)}"


@pytest.mark.parametrize("path", [p for p in SOURCES if relative(p).startswith("common/")], ids=relative)
def test_rooms_of_common_import_downwards(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    own = parts[1].removesuffix(".py")
    if own == "__init__":
        return
    for name in imports(path):
        if not name.startswith("common."):
            continue
        other = name.split(".")[1]
        allowed = other == own or layer(other) < layer(own) or layer(other) == layer(own) == 0
        assert allowed, f"{relative(path)} imports {name}: {own} stands at or below {other}"


@pytest.mark.parametrize("path", [p for p in SOURCES if relative(p).startswith("common/")], ids=relative)
def test_common_is_light_and_pure(path: Path) -> None:
    tops = {name.split(".")[0] for name in imports(path)}
    assert not tops & {"ray", "fastapi"}, "common imports neither ray nor fastapi"
    if relative(path) not in TORCH_HOMES and not relative(path).startswith("common/generation/"):
        assert not tops & {"torch", "transformers", "peft"}, "torch has its homes; see TORCH_HOMES"
    clock = {"datetime.now", "datetime.utcnow", "time.time", "time.monotonic", "time.perf_counter", "date.today"}
    assert not calls(path) & clock, "nothing in common reads the clock"
    assert "os.environ" not in path.read_text(encoding="utf-8"), "nothing in common reads the environment"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_single_homes_and_nothing_unpickled(path: Path) -> None:
    tops = {name.split(".")[0] for name in imports(path)}
    called = calls(path)
    if relative(path) != "common/artifacts/storage.py":
        assert not tops & {"boto3", "botocore"}, "boto3 has one home: common/artifacts/storage.py"
    if relative(path) != "cluster/session.py":
        assert "ray.init" not in called, "ray.init has one home: cluster/session.py"
    if not relative(path).startswith("common/generation/vllm/"):
        assert "vllm" not in tops, "vllm has one home: common/generation/vllm/"
    assert not tops & {"pickle", "cloudpickle", "dill", "shelve"}, "nothing is unpickled"
    assert not called & {"torch.load", "torch.save", "pickle.load", "pickle.loads"}, "safetensors only"
    assert "trust_remote_code=True" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_the_writers_judge_stays_out_of_rewards_filters_and_serving(path: Path) -> None:
    if relative(path).startswith(("train_app/sample_shop/", "train_app/evaluation/", "cluster/bench/", "cluster/commands/")):
        return
    assert not {name for name in imports(path) if name.startswith("train_app.sample_shop.judge")}
    if relative(path).startswith(("train_app/stages/", "common/", "serve_app/")):
        assert not {name for name in imports(path) if name.startswith("train_app.evaluation")}, "nor by way of what may ask it"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_files_are_short_nouns_with_a_docstring(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400, "a file holds at most 400 lines: split it by noun"
    if not relative(path).startswith("cluster/commands/"):  # there a file is named as its command: `liyou base`
        assert not re.fullmatch(r"(utils?|helpers?|misc|base|manager|common_utils)\.py", path.name), "name the concept"
    assert ast.get_docstring(ast.parse(text)), "the docstring says what the file knows and what it refuses to know"


@pytest.mark.parametrize("folder", sorted({path.parent for path in SOURCES}), ids=relative)
def test_folders_hold_about_ten_files(folder: Path) -> None:
    files = [path for path in folder.iterdir() if path.suffix == ".py" and path.name != "__init__.py"]
    most = 30 if relative(folder) == "cluster/commands" else 12  # there one file is one command: the list is the partition
    assert len(files) <= most, "a room past about ten files wants a partition named after its domain"


def test_tests_have_no_packages() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py")), "an __init__.py under tests hides the package of the same name"
