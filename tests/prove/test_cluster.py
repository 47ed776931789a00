"""Three raylets on one machine, two with a logical GPU: training with a worker on each, serving that grows and shrinks, a node lost.

Nothing computes on a GPU here: `device: cpu` is said wherever one is reserved.
"""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.state import list_actors, list_nodes

from cluster import LiyouClient
from cluster.client.dashboard import Dashboard
from cluster.client.rollout import Rollout
from cluster.commands.serve import RAY_ENVIRONMENT
from cluster.session import connect
from common.bundle.load import load_bundle
from common.config import load_config
from common.errors import LiyouError
from serve_app.deploy_check import check
from train_app.config import TrainConfig
from train_app.runtime.run import fit
from train_app.stages.state import Progress

from .conftest import ROOT, Shop, free_port

pytestmark = [pytest.mark.prove, pytest.mark.ray, pytest.mark.filterwarnings("default")]

NODE = {"num_cpus": 4, "object_store_memory": 256 << 20}
SETTINGS = RAY_ENVIRONMENT | {
    "RAY_AUTH_MODE": "disabled",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "2",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "2",
}
QUIET_S, BUSY_S, SHRINK_S = 20.0, 60.0, 240.0
USERS, TIMES = 1, 8
SCALED = ("features", "generator", "quality")


class Raylets:
    def __init__(self) -> None:
        self.dashboard = free_port()
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args=NODE | {"include_dashboard": True, "dashboard_port": self.dashboard},
        )
        self.gpu_nodes = [self._cluster.add_node(num_gpus=1, **NODE) for _ in range(2)]
        self.address = str(self._cluster.address)

    def lose(self, node: Any) -> None:
        """As a machine that goes down: nobody is told."""
        self.gpu_nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def add(self) -> None:
        self.gpu_nodes.append(self._cluster.add_node(num_gpus=1, **NODE))

    def end(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def raylets() -> Iterator[Raylets]:
    before = dict(os.environ)
    os.environ.update(SETTINGS)
    found = Raylets()
    try:
        with connect(address=found.address):
            yield found
    finally:
        found.end()
        os.environ.clear()
        os.environ.update(before)


def gpu_nodes() -> set[str]:
    return {node.node_id for node in list_nodes() if node.state == "ALIVE" and node.resources_total.get("GPU")}


def nodes_of(kind: str) -> list[str]:
    """The nodes on which actors of a class run, or that begin so, one entry an actor."""
    return [str(actor.node_id) for actor in list_actors(limit=1000) if actor.state == "ALIVE" and actor.class_name.startswith(kind)]


def test_a_worker_runs_on_each_gpu_node_and_a_lost_node_costs_steps_and_no_run(raylets: Raylets, shop: Shop, tmp_path, figures) -> None:
    overrides = [f"data.snapshot={shop.folder}", f"out={tmp_path}", "runtime.num_workers=2", "runtime.use_gpu=true", "runtime.device=cpu"]
    config = load_config(ROOT / "train_app" / "configs" / "smoke.yaml", TrainConfig, overrides)
    seen: list[tuple[float, Progress]] = []
    at_stage = threading.Event()
    began = time.monotonic()

    def on_progress(progress: Progress) -> None:
        seen.append((time.monotonic() - began, progress))
        if progress.stage == "discriminator samples":
            at_stage.set()

    expected = gpu_nodes()
    with ThreadPoolExecutor(1) as pool:  # Ray adds nodes in the main thread only
        running = pool.submit(fit, config, on_progress)
        while not at_stage.wait(0.2):
            assert not running.done(), running.result()
        placed = nodes_of("RayTrainWorker")
        lost_s = time.monotonic() - began
        raylets.lose(raylets.gpu_nodes[1])
        raylets.add()
        result = running.result()
    assert sorted(placed) == sorted(expected), "one worker on each node with a GPU"
    after = [progress for at, progress in seen if at > lost_s + 1]
    assert not [one for one in after if one.stage == "sft" and one.step == 1], "it went on from its checkpoint"
    assert load_bundle(result.bundle_path).manifest.bundle_id == result.bundle_id
    figures.table(
        "issue 4, 5: two workers, one node lost",
        {"workers on GPU nodes": len(placed), "node lost after s": lost_s, "all s": time.monotonic() - began, "bundle": result.bundle_id},
    )


def serve_config(shop: Shop, bundle: Path, port: int) -> dict[str, Any]:
    scaled = {"min_replicas": 1, "max_replicas": 2, "look_back_s": 5, "upscale_delay_s": 4, "downscale_delay_s": 15}
    args = {
        "bundle": str(bundle),
        "snapshot": str(shop.folder),
        "answer": {"max_attempts": 1},
        "cache": {"max_entries": 0},  # the load is of pages that are written
        "api": {"replicas": {"min_replicas": 2, "max_replicas": 2}},  # as the gpu overlay has: one lost node leaves one
        "features": {"replicas": scaled},
        "generator": {"replicas": scaled, "device": "cpu", "resources": {"num_cpus": 1, "num_gpus": 1}},
        "quality": {"replicas": scaled},
    }
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": port, "request_timeout_s": 65},
        "applications": [
            {
                "name": "liyou",
                "route_prefix": "/",
                "import_path": "serve_app.app:build",
                "autoscaling_policy": {"policy_function": "serve_app.autoscaling:Policy", "policy_kwargs": {"target_wait_s": 1.5}},
                "runtime_env": {"env_vars": {"PYTHONPATH": str(ROOT)}},
                "args": args,
            }
        ],
    }


