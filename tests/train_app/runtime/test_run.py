"""One Ray session: a whole run, the worker killed in its middle, the same run again."""

import json
import os
from pathlib import Path

import pytest
import torch

from cluster.session import connect
from common.bundle.load import load_bundle
from common.errors import BadInput, ConfigError, NoResources, Unavailable
from train_app.runtime.config import RuntimeConfig
from train_app.runtime.loop import SETTING_UP, public_config, started
from train_app.runtime.run import START_TIMEOUT, absolute, fit, run_digest, waiting
from train_app.runtime.tracking import run_mailbox
from train_app.stages.state import State


def test_the_name_of_a_run_is_its_configuration_and_its_data_and_not_where_it_runs(tiny_shop) -> None:
    read = {"data_digest": "d", "base_digest": "b", "pack_digest": "p"}
    name = run_digest(tiny_shop, **read)
    there = {"num_workers": 2, "min_workers": 1, "resize_s": 1.0, "micro_batch": 2, "gradient_checkpointing": True}
    moved = tiny_shop.model_copy(update={"out": "elsewhere", "runtime": tiny_shop.runtime.model_copy(update=there)})
    assert run_digest(moved, **read) == name
    for changed in read:
        assert run_digest(tiny_shop, **{**read, changed: "other"}) != name
    assert run_digest(tiny_shop.model_copy(update={"seed": 1}), **read) != name
    asked = tiny_shop.model_copy(update={"evaluation": tiny_shop.evaluation.model_copy(update={"changes": 9})})
    assert run_digest(asked, **read) != name


def test_workers_are_told_paths_as_they_are_seen_where_the_command_was_given(tiny_shop, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("mine", "starter"):
        (tmp_path / folder).mkdir()
    data, base = tiny_shop.data.model_copy(update={"snapshot": "snapshot"}), tiny_shop.base
    for source, seen in (("mine", str(tmp_path / "mine")), ("starter", "starter"), ("owner/name", "owner/name")):
        given = tiny_shop.model_copy(update={"data": data, "out": "out", "base": base.model_copy(update={"source": source})})
        told = absolute(given)
        assert (told.data.snapshot, told.out, told.base.source) == (str(tmp_path / "snapshot"), str(tmp_path / "out"), seen)


def test_a_manifest_tells_the_packs_name_and_no_path(tiny_shop) -> None:
    outside = tiny_shop.model_copy(update={"data": tiny_shop.data.model_copy(update={"pack": "/somewhere/corner-shop"})})
    told = public_config(outside, pack="corner_shop")
    assert told["data"]["pack"] == "corner_shop"
    assert "/somewhere" not in json.dumps(told)
    elsewhere = outside.model_copy(update={"data": tiny_shop.data.model_copy(update={"pack": "s3://bucket/corner-shop"})})
    read = {"data_digest": "d", "base_digest": "b", "pack_digest": "p"}
    assert run_digest(outside, **read) == run_digest(elsewhere, **read), "what it holds counts, not where it lies"


def test_the_device_is_where_it_runs_and_follows_what_is_reserved(tiny_shop) -> None:
    assert RuntimeConfig().on == RuntimeConfig(use_gpu=True, device="cpu").on == "cpu"
    assert RuntimeConfig(use_gpu=True).on == "cuda"
    with pytest.raises(ValueError, match="device is cuda and no GPU is reserved"):
        RuntimeConfig(device="cuda")
    read = {"data_digest": "d", "base_digest": "b", "pack_digest": "p"}
    on_gpus = tiny_shop.model_copy(update={"runtime": tiny_shop.runtime.model_copy(update={"use_gpu": True, "device": "cpu"})})
    assert run_digest(on_gpus, **read) == run_digest(tiny_shop, **read)


def test_workers_say_how_many_they_are_and_where_they_go_on() -> None:
    begun, middle = State("inputs"), State("inputs", "sft", 25)
    assert started(begun, [], workers=1, most=1, told="") == []
    first = started(begun, [], workers=3, most=3, told="")
    (second,) = started(middle, first, workers=2, most=3, told="the newest checkpoint was passed over: damaged")
    assert [one.note for one in first] == ["3 of 3 workers begin"]
    assert second.note == "2 of 3 workers go on behind step 25 of sft; the newest checkpoint was passed over: damaged"
    assert (second.step, second.metrics) == (2, {"workers": 2.0}), "a point for each start"


def test_how_long_workers_are_waited_for_is_the_runs_own_unless_the_operator_says(monkeypatch) -> None:
    monkeypatch.delenv(START_TIMEOUT, raising=False)
    with waiting(30):
        assert os.environ[START_TIMEOUT] == "30"
    assert START_TIMEOUT not in os.environ
    monkeypatch.setenv(START_TIMEOUT, "5")
    with waiting(30):
        assert os.environ[START_TIMEOUT] == "5"
    assert os.environ[START_TIMEOUT] == "5"


@pytest.mark.ray
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
@pytest.mark.filterwarnings("default")
def test_a_reserved_gpu_that_is_none_is_refused_before_anything_starts(tiny_shop) -> None:
    asked = tiny_shop.model_copy(update={"runtime": tiny_shop.runtime.model_copy(update={"use_gpu": True})})
    with connect(num_cpus=2, num_gpus=0), pytest.raises(NoResources, match=r"runtime\.use_gpu: no node of the cluster has a GPU"):
        fit(asked)
    with connect(num_cpus=2, num_gpus=1), pytest.raises(ConfigError, match=r"runtime\.device: a GPU was reserved and CUDA finds none"):
        fit(asked)


@pytest.mark.ray
@pytest.mark.filterwarnings("default")  # Ray's own workers and plasma sockets warn on their way out
def test_a_run_ends_in_a_bundle_that_loads_and_the_same_run_again_gives_the_same_one(tiny_shop) -> None:
    seen = []
    with connect(num_cpus=2):
        result = fit(tiny_shop, seen.append)
        writer = run_mailbox(result.run)
        with pytest.raises(Unavailable, match=f"run {result.run}: another process of this cluster trains it now"):
            run_mailbox(result.run, patience_s=0)
        writer.shutdown(force=True)
        again = fit(tiny_shop)
        with pytest.raises(BadInput, match="no snapshot"):
            fit(tiny_shop.model_copy(update={"data": tiny_shop.data.model_copy(update={"snapshot": "nowhere"})}))
    assert again.bundle_id == result.bundle_id
    bundle = load_bundle(result.bundle_path)
    assert bundle.manifest.bundle_id == result.bundle_id
    assert bundle.discriminator is not None
    lines = [json.loads(line) for line in (Path(result.run_path) / "metrics.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in lines} >= {"sft", "discriminator", "adversarial 1", "filtering 1", "selection", "evaluation"}
    (resumed,) = [line for line in lines if line["stage"] == SETTING_UP]
    assert resumed["note"].startswith("1 of 1 workers go on behind step"), "said by the second run, which found all done"
    assert {one.stage for one in seen} == {line["stage"] for line in lines} - {SETTING_UP}
    assert list((Path(result.run_path) / "tensorboard").iterdir())
