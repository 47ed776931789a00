"""Point 6: a train worker is killed in every stage; one worker ends with the undisturbed bundle, two go on from the last committed step."""

import queue
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import psutil
import pytest

from cluster.bench.faults.processes import sigkill, titled
from train_app.runtime.loop import SETTING_UP

pytestmark = pytest.mark.prove

EVERY = 2
"""runtime.checkpoint_every of the smoke preset"""
KILLS = {"sft": 3, "discriminator": 3, "adversarial 1": 1, "filtering 1": 1, "selection": 1, "calibration": 1}
"""Stage -> the step whose progress is the signal: past a checkpoint where the stage has one in its middle."""
SEEING = ("discriminator.rows=64", "discriminator.steps=20")
"""With the preset's sixteen rows a discriminator can come out blind by chance, and the stages that need it are left out."""
SILENCE_S, RESTART_S = 600.0, 300.0


@dataclass(frozen=True)
class Kill:
    stage: str
    step: int
    resumed: tuple[str, int]
    """stage and step of the first progress of the new workers"""
    took_s: float
    """from the kill to that progress"""


@dataclass
class Run:
    result: dict[str, Any] = field(default_factory=dict)
    kills: list[Kill] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    """in the order of their first progress"""
    seconds: float = 0.0


@pytest.fixture(scope="module")
def train(shop: Any, liyou: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    def run(*, workers: int, kills: dict[str, int]) -> Run:
        out = tmp_path_factory.mktemp("train")
        words = [
            "smoke",
            f"data.snapshot={shop.folder}",
            f"out={out}",
            f"runtime.num_workers={workers}",
            "runtime.max_failures=20",
            *SEEING,
        ]
        begun, made, wanted = time.monotonic(), Run(), dict(kills)
        with liyou("train", *words, "--json", stderr=subprocess.PIPE) as process, progress_of(process) as lines:
            stamp, line = next(lines)
            while line:
                stage, step = line["stage"], line["step"]
                if stage == SETTING_UP:
                    stamp, line = next(lines)
                    continue
                made.stages += [stage] if stage not in made.stages else []
                if wanted.get(stage, step + 1) > step:
                    stamp, line = next(lines)
                    continue
                del wanted[stage]
                killed_at = time.monotonic()
                restarted_at = kill_one(process.pid, number=len(made.kills))
                while line and (stamp < restarted_at or line["stage"] == SETTING_UP):  # what the old workers had told before they died
                    stamp, line = next(lines)
                assert line, f"the run ended after its worker was killed in {stage}"
                made.kills.append(Kill(stage, step, (line["stage"], line["step"]), stamp - killed_at))
            assert process.stdout is not None
            *noise, last = process.stdout.read().splitlines()  # Ray tells on stdout of workers that died
            print(*(line.decode(errors="replace") for line in noise), sep="\n")
            made.result = orjson.loads(last)
            assert process.wait(RESTART_S) == 0  # its end closes its output before it is over
        assert not wanted, f"never came to {wanted}; stages were {made.stages}"
        made.seconds = time.monotonic() - begun
        return made

    return run


@pytest.fixture(scope="module")
def undisturbed(train: Any) -> Run:
    return train(workers=1, kills={})


def test_one_worker_ends_with_the_undisturbed_bundle(train: Any, undisturbed: Run, figures: Any) -> None:
    disturbed = train(workers=1, kills=KILLS)
    tell(figures, "6 one worker, killed in every stage", disturbed)
    figures.table("6 bundle ids", {"undisturbed": undisturbed.result["bundle_id"], "killed in every stage": disturbed.result["bundle_id"]})
    assert_resumed_after_the_last_commit(disturbed, undisturbed.stages)
    assert disturbed.result["digests"] == undisturbed.result["digests"]
    assert disturbed.result["bundle_id"] == undisturbed.result["bundle_id"]


def test_two_workers_resume_at_or_after_the_last_committed_step(train: Any, undisturbed: Run, figures: Any) -> None:
    disturbed = train(workers=2, kills=KILLS)
    tell(figures, "6 two workers, one of them killed in every stage", disturbed)
    figures.table("6 two workers", {"seconds": disturbed.seconds, "bundle": disturbed.result["bundle_id"]})
    assert_resumed_after_the_last_commit(disturbed, undisturbed.stages)


def assert_resumed_after_the_last_commit(run: Run, stages: list[str]) -> None:
    """A step's progress is told after all saves before it returned, and each save waits for the one before: all but the last are kept."""
    for kill in run.kills:
        saved = (kill.step - 1) // EVERY
        committed = (stages.index(kill.stage), (saved - 1) * EVERY) if saved else (stages.index(kill.stage) - 1, 0)
        resumed = (stages.index(kill.resumed[0]), kill.resumed[1])
        assert resumed > committed or (committed[1] == 0 and resumed == committed), f"{kill} went behind its last checkpoint but one"


def tell(figures: Any, title: str, run: Run) -> None:
    rows = {
        f"{kill.stage}, step {kill.step}": f"resumed with {kill.resumed[0]} {kill.resumed[1]} after {kill.took_s:.0f} s"
        for kill in run.kills
    }
    figures.table(title, rows | {"seconds in all": run.seconds})


# ---- watching and killing ------------------------------------------------------------------------------------------


@contextmanager
def progress_of(process: "subprocess.Popen[bytes]") -> Iterator[Iterator[tuple[float, dict[str, Any]]]]:
    """Progress lines of a `liyou train --json`, each with the moment it was read; an empty one at the end."""
    lines: queue.Queue[tuple[float, dict[str, Any]]] = queue.Queue()
    words: list[str] = []

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(b'{"stage"'):
                lines.put((time.monotonic(), orjson.loads(line)))
            else:
                words.append(line.decode(errors="replace"))
        lines.put((time.monotonic(), {}))

    threading.Thread(target=read, daemon=True).start()
    try:
        yield iter(lambda: lines.get(timeout=SILENCE_S), None)
    except BaseException:
        print("".join(words)[-6000:])
        raise


def workers_of(pid: int) -> dict[int, psutil.Process]:
    return titled(pid, "RayTrainWorker")


def kill_one(pid: int, *, number: int) -> float:
    """Kills the first or the last worker in turn; the moment at which new ones were there in its place."""
    before = workers_of(pid)
    victim = before[sorted(before)[-1 if number % 2 else 0]]
    sigkill(victim)
    end = time.monotonic() + RESTART_S
    while not (now := workers_of(pid)) or now.keys() & before.keys() or len(now) < len(before):
        assert time.monotonic() < end, f"no new workers {RESTART_S:.0f} s after {victim.pid} was killed; there are {sorted(now)}"
        time.sleep(0.2)
    return time.monotonic()