class Load:
    """Storefronts that ask for one page after the other through the client, and how many replicas ran meanwhile."""

    def __init__(self, url: str, rollout: Rollout, product_ids: list[str]) -> None:
        self.url, self.rollout, self.product_ids = url, rollout, product_ids
        self.began = time.monotonic()
        self.outcomes: list[tuple[float, str, float]] = []
        self.replicas: list[dict[str, float]] = []
        self.users: list[tuple[float, int]] = []
        self._ending = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def now(self) -> float:
        return time.monotonic() - self.began

    def ask(self, users: int, *, until: Callable[[], bool]) -> None:
        self.users += [(self.now(), users)]
        with ThreadPoolExecutor(users) as pool:
            for user in range(users):
                pool.submit(self._one_user, user, until)
        self.users += [(self.now(), users)]

    def _one_user(self, user: int, until: Callable[[], bool]) -> None:
        with LiyouClient(self.url) as client:
            page = 0
            while not until():
                at = self.now()
                items = [self.product_ids[(17 * user + 4 * page + i) % len(self.product_ids)] for i in range(4)]
                try:
                    answer = client.reasons(items, deadline_ms=20_000)
                    told = "complete" if all(item.text for item in answer.items) else "incomplete"
                except LiyouError as error:
                    told = error.code
                self.outcomes.append((at, told, self.now() - at))
                page += 1

    def _sample(self) -> None:
        while not self._ending.wait(1):
            deployments = self.rollout.applications()["liyou"].deployments
            self.replicas.append({"at": self.now()} | {name: deployments[name].running for name in SCALED})

    def running(self, name: str) -> float:
        return self.replicas[-1][name] if self.replicas else 0

    def end(self) -> None:
        self._ending.set()
        self._sampler.join()


