"""A run on three nodes of which one is lost and comes back: it goes on with two, then with three, and ends as runs of a fixed size do.

Four raylets on one machine, three with a logical GPU that computes nothing. The base is the tests' tiny one, the stage SFT: what several
workers make of each step of every stage is in tests/train_app/stages/test_workers.py.
"""

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from cluster.session import connect
from train_app.config import TrainConfig
from train_app.runtime.loop import SETTING_UP
from train_app.runtime.run import fit_until, run_inputs
from train_app.runtime.setting_up import open_workbench
from train_app.stages.parallel import Parallel
from train_app.stages.plan import run_stages
from train_app.stages.state import Progress, State

from ..train_app.conftest import make_tiny_shop

pytestmark = [pytest.mark.prove, pytest.mark.ray, pytest.mark.filterwarnings("default")]

NODE = {"num_cpus": 2, "object_store_memory": 128 << 20}
FIXED = 5
STEPS, EVERY = 200, 1
"""A checkpoint at every step: each waits until the one before is kept, so the run lasts while nodes go and come, and costs little."""
LOST_AT = 20
"""Steps with three workers before a node is lost."""
PATIENCE_S = 420.0


def sft_of(config: TrainConfig, *, seed: int, **runtime: object) -> TrainConfig:
    sft = {"learning_rate": 1e-3, "batch_size": 24, "max_steps": STEPS, "max_epochs": 1000, "evaluate_every": 20, "patience": 1000}
    return config.model_copy(
        update={
            "seed": seed,
            "sft": config.sft.model_copy(update=sft),
            "adversarial": config.adversarial.model_copy(update={"prompts": 3}),
            "runtime": config.runtime.model_copy(update={"checkpoint_every": EVERY, **runtime}),
        }
    )


def best_of(seen: list[Progress]) -> float:
    """Nats a token on validation rows."""
    return min(progress.metrics["validation_loss"] for progress in seen if "validation_loss" in progress.metrics)


def alone(config: TrainConfig) -> float:
    """A run of a fixed size, here one worker in this process."""
    seen: list[Progress] = []
    bench = open_workbench(config, inputs=run_inputs(config), parallel=Parallel())
    run_stages(State(bench.run), config, seen.append, bench=bench, save=lambda state: None, until="sft")
    return best_of(seen)


@pytest.fixture(scope="module")
def shop_config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    return make_tiny_shop(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def fixed(shop_config: TrainConfig) -> list[float]:
    return [alone(sft_of(shop_config, seed=seed)) for seed in range(1, 1 + FIXED)]


@pytest.fixture
def nodes() -> Iterator[tuple[Cluster, list[Any]]]:
    before = dict(os.environ)
    os.environ["RAY_AUTH_MODE"] = "disabled"
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    try:
        added = [cluster.add_node(num_gpus=1, **NODE) for _ in range(3)]
        with connect(address=str(cluster.address)):
            yield cluster, added
    finally:
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


class Story:
    """What the run told, and when."""

    def __init__(self) -> None:
        self.began, self.seen, self._changed = time.monotonic(), [], threading.Condition()
        self.starts: list[tuple[float, int]] = []
        self.step = 0
        """of SFT, the last one told"""

    def __call__(self, progress: Progress) -> None:
        with self._changed:
            self.seen.append(progress)
            self.step = progress.step if progress.stage == "sft" else self.step
            if progress.stage == SETTING_UP:
                print(f"{self.now():.0f} s: {progress.note}", flush=True)
                self.starts.append((self.now(), int(progress.metrics["workers"])))
            self._changed.notify_all()

    def now(self) -> float:
        return time.monotonic() - self.began

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE_S), f"not within {PATIENCE_S:.0f} s; starts were {self.starts}"


def test_a_run_that_lost_a_node_and_got_one_back_ends_as_runs_of_a_fixed_size_do(
    shop_config: TrainConfig, fixed: list[float], nodes: tuple[Cluster, list[Any]], figures: Any, tmp_path: Path
) -> None:
    cluster, added = nodes
    elastic = {"num_workers": 3, "min_workers": 2, "resize_s": 5.0, "use_gpu": True, "device": "cpu"}
    config = sft_of(shop_config, seed=0, **elastic).model_copy(update={"out": str(tmp_path)})
    story = Story()
    with ThreadPoolExecutor(1) as pool:  # Ray adds nodes in the main thread only
        running = pool.submit(fit_until, config, story, until="sft")
        running.add_done_callback(lambda done: story(Progress(stage="end", step=0, total=0)))
        ended = running.done
        story.wait_for(lambda: ended() or story.step >= LOST_AT)
        lost_s, lost_at = story.now(), story.step
        cluster.remove_node(added[-1], allow_graceful=False)  # as a machine that goes down: nobody is told
        story.wait_for(lambda: ended() or len(story.starts) == 2)
        back_s = story.now()
        cluster.add_node(num_gpus=1, **NODE)
        story.wait_for(lambda: ended() or len(story.starts) == 3)
        running.result()
    steps = [progress.step for progress in story.seen if progress.stage == "sft"]
    found, mean, deviation = best_of(story.seen), statistics.mean(fixed), statistics.stdev(fixed)
    figures.table(
        "issue 5, 5: three workers, two, three again",
        {
            "workers at each start": str([workers for _, workers in story.starts]),
            "node lost at step": lost_at,
            "two workers after s": story.starts[1][0] - lost_s,
            "three workers after s": story.starts[2][0] - back_s,
            "steps done twice": len(steps) - len(set(steps)),
            "all s": story.now(),
            "validation loss, nats a token": found,
            f"{FIXED} runs of a fixed size": str([round(loss, 4) for loss in fixed]),
            "standard deviations from their mean": (found - mean) / deviation,
        },
    )
    assert [workers for _, workers in story.starts] == [3, 2, 3]
    assert steps[-1] == STEPS
    assert set(steps) == set(range(1, STEPS + 1)), "no step was left out"
    assert abs(found - mean) <= 2 * deviation
