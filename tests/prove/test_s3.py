"""On a real S3 server (radosgw, from Debian): data, a base, a run that is killed, its bundle and its pages live in a bucket alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import boto3
import httpx2
import pytest

from common.artifacts.registry import Registry
from common.artifacts.storage import open_storage
from common.errors import AliasConflict, ArtifactNotFound, DigestMismatch
from serve_app.state.live import STARTER

from .conftest import ROOT, free_port

pytestmark = [pytest.mark.prove, pytest.mark.ray]

BUCKET = "s3://shop"


@pytest.fixture(scope="module", autouse=True)
def bucket(gateway: dict[str, str]) -> None:
    boto3.Session().client("s3").create_bucket(Bucket="shop")


def liyou(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "cluster.cli", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def asked(gateway: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The smallest training, with its data, its base and its results in the bucket."""
    place = tmp_path_factory.mktemp("shop")
    liyou("shop", "generate", "--seed", "7", "--users", "40", "--products", "120", "--reasons", "300", "--out", str(place / "raw"))
    snapshot = json.loads(liyou("data", "build", str(place / "raw"), "--out", f"{BUCKET}/snapshots", "--json"))["out"]
    base = liyou("base", "publish", str(ROOT / "common" / "starter" / "base"), f"{BUCKET}/bases").strip()
    assert snapshot.startswith(f"{BUCKET}/snapshots/v-")
    assert base.startswith(f"{BUCKET}/bases/v-")
    return [f"data.snapshot={snapshot}", f"base.source={base}", f"out={BUCKET}/trainings"]


def test_a_run_is_killed_resumed_promoted_and_served_from_the_bucket_alone(
    asked: list[str], gateway: dict[str, str], serving: Any, figures: Any, tmp_path: Path
) -> None:
    began = time.monotonic()
    command = [sys.executable, "-m", "cluster.cli", "train", "smoke", *asked, "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        assert run.stderr is not None
        told: list[str] = []
        for line in run.stderr:
            told.append(line)
            if '"stage":"discriminator samples"' in line:
                break
        else:
            pytest.fail(f"it ended with {run.wait()} before it could be killed: {''.join(told[-20:])}")
        os.killpg(run.pid, signal.SIGKILL)
    killed_s = time.monotonic() - began
    shutil.rmtree(gateway["TMPDIR"])  # what follows is another node's: it has the bucket and nothing else
    Path(gateway["TMPDIR"]).mkdir()

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('{"stage"')]
    assert seen
    assert not [one for one in seen if one["stage"] == "sft" and one["step"] == 1], "it went on from its checkpoint"
    result = json.loads(done.stdout)
    assert result["bundle_path"] == f"{BUCKET}/trainings/bundles/{result['bundle_id']}"
    run_keys = open_storage(result["run_path"]).list()
    assert {"metrics.jsonl", "evaluation/chosen.json"} <= set(run_keys)
    assert [key for key in run_keys if key.startswith("checkpoint_")], "Ray's checkpoints lie there too"

    registry = f"{BUCKET}/registry"
    liyou("bundle", "promote", result["bundle_path"], "--registry", registry, "--reason", "the first", "--force")
    snapshot = asked[0].partition("=")[2]
    with serving("--registry", registry, "--snapshot", snapshot, "--port", str(free_port()), log=tmp_path / "serve.log") as server:
        item = {"product": {"product_id": "p1", "title": "静音蓝牙耳机", "category": "蓝牙耳机", "price": 299}}
        page = httpx2.post(f"{server.url}/v1/reasons", json={"items": [item]}, timeout=60).json()
    assert page["bundle_id"] == result["bundle_id"]
    assert page["items"][0]["text"]
    figures.table(
        "issue 4, 3: on radosgw",
        {
            "killed after s": killed_s,
            "all s": time.monotonic() - began,
            "objects": len(open_storage(BUCKET).list()),
            "bundle": result["bundle_id"],
        },
    )


def test_a_half_uploaded_bundle_is_invisible(gateway: dict[str, str], tmp_path: Path) -> None:
    """The publisher is killed by the kernel in the middle of its objects."""
    code = (
        "import os, signal, sys\n"
        "from common.artifacts import storage, registry\n"
        "put, left = storage.S3Storage.put_file, [3]\n"
        "def dying(self, key, path):\n"
        "    put(self, key, path)\n"
        "    left[0] -= 1\n"
        "    if not left[0]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "storage.S3Storage.put_file = dying\n"
        "registry.Registry(storage.open_storage(sys.argv[1])).publish(sys.argv[2])\n"
    )
    place = f"{BUCKET}/half"
    done = subprocess.run([sys.executable, "-c", code, place, str(STARTER)], cwd=ROOT, check=False)
    store = Registry(open_storage(place))
    assert done.returncode == -signal.SIGKILL
    assert len(store.storage.list("objects/")) == 3
    assert store.versions() == []
    with pytest.raises(ArtifactNotFound):
        store.fetch("v-")
    version = store.publish(STARTER)
    assert (store.fetch(version) / "manifest.json").is_file()


def test_a_flipped_byte_is_refused_and_publishing_again_mends_it(gateway: dict[str, str]) -> None:
    store = Registry(open_storage(f"{BUCKET}/flipped"))
    version = store.publish(STARTER)
    path, digest = max(store.describe(version).files.items(), key=lambda item: (STARTER / item[0]).stat().st_size)
    damaged = bytearray(store.storage.get(f"objects/{digest}"))
    damaged[len(damaged) // 2] ^= 1
    store.storage.put(f"objects/{digest}", bytes(damaged))
    with pytest.raises(DigestMismatch, match=path) as error:
        store.fetch(version)
    assert error.value.code == "digest_mismatch"
    store.publish(STARTER)
    assert (store.fetch(version) / path).read_bytes() == (STARTER / path).read_bytes()


def test_of_those_who_move_an_alias_at_once_one_wins_and_the_others_are_told(gateway: dict[str, str], tmp_path: Path) -> None:
    place = f"{BUCKET}/race"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    version = Registry(open_storage(place)).publish(tmp_path / "a")
    start = Barrier(4)

    def promote(who: int) -> str:
        store = Registry(open_storage(place))
        history = store.history
        store.history = lambda alias: (history(alias), start.wait())[0]  # type: ignore[method-assign]  # all have looked before any moves
        try:
            return str(store.promote("prod", version, reason="mine", by=f"p{who}", at=datetime.now(UTC)).by)
        except AliasConflict as error:
            return error.code

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(promote, range(4)))
    winner = Registry(open_storage(place)).history("prod")
    assert sorted(told) == ["alias_conflict"] * 3 + [winner[0].by]
    assert len(winner) == 1