def test_the_graph_grows_with_its_load_shrinks_again_and_a_lost_node_fails_no_request(
    raylets: Raylets, shop: Shop, bundle: Path, figures
) -> None:
    port = free_port()
    config = serve_config(shop, bundle, port)
    check(config, source="test")
    rollout = Rollout(Dashboard(f"http://127.0.0.1:{raylets.dashboard}", token=None), clock=time.monotonic, sleep=time.sleep)
    for line in rollout.deploy(config, timeout_s=300):
        print(line)
    products = [product.product_id for product in shop.snapshot.products()][:200]
    load = Load(f"http://127.0.0.1:{port}", rollout, products)
    load.ask(USERS, until=lambda: load.now() > QUIET_S)
    quiet = dict(load.replicas[-1])
    load.ask(USERS * TIMES, until=lambda: load.now() > QUIET_S + BUSY_S)
    busy = {name: max(sample[name] for sample in load.replicas) for name in SCALED}
    placed = nodes_of("ServeReplica:liyou:generator")
    load.ask(USERS, until=lambda: load.now() > QUIET_S + BUSY_S + SHRINK_S or all(load.running(name) == 1 for name in SCALED))
    shrunk_s, small = load.now(), dict(load.replicas[-1])

    load.ask(USERS * TIMES, until=lambda: load.now() > shrunk_s + BUSY_S or load.running("generator") == 2)
    again = nodes_of("ServeReplica:liyou:generator")
    lost_s = load.now()
    threading.Timer(5, raylets.lose, [raylets.gpu_nodes[-1]]).start()  # it is not added again: the rest has to do
    load.ask(USERS * TIMES, until=lambda: load.now() > lost_s + 40)
    load.end()

    outcomes = Counter(told for _, told, _ in load.outcomes)
    series = {"users": load.users, "replicas": load.replicas, "lost_s": lost_s + 5, "pages": load.outcomes}
    draw(series)
    figures.table(
        "issue 4, 5: one policy for the graph",
        {
            **{f"{name}, quiet": quiet[name] for name in SCALED},
            **{f"{name}, x{TIMES}": busy[name] for name in SCALED},
            **{f"{name}, quiet again": small[name] for name in SCALED},
            "quiet again after s": shrunk_s - QUIET_S - BUSY_S,
            "generator replicas on nodes": len(set(placed)),
            "pages": len(load.outcomes),
            "outcomes": dict(outcomes),
            "slowest page after the loss, s": max(took for at, _, took in load.outcomes if at > lost_s),
        },
    )
    assert {quiet[name] for name in SCALED} == {small[name] for name in SCALED} == {1}
    assert busy == dict.fromkeys(SCALED, 2)
    assert len(set(placed)) == len(set(again)) == 2, "a replica on each node with a GPU"
    assert set(outcomes) == {"complete"}, outcomes
    ray.get_runtime_context()


def draw(series: dict[str, Any]) -> None:
    """docs/results/autoscaling.{json,svg}, beside the figures of `make prove`."""
    if not (target := os.environ.get("LIYOU_PROVE_RESULTS")):
        return
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib.figure import Figure

    folder = (ROOT / target).parent
    (folder / "autoscaling.json").write_text(json.dumps(series, indent=None) + "\n", encoding="utf-8")
    figure = Figure(figsize=(9, 6), layout="constrained")
    asked, scaled, took = figure.subplots(3, 1, sharex=True)
    asked.plot([at for at, _ in series["users"]], [users for _, users in series["users"]], drawstyle="steps-post", color="black")
    asked.set_ylabel("storefronts asking")
    for offset, name in enumerate(SCALED):
        scaled.plot([one["at"] for one in series["replicas"]], [one[name] + 0.03 * offset for one in series["replicas"]], label=name)
    scaled.set_ylabel("running replicas")
    scaled.legend()
    took.plot([at for at, _, _ in series["pages"]], [seconds for _, _, seconds in series["pages"]], ".", markersize=2, color="black")
    took.set(ylabel="seconds a page", xlabel="seconds", yscale="log")
    for axis in (asked, scaled, took):
        axis.axvline(series["lost_s"], color="red", linewidth=0.8)
        axis.grid(alpha=0.3)
    took.annotate("a node is lost", (series["lost_s"], took.get_ylim()[0]), color="red", fontsize=8)
    figure.savefig(folder / "autoscaling.svg", metadata={"Date": None})
