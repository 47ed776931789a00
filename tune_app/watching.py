"""What a study looks like while it runs: each trial's values, rounds and status, and what is being trained now. Decides nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal, Protocol

import orjson
import ray.tune
from pydantic import Field, JsonValue
from ray.tune.experiment import Trial

from common.config import Frozen
from train_app.stages.state import Progress
from tune_app.objective import OBJECTIVE

Status = Literal["waiting", "running", "finished", "stopped early", "failed"]
FINAL, ROUND = "final", "round"


class Row(Frozen):
    """A trial as far as it is known."""

    number: int = Field(ge=1, description="in the order in which trials were begun")
    trial_id: str
    values: dict[str, JsonValue]
    status: Status
    round: int = Field(0, ge=0, description="rounds done")
    objective: float | None = None
    told: dict[str, JsonValue] = Field(default_factory=dict, description="what the trial reported last")


Watch = Callable[[Sequence[Row]], None]


class Mailbox(Protocol):
    """The part of ray.util.queue.Queue that is used."""

    def put(self, item: bytes) -> None: ...


def told(mailbox: Mailbox, who: str, progress: Progress) -> None:
    """To the driver: what a trial, or the start that it waits for, is at."""
    mailbox.put(orjson.dumps({"who": who, "progress": progress.model_dump(mode="json")}))


def row_of(number: int, trial: Trial) -> Row:
    last: Mapping[str, JsonValue] = trial.last_result or {}
    done = trial.status == Trial.TERMINATED
    status: Status = "finished" if done and last.get(FINAL) else "stopped early" if done else "running"
    if trial.status in (Trial.PENDING, Trial.ERROR):
        status = "waiting" if trial.status == Trial.PENDING else "failed"
    objective = last.get(OBJECTIVE)
    return Row(
        number=number,
        trial_id=trial.trial_id,
        values=dict(trial.config),
        status=status,
        round=int(str(last.get(ROUND, 0))),
        objective=None if objective is None else float(str(objective)),
        told={name: last[name] for name in ("candidate", "joint", "sft", "broken", "selected") if name in last},
    )


class Watcher(ray.tune.Callback):
    """Tune keeps its callbacks in the study's folder and brings them back with it; whoever watches stays in this process, by name."""

    watching: ClassVar[dict[str, Watch]] = {}

    def __init__(self, study: str) -> None:
        self.study = study
        self._seen: list[Row] = []

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        rows = [row_of(number, trial) for number, trial in enumerate(trials, start=1)]
        if rows != self._seen:
            self._seen = rows
            if watch := self.watching.get(self.study):
                watch(rows)
