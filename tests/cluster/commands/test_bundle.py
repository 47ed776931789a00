import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from cluster.cli import main
from cluster.commands.bundle import app
from common.artifacts.registry import Registry
from common.artifacts.storage import open_storage
from common.bundle.manifest import Metric
from common.packs.load import load_pack
from common.packs.policy import publish_policy

TESTS = Path(__file__).resolve().parents[2]


def _bundle_parts() -> ModuleType:
    """The makers of tests/common/bundle: a tiny base, an adapter, a bundle."""
    spec = importlib.util.spec_from_file_location("bundle_parts", TESTS / "common" / "bundle" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`good`, `better` (another adapter, a higher metric) and `worse`; read only."""
    makers = _bundle_parts()
    root = tmp_path_factory.mktemp("bundles")
    base = makers.tiny_base(tmp_path_factory.mktemp("base"))
    language = makers.load_base(str(base))
    parts = makers.Parts(base, language, makers.random_adapter(language), None, makers.load_pack("shop"))
    doubled = {name: tensor * 1.5 for name, tensor in parts.adapter.items()}
    parts.write(root / "good", calibration=None)
    parts.write(root / "better", calibration=None, adapter=doubled, metrics={"joint": Metric(value=0.9, low=0.86, high=0.94, num=300)})
    parts.write(root / "worse", calibration=None, metrics={"joint": Metric(value=0.3, low=0.25, high=0.35, num=300)})
    return {name: root / name for name in ("good", "better", "worse")}


def run(*words: object, code: int = 0) -> str:
    """Through the root command, so that exit codes are those that a shell sees."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def exit_code(*words: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["bundle", *map(str, words)])
    return int(caught.value.code or 0)


@pytest.fixture
def registry(tmp_path: Path) -> str:
    return str(tmp_path / "registry")


def bundle_id(folder: Path) -> str:
    return str(json.loads((folder / "manifest.json").read_bytes())["bundle_id"])


def promote(folder: Path, registry: str, *more: object, code: int = 0) -> str:
    return run("promote", folder, "--registry", registry, "--reason", "评分更高", "--by", "mei", *more, code=code)


def test_promoting_a_folder_publishes_it_and_moves_the_alias(folders: dict[str, Path], registry: str) -> None:
    promote(folders["good"], registry)
    move = json.loads(promote(folders["better"], registry, "--json", "--expected", bundle_id(folders["good"])))
    assert (move["alias"], move["number"], move["version"], move["previous"]) == (
        "prod",
        2,
        bundle_id(folders["better"]),
        bundle_id(folders["good"]),
    )
    assert (move["by"], move["reason"]) == ("mei", "评分更高")
    listed = json.loads(run("list", "--registry", registry, "--json"))
    assert {row["bundle_id"]: row["aliases"] for row in listed["bundles"]} == {
        bundle_id(folders["good"]): [],
        bundle_id(folders["better"]): ["prod"],
    }
    assert bundle_id(folders["better"]) in run("list", "--registry", registry)


def test_a_policy_in_the_same_registry_is_no_bundle_of_its_list(folders: dict[str, Path], registry: str) -> None:
    promote(folders["good"], registry)
    publish_policy(Registry(open_storage(registry)), load_pack("shop"))
    listed = json.loads(run("list", "--registry", registry, "--json"))
    assert [row["bundle_id"] for row in listed["bundles"]] == [bundle_id(folders["good"])]


def test_a_worse_bundle_stays_out_unless_forced_and_that_is_kept(
    folders: dict[str, Path], registry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(folders["good"], registry)
    assert exit_code("promote", folders["worse"], "--registry", registry, "--reason", "x", "--no-canaries") == 1
    assert "worse beyond noise" in capsys.readouterr().err
    move = json.loads(promote(folders["worse"], registry, "--force", "--json"))
    assert "forced, in spite of: joint is 0.3" in move["reason"]


def test_rollback_returns_to_what_was_live(folders: dict[str, Path], registry: str) -> None:
    promote(folders["good"], registry)
    promote(folders["better"], registry)
    move = json.loads(run("rollback", "--registry", registry, "--reason", "complaints", "--json"))
    assert (move["kind"], move["version"]) == ("rollback", bundle_id(folders["good"]))
    assert exit_code("rollback", "--registry", registry, "--reason", "again") == 2


def test_a_wrong_expectation_is_a_conflict(folders: dict[str, Path], registry: str, capsys: pytest.CaptureFixture[str]) -> None:
    promote(folders["good"], registry)
    words = ("promote", folders["better"], "--registry", registry, "--reason", "x", "--no-canaries", "--expected", "lb-other")
    assert exit_code(*words) == 1
    assert "alias_conflict" in capsys.readouterr().err


def test_verify_loads_the_bundle_and_says_that_nobody_signed_it(folders: dict[str, Path], registry: str) -> None:
    promote(folders["good"], registry, "--no-canaries")
    assert "nobody vouches" in run("verify", "prod", "--registry", registry)
    told = json.loads(run("verify", folders["good"], "--json"))
    assert told["verified"] is True
    assert told["signed_by"] is None
    assert told["canaries"]["conclusive"] is True


def test_a_damaged_bundle_is_refused_with_code_1_and_a_missing_one_with_code_2(
    folders: dict[str, Path], registry: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    damaged = Path(shutil.copytree(folders["good"], tmp_path / "damaged"))
    (damaged / "report" / "index.html").write_text("changed")
    assert exit_code("verify", damaged) == 1
    assert "expected sha256" in capsys.readouterr().err
    assert exit_code("promote", damaged, "--registry", registry, "--reason", "x", "--force") == 1
    assert exit_code("verify", "lb-none", "--registry", registry) == 2
    assert exit_code("show", "./nowhere") == 2
    assert exit_code("show") == 2


def test_show_tells_what_the_bundle_rests_on(folders: dict[str, Path]) -> None:
    text = run("show", folders["good"])
    for part in (
        bundle_id(folders["good"]),
        "Apache-2.0",
        "rank 4 alpha 8 on down_proj, q_proj, v_proj",
        "CC0-1.0",
        "0.8 [0.75, 0.85] on 300 rows",
    ):
        assert part in text
    assert json.loads(run("show", folders["good"], "--json"))["manifest"]["bundle_id"] == bundle_id(folders["good"])


def test_diff_names_fields_and_metrics(folders: dict[str, Path]) -> None:
    told = json.loads(run("diff", folders["good"], folders["better"], "--json"))
    assert list(told["fields"]) == ["files.adapter/adapter_model.safetensors.sha256"]
    assert told["metrics"]["joint"]["other"]["value"] == 0.9
    assert "joint" in run("diff", folders["good"], folders["better"])


def test_a_demanded_signature_needs_a_key(folders: dict[str, Path]) -> None:
    assert exit_code("verify", folders["good"], "--require-signature") == 2
