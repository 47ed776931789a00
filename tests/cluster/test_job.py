"""What runs on the cluster, without one: it believes nothing of what was submitted."""

import json

import pytest

from cluster.client.jobs import CONFIG, KIND, RELEASE, release
from cluster.commands.train import config_path
from cluster.commands.tune import read_study
from cluster.job import KINDS, enough, work
from common.config import load_config, parse
from common.errors import BadInput, ConfigError, NoResources, VersionMismatch
from train_app.config import TrainConfig


def refuse(progress: object) -> None:
    raise AssertionError("nothing was to be done")


def submitted(kind: str, config: object, *, by: str | None = None) -> dict[str, str]:
    return {KIND: kind, CONFIG: json.dumps(config), RELEASE: by or release()}


def test_a_configuration_is_checked_again_where_it_runs() -> None:
    with pytest.raises(ConfigError, match="data: Field required"):
        work(submitted("train", {"out": "x"}), refuse)
    with pytest.raises(ConfigError, match="entrypoint: no such field; there are adapter, adversarial, "):
        work(submitted("train", {"out": "x", "data": {"snapshot": "s"}, "entrypoint": "rm -rf /"}), refuse)
    with pytest.raises(BadInput, match="kind: got 'shell'; expected one of train, tune, evaluate"):
        work(submitted("shell", {}), refuse)
    with pytest.raises(BadInput, match="kind: got"):
        work({RELEASE: release()}, refuse)


def test_a_client_of_another_release_is_refused() -> None:
    with pytest.raises(VersionMismatch, match=r"submitted by release 9\.9; the cluster runs"):
        work(submitted("train", {}, by="9.9"), refuse)


def test_what_is_missing_is_told_with_what_is_asked() -> None:
    enough({"CPU": 2.0}, {"CPU": 2.0, "memory": 1.0})
    with pytest.raises(NoResources, match="8 CPU asked for and 2 there, 8 GPU asked for and 0 there"):
        enough({"CPU": 8.0, "GPU": 8.0}, {"CPU": 2.0})


def test_each_kind_says_what_it_needs() -> None:
    train = load_config(config_path("smoke"), TrainConfig, ["runtime.num_workers=2", "runtime.use_gpu=true"])
    assert KINDS["train"].needs(train) == {"CPU": 2.0, "GPU": 2.0}
    elastic = load_config(config_path("smoke"), TrainConfig, ["runtime.num_workers=2", "runtime.min_workers=1"])
    assert KINDS["train"].needs(elastic) == {"CPU": 1.0}, "it begins with what is there"
    study = read_study("demo", ["max_concurrent=3"])
    assert KINDS["tune"].needs(study) == {"CPU": 6.0}, "a driver and a worker for each trial"
    asked = parse({"bundle": "prod", "snapshot": "s"}, KINDS["evaluate"].model, source="test")
    assert KINDS["evaluate"].needs(asked) == {"CPU": 1.0}
