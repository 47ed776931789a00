"""MLflow and Weights & Biases beside TensorBoard, for those who keep their runs there. Each is an extra of the package; neither asks for a
network: MLflow writes beside the run unless MLFLOW_TRACKING_URI names a server, W&B is offline unless WANDB_MODE says otherwise.

Steps of a stage begin at 0, so a figure's name holds its stage. A run that goes on goes on in the same record.
"""

import os
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from common.errors import ConfigError
from train_app.runtime.config import TrackerName
from train_app.stages.state import Progress

PROJECT = "liyou"
PACKAGES: Mapping[TrackerName, str] = {"mlflow": "mlflow", "wandb": "wandb"}
LONGEST = 500
"""Characters of a parameter that MLflow keeps."""


class Tracker(Protocol):
    def write(self, progress: Progress) -> None: ...

    def close(self) -> None: ...


def refuse_missing(names: tuple[TrackerName, ...]) -> None:
    """Raises ConfigError for a tracker whose package is not installed here, before a run begins."""
    for name in names:
        if find_spec(PACKAGES[name]) is None:
            raise ConfigError(f"runtime.tracking: {name} is not installed here; pip install 'liyou[{name}]', or leave it out")


def opened(names: tuple[TrackerName, ...], *, run: str, folder: Path, config: Mapping[str, JsonValue]) -> list[Tracker]:
    """`run`: the name under which a record is found again; `folder`: where records lie that go to no server."""
    refuse_missing(names)
    kinds: dict[TrackerName, type[MlflowTracker] | type[WandbTracker]] = {"mlflow": MlflowTracker, "wandb": WandbTracker}
    return [kinds[name](run=run, folder=folder, config=config) for name in dict.fromkeys(names)]


class MlflowTracker:
    """A run of the experiment `liyou`, found again by its name."""

    def __init__(self, *, run: str, folder: Path, config: Mapping[str, JsonValue]) -> None:
        from mlflow.entities import Metric
        from mlflow.tracking import MlflowClient

        self._metric = Metric
        folder.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder / 'mlflow.db').resolve()}")
        known = self._client.get_experiment_by_name(PROJECT)
        experiment = known.experiment_id if known else self._client.create_experiment(PROJECT)
        found = self._client.search_runs([experiment], filter_string=f"tags.`liyou.run` = '{run}'")
        self._run = found[0].info.run_id if found else self._new(experiment, run, config)
        if found:
            self._client.update_run(self._run, status="RUNNING")

    def _new(self, experiment: str, run: str, config: Mapping[str, JsonValue]) -> str:
        made: str = self._client.create_run(experiment, run_name=run, tags={"liyou.run": run}).info.run_id
        for name, value in flat(config):
            self._client.log_param(made, name, value[:LONGEST])
        return made

    def write(self, progress: Progress) -> None:
        now_ms = int(time.time() * 1000)
        metrics = [self._metric(f"{progress.stage}/{name}", value, now_ms, progress.step) for name, value in progress.metrics.items()]
        self._client.log_batch(self._run, metrics=metrics)
        if progress.note:
            self._client.set_tag(self._run, f"note/{progress.stage}/{progress.step}", progress.note)

    def close(self) -> None:
        self._client.set_terminated(self._run)


class WandbTracker:
    """A run of the project `liyou` whose id is the run's name."""

    def __init__(self, *, run: str, folder: Path, config: Mapping[str, JsonValue]) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(console="off", silent=True, x_disable_stats=True)
        mode = os.environ.get("WANDB_MODE", "offline")
        self._run = wandb.init(
            project=PROJECT, id=run, name=run, dir=str(folder), mode=mode, resume="allow", config=dict(config), settings=settings
        )
        self._stages: set[str] = set()

    def write(self, progress: Progress) -> None:
        step = f"{progress.stage}/step"
        if progress.stage not in self._stages:
            self._stages.add(progress.stage)
            self._run.define_metric(f"{progress.stage}/*", step_metric=step)
        told = {f"{progress.stage}/{name}": value for name, value in progress.metrics.items()}
        self._run.log({**told, step: progress.step} | ({f"{progress.stage}/note": progress.note} if progress.note else {}))

    def close(self) -> None:
        self._run.finish()


def flat(config: Mapping[str, JsonValue], *, prefix: str = "") -> Iterator[tuple[str, str]]:
    """`sft.learning_rate` -> its value as text, for every field."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from flat(value, prefix=f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
