"""The real MLflow and W&B, where their extras are installed; that they are refused where not; a run's name knows nothing of them."""

import importlib.util
from pathlib import Path

import pytest

from common.config import parse
from common.errors import ConfigError
from train_app.runtime import trackers
from train_app.runtime.config import RuntimeConfig
from train_app.runtime.run import run_digest
from train_app.runtime.trackers import flat, opened, refuse_missing
from train_app.runtime.tracking import Tracking
from train_app.stages.state import Progress

STORY = (
    Progress(stage="sft", step=1, total=2, metrics={"loss": 1.5}),
    Progress(stage="sft", step=2, total=2, metrics={"loss": 1.25}),
    Progress(stage="adversarial 1", step=1, total=1, metrics={"kl": 0.0}, note="stopped: a guard"),
)
CONFIG = {"sft": {"learning_rate": 1e-3}, "adapter": "lora", "evaluation": {"compare": ["base"]}}
EXTRAS = pytest.mark.filterwarnings("default")  # other people's libraries


class Remembering:
    """A tracker that a test can ask."""

    def __init__(self) -> None:
        self.told: list[Progress] = []
        self.closed = False

    def write(self, progress: Progress) -> None:
        self.told.append(progress)

    def close(self) -> None:
        self.closed = True


def needs(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"an extra is absent: {name} is not installed; its tracker was not tried")


def test_further_trackers_are_told_all_that_tensorboard_is_and_closed(tmp_path) -> None:
    tracker, folders = Remembering(), []
    tracking = Tracking(tmp_path, also=lambda folder: folders.append(folder) or [tracker])
    for progress in STORY:
        tracking.write(progress)
    tracking.close()
    assert (tracker.told, tracker.closed, folders) == (list(STORY), True, [tmp_path])
    assert (tmp_path / "tensorboard").is_dir(), "always"


def test_files_of_a_tracker_are_sent_to_the_bucket_of_the_run(bucket) -> None:
    from common.artifacts.storage import open_storage

    def also(folder: Path):
        (folder / "mlflow" / "1").mkdir(parents=True)
        (folder / "mlflow" / "1" / "meta.yaml").write_text("x")
        return []

    place = f"s3://{bucket}/runs/one"
    tracking = Tracking(place, also=also)
    tracking.write(STORY[0])
    tracking.close()
    assert open_storage(place).get("mlflow/1/meta.yaml") == b"x"


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_package_that_is_missing_is_refused_with_the_line_that_installs_it(name, monkeypatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=rf"runtime\.tracking: {name} is not installed here; pip install 'liyou\[{name}\]'"):
        refuse_missing((name,))
    refuse_missing(())


def test_an_unknown_tracker_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="tracking"):
        parse({"tracking": ["neptune"]}, RuntimeConfig, source="test")


def test_where_progress_is_told_is_no_part_of_a_runs_name(tiny_shop) -> None:
    read = {"data_digest": "d", "base_digest": "b", "pack_digest": "p"}
    tracked = tiny_shop.model_copy(update={"runtime": tiny_shop.runtime.model_copy(update={"tracking": ("mlflow", "wandb")})})
    assert run_digest(tracked, **read) == run_digest(tiny_shop, **read)


def test_parameters_are_named_as_they_are_set() -> None:
    assert dict(flat(CONFIG)) == {"sft.learning_rate": "0.001", "adapter": "lora", "evaluation.compare": "['base']"}


@EXTRAS
def test_mlflow_has_every_figure_and_a_run_that_goes_on_goes_on_in_the_same_record(tmp_path, monkeypatch) -> None:
    needs("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for part in (STORY[:1], STORY[1:]):
        (tracker,) = opened(("mlflow",), run="abc", folder=tmp_path, config=CONFIG)
        for progress in part:
            tracker.write(progress)
        tracker.close()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("liyou").experiment_id])
    assert [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "sft/loss")] == [(1, 1.5), (2, 1.25)]
    assert run.data.metrics["adversarial 1/kl"] == 0
    assert run.data.params["sft.learning_rate"] == "0.001"
    assert run.data.tags["note/adversarial 1/1"] == "stopped: a guard"
    assert run.info.status == "FINISHED"


@EXTRAS
def test_wandb_keeps_the_run_offline_beside_it(tmp_path, monkeypatch) -> None:
    needs("wandb")
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tracker,) = opened(("wandb",), run="abc", folder=tmp_path, config=CONFIG)
    for progress in STORY:
        tracker.write(progress)
    summary = dict(tracker._run.summary)
    tracker.close()
    (record,) = (tmp_path / "wandb").glob("offline-run-*/run-abc.wandb")
    assert record.stat().st_size > 0
    assert b"sft/loss" in record.read_bytes()
    assert (summary["sft/loss"], summary["adversarial 1/kl"]) == (1.25, 0.0)
