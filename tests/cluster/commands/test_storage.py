"""`docs/storage.md`: its commands on a bucket, in their order. Training and serving from one take minutes: tests/prove/test_s3.py."""

import json
import shlex
from pathlib import Path

import orjson
import pytest
import typer
from typer.testing import CliRunner

from cluster.commands import base, bundle, data, serve, train
from common.artifacts.registry import local_folder
from common.config import load_config
from common.errors import BadInput, ConfigError
from common.features.snapshot import Snapshot
from common.language.base_model import STARTER, source_digest
from serve_app.state.live import STARTER as STARTER_BUNDLE
from train_app.config import TrainConfig

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
LINES = [shlex.split(line, comments=True) for line in DOCUMENT.splitlines() if line.startswith("    liyou")]


def run(app: typer.Typer, *words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def place(bucket: str, tmp_path: Path) -> str:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "products.jsonl").write_bytes(orjson.dumps({"product_id": "p2", "title": "轻云跑鞋", "category": "跑鞋"}))
    return f"s3://{bucket}"


def named(words: list[str], place: str, tmp_path: Path) -> list[str]:
    """A documented command's words, on this test's bucket and folders."""
    mine = {"raw": str(tmp_path / "raw"), "out/bases/gemma-16k": str(ROOT / "common" / "starter" / "base")}
    return [mine.get(word, word).replace("s3://shop", place) for word in words[2:]]


def test_data_and_a_base_get_names_by_their_content(place: str, tmp_path: Path) -> None:
    build, publish = LINES[:2]
    told = json.loads(run(data.app, *named(build, place, tmp_path), "--json"))
    assert told["out"].startswith(f"{place}/snapshots/v-")
    product = Snapshot.open(told["out"]).product("p2")
    assert product is not None
    assert product.title == "轻云跑鞋"
    assert json.loads(run(data.app, "show", told["out"], "--json"))["digest"] == told["digest"]
    assert json.loads(run(data.app, *named(build, place, tmp_path), "--json"))["out"] == told["out"], "the same content, the same name"
    told = run(base.app, *named(publish, place, tmp_path)).strip()
    assert told.startswith(f"{place}/bases/v-")
    assert source_digest(told) == source_digest(STARTER)


def test_a_training_may_name_buckets_for_all_it_reads_and_writes() -> None:
    config = load_config(train.config_path(LINES[2][2]), TrainConfig, LINES[2][3:])
    assert {config.data.snapshot[:5], config.base.source[:5], config.out[:5]} == {"s3://"}


def test_a_bundle_by_its_name_in_a_bucket_is_promoted_shown_and_measured(place: str) -> None:
    from common.artifacts.registry import Registry
    from common.artifacts.storage import open_storage

    version = json.loads((STARTER_BUNDLE / "manifest.json").read_bytes())["bundle_id"]
    Registry(open_storage(f"{place}/trainings/bundles")).publish(STARTER_BUNDLE, version=version)
    words = [word.replace("s3://shop", place).replace("lb-…", version) for word in LINES[3][2:]]
    run(bundle.app, *words, "--force", "--no-canaries")
    assert json.loads(run(bundle.app, "list", "--registry", f"{place}/registry", "--json"))["aliases"] == {"prod": version}
    assert json.loads(run(bundle.app, "show", words[1], "--json"))["manifest"]["bundle_id"] == version


@pytest.mark.parametrize("words", LINES, ids=lambda words: " ".join(words[1:3]))
def test_the_documented_options_exist(words: list[str]) -> None:
    found = typer.main.get_command({"base": base, "bundle": bundle, "data": data, "serve": serve, "train": train}[words[1]].app)
    command = found.commands[words[2]] if hasattr(found, "commands") else found
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_what_is_no_name_in_a_bucket_is_told(place: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="registry: got 'here'; expected s3://BUCKET/PREFIX"):
        CliRunner().invoke(base.app, ["publish", str(tmp_path), "here"], catch_exceptions=False)
    with pytest.raises(BadInput, match=r"no \.safetensors file there"):
        CliRunner().invoke(base.app, ["publish", str(tmp_path), place], catch_exceptions=False)
    with pytest.raises(ConfigError, match="expected s3://BUCKET/REGISTRY/VERSION"):
        local_folder("s3://shop/v 1")
