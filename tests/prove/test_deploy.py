"""`serve deploy` of what the gpu overlay's RayService holds, on nodes with logical GPUs as its pods have real ones, its bundle in a bucket.

Nothing of the text may be changed but `device`: as it stands, a cluster without CUDA has to refuse it loudly.
"""

import copy
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import httpx2
import pytest
import yaml

from cluster import LiyouClient
from cluster.commands.deploy import serve_config
from cluster.commands.serve import RAY_ENVIRONMENT
from common.artifacts.registry import Registry
from common.artifacts.storage import open_storage
from serve_app.deploy_check import check
from serve_app.state.live import STARTER, read_live

from .conftest import ROOT, free_port
from .nodes import Head, get, head, liyou

pytestmark = [pytest.mark.prove, pytest.mark.ray]

NODE = ["--num-cpus=8", "--num-gpus=1", "--object-store-memory=200000000"]
"""Of a worker pod of the gpu overlay, but for its memory."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """As it comes out of the RayService that kustomize renders."""
    pinned = Path(sys.executable).parent / "kubectl"
    kubectl = str(pinned) if pinned.is_file() else str(shutil.which("kubectl"))
    done = subprocess.run([kubectl, "kustomize", str(ROOT / "k8s" / "overlays" / "gpu")], capture_output=True, text=True, check=True)
    file = tmp_path_factory.mktemp("k8s") / "gpu.yaml"
    file.write_text(done.stdout, encoding="utf-8")
    found = serve_config(file)
    check(found, source="RayService")
    assert found == yaml.safe_load((ROOT / "k8s" / "serve.yaml").read_text(encoding="utf-8"))
    found["http_options"]["port"] = free_port()  # 8000 may be somebody else's on this machine
    return found


@pytest.fixture(scope="module")
def cluster(config: dict[str, Any], gateway: dict[str, str]) -> Iterator[Head]:
    """A head without cores and two worker nodes, the bundle under `prod` in the registry that the text names."""
    args = config["applications"][0]["args"]
    boto3.Session().client("s3").create_bucket(Bucket=args["registry"].split("/")[2])
    store = Registry(open_storage(args["registry"]))
    version = store.publish(STARTER, version=read_live(STARTER).manifest.bundle_id)
    store.promote(args["bundle"], version, reason="test", by="test", at=datetime.now(UTC))
    with head("--num-cpus=0", "--object-store-memory=200000000", nodes=[NODE, NODE], settings=gateway | RAY_ENVIRONMENT) as found:
        yield found


def serve_deploy(cluster: Head, config: dict[str, Any], file: Path) -> None:
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [str(Path(sys.executable).parent / "serve"), "deploy", str(file), "--address", cluster.address]
    done = subprocess.run(command, env=cluster.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def application(cluster: Head) -> dict[str, Any]:
    found: dict[str, Any] = get(cluster, "/api/serve/applications/").json()["applications"].get("liyou", {"status": "NOT_STARTED"})
    return found


def wait_for(cluster: Head, *, status: str, within_s: float) -> dict[str, Any]:
    end_s = time.monotonic() + within_s
    while (found := application(cluster))["status"] != status:
        assert time.monotonic() < end_s, found
        time.sleep(1)
    return found


def on_cpu(config: dict[str, Any]) -> dict[str, Any]:
    """The only change there is."""
    changed = copy.deepcopy(config)
    changed["applications"][0]["args"]["generator"]["device"] = "cpu"
    return changed


def test_as_it_stands_it_is_refused_where_no_cuda_is(cluster: Head, config: dict[str, Any], tmp_path: Path) -> None:
    assert config["applications"][0]["args"]["generator"]["device"] == "cuda"
    serve_deploy(cluster, config, tmp_path / "serve.yaml")
    found = wait_for(cluster, status="DEPLOY_FAILED", within_s=240)
    assert "CUDA finds no GPU in this process" in found["deployments"]["generator"]["message"]


def test_with_the_device_overridden_it_answers_from_where_the_text_says(
    cluster: Head, config: dict[str, Any], figures: Any, tmp_path: Path
) -> None:
    began = time.monotonic()
    file = tmp_path / "serve.yaml"
    file.write_text(yaml.safe_dump(on_cpu(config)), encoding="utf-8")
    told = liyou(cluster, "deploy", str(file), "--timeout", "420")
    assert told == f"{file}: running\n"
    seconds = time.monotonic() - began
    args = config["applications"][0]["args"]
    found = application(cluster)["deployments"]
    for name in ("api", "features", "generator", "quality"):
        asked, options = args[name]["resources"], found[name]["deployment_config"]["ray_actor_options"]
        assert (options["num_cpus"], options.get("num_gpus", 0)) == (asked["num_cpus"], asked.get("num_gpus", 0))
        running = [one for one in found[name]["replicas"] if one["state"] == "RUNNING"]
        assert len(running) == args[name]["replicas"]["min_replicas"], found[name]
    nodes = {one["node_id"] for one in found["generator"]["replicas"]}
    assert len(nodes) == 2, "a generator on each node with a GPU"
    url = f"http://127.0.0.1:{config['http_options']['port']}"
    item = {"product": {"product_id": "p1", "title": "静音蓝牙耳机", "category": "蓝牙耳机", "price": 299}}
    with LiyouClient(url) as shop:
        page = shop.reasons([item], deadline_ms=60_000)
    assert page.items[0].text
    assert page.bundle_id == read_live(STARTER).manifest.bundle_id
    assert httpx2.get(f"{url}/readyz", timeout=10).status_code == 200
    figures.table(
        "issue 4, 4: the RayService's text on two nodes with logical GPUs",
        {"running after s": seconds, "generators on nodes": len(nodes), "source": page.items[0].source, "text": page.items[0].text},
    )
