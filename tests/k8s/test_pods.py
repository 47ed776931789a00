"""The dev overlay's pods, restricted as they are, serve what the RayService says and do what the RayJob says (`make prove-cluster`)."""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from cluster.client.dashboard import Dashboard
from cluster.client.jobs import Jobs
from cluster.client.rollout import Rollout
from common.errors import LiyouError, Unauthorised

from .image import Image
from .pods import Pod, network_of_two

pytestmark = [pytest.mark.prove, pytest.mark.ray]

HEAD, WORKER = "10.231.0.1", "10.231.0.2"
SERVE, JOBS = "/api/serve/applications/", "/api/jobs/"
START_S, DEPLOY_S, TRAIN_S = 120.0, 300.0, 900.0


@dataclass(frozen=True, slots=True)
class Running:
    head: Pod
    worker: Pod
    dashboard: Dashboard


@pytest.fixture(scope="module")
def manifests(render: Callable[[str], list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one["spec"] for one in render("dev") if one["apiVersion"] == "ray.io/v1"}


@pytest.fixture(scope="module")
def cluster(manifests: dict[str, dict[str, Any]], image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    if os.getuid():
        pytest.skip("the kernel's namespaces are root's: pods were not started")
    spec, token = manifests["liyou"]["rayClusterConfig"], secrets.token_hex()
    logs, shop = tmp_path_factory.mktemp("logs"), image.folder / "shop"
    shop.mkdir()
    os.chown(shop, image.uid, image.uid)
    groups = (spec["headGroupSpec"], spec["workerGroupSpecs"][0])
    with ExitStack() as stack:
        stack.enter_context(network_of_two("liyouhead", "liyouwork", (HEAD, WORKER)))
        head, worker = (
            Pod(group["template"], image=image, namespace=name, address=address, volume=("/shop", shop), token=token)
            for group, name, address in zip(groups, ("liyouhead", "liyouwork"), (HEAD, WORKER), strict=True)
        )
        stack.enter_context(head.running(ray_start(head, groups[0], "--head", "--dashboard-host=0.0.0.0"), log=logs / "head"))
        dashboard = Dashboard(f"http://{HEAD}:8265", token=token)
        with head.network():
            until(lambda: dashboard.call("GET", "/api/version").json(), START_S, logs)
        stack.enter_context(worker.running(ray_start(worker, groups[1], f"--address={HEAD}:6379"), log=logs / "worker"))
        with worker.network():
            until(lambda: httpx2.get(f"http://{WORKER}:52365/api/local_raylet_healthz").raise_for_status(), START_S, logs)
        yield Running(head, worker, dashboard)


def ray_start(pod: Pod, group: dict[str, Any], *words: str) -> list[str]:
    """As KubeRay makes it of rayStartParams and the container's limits (controllers/ray/common/pod.go)."""
    params = {"num-cpus": pod.container["resources"]["limits"]["cpu"], "dashboard-agent-listen-port": "52365"} | group["rayStartParams"]
    options = [f"--{name}={value}" for name, value in params.items()]
    return ["ray", "start", "--block", f"--node-ip-address={pod.address}", "--object-store-memory=300000000", *options, *words]


def until(done: Callable[[], object], timeout_s: float, logs: Path) -> None:
    end_s, trouble = time.monotonic() + timeout_s, ""
    while time.monotonic() < end_s:
        try:
            done()
            return
        except (LiyouError, httpx2.HTTPError) as error:
            trouble = str(error)
        time.sleep(1)
    told = "\n".join(log.read_text()[-2000:] for log in logs.iterdir())
    raise AssertionError(f"not after {timeout_s:g} s: {trouble}\n{told}")


def test_a_pod_may_write_nothing_but_its_own_folders(cluster: Running) -> None:
    tried = "for folder in / /etc /opt /var /usr/lib /tmp /home/liyou /shop; do touch $folder/x 2>/dev/null && echo $folder; done; id -u"
    for pod in (cluster.head, cluster.worker):
        assert pod.run("bash", "-c", tried).split() == ["/tmp", "/home/liyou", "/shop", "1000"]


def test_the_dashboard_is_closed_without_the_token(cluster: Running) -> None:
    with cluster.worker.network(), pytest.raises(Unauthorised):
        Dashboard(cluster.dashboard.address, token=None).call("GET", "/api/version")


def test_the_services_text_answers_with_a_reason(cluster: Running, manifests: dict[str, dict[str, Any]]) -> None:
    config = yaml.safe_load(manifests["liyou"]["serveConfigV2"])
    page = {"items": [{"product": {"product_id": "p1", "title": "真无线降噪耳机", "category": "蓝牙耳机", "price": 299}}]}
    with cluster.head.network():
        *_, last = Rollout(cluster.dashboard, clock=time.monotonic, sleep=time.sleep).deploy(config, timeout_s=DEPLOY_S)
        assert "running" in last or "healthy" in last
        assert httpx2.get(f"http://{WORKER}:8000/-/healthz").text == "success", "what KubeRay asks before a worker gets traffic"
        answer = httpx2.post(f"http://{WORKER}:8000/v1/reasons", json=page, timeout=30).json()
        assert [item["status"] for item in answer["items"]] == ["ok"]
        cluster.dashboard.call("DELETE", SERVE)


def test_the_jobs_metadata_trains_a_bundle(cluster: Running, manifests: dict[str, dict[str, Any]]) -> None:
    cluster.head.run("liyou", "shop", "generate", "--users", "40", "--products", "120", "--reasons", "300", "--out", "/shop/raw")
    cluster.head.run("liyou", "data", "build", "/shop/raw", "--out", "/shop/snapshot")
    job = manifests["liyou-train"]
    submitted = {"entrypoint": job["entrypoint"], "metadata": job["metadata"], "submission_id": "liyou-train-x7k2p"}
    with cluster.worker.network():
        cluster.dashboard.call("POST", JOBS, submitted)
        jobs = Jobs(cluster.dashboard, clock=time.monotonic, sleep=time.sleep)
        result = jobs.get("liyou-train-x7k2p").wait(timeout_s=TRAIN_S)
    assert str(result["bundle_path"]).startswith("/shop/runs/bundles/lb-")
    assert cluster.worker.run("ls", f"{result['bundle_path']}/manifest.json")
