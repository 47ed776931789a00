"""What `--plan` says is what a run does: its steps, its parameters, its bytes."""

import json
from pathlib import Path

import pytest
import ray
import torch

from cluster.cli import main
from common.config import load_config
from common.errors import ConfigError
from train_app.config import TrainConfig
from train_app.runtime.estimate import MEASURED, Rates, activations, estimate, hours, longest_rows, stated_rates
from train_app.runtime.setting_up import open_workbench
from train_app.stages.parallel import Parallel
from train_app.stages.plan import Work, plan, run_stages
from train_app.stages.sft import backward_of, num_answer_tokens
from train_app.stages.state import State

STATED = Rates(trained=10, read=40, written=5, fitted=20)
PRESETS = sorted(path.stem for path in (Path(__file__).resolve().parents[3] / "train_app" / "configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory, tiny_shop_in):
    return tiny_shop_in(tmp_path_factory.mktemp("plan"))


def quiet(told) -> None:
    pass


def test_steps_are_those_that_a_run_takes_and_parameters_those_that_it_trains(shop) -> None:
    found = estimate(shop, rates=STATED)
    bench, saved = open_workbench(shop, inputs="0" * 64, parallel=Parallel()), []
    run_stages(State(bench.run), shop, quiet, bench=bench, save=saved.append)
    taken = {state.stage: state.step for state in saved}
    planned = {stage.name: stage.steps for stage in found.stages}
    assert taken.items() <= planned.items()
    assert set(planned) - set(taken) <= {"filtering 1 discriminator samples", "filtering 1 discriminator", *FINAL, "evaluation"}
    assert found.parameters == sum(tensor.numel() for tensor in bench.policy.adapter().values())
    assert found.discriminator_parameters == sum(one.numel() for one in bench.new_discriminator().parameters())
    assert found.memory.decode_cache == sum(layer.keys.nbytes + layer.values.nbytes for layer in bench.engine._cache.slot_layers)


FINAL = ("final discriminator samples", "final discriminator")
"""Passed over where the generator that ships is the one the discriminator was fitted to."""


def test_hours_are_work_over_rates_and_workers_share_it() -> None:
    work = Work(trained=36_000, read=144_000, written=18_000, fitted=72_000)
    assert hours(work, STATED, workers=1) == pytest.approx(4.0)
    assert hours(work, STATED, workers=2) == pytest.approx(2.0)
    assert hours(Work(), STATED, workers=1) == 0


def test_memory_counts_every_byte_once(shop) -> None:
    found = estimate(shop, rates=STATED)
    bench = open_workbench(shop, inputs="0" * 64, parallel=Parallel())
    frozen = sum(one.nbytes for one in bench.policy.language.model.parameters() if not one.requires_grad)
    assert found.memory.weights == frozen
    assert found.memory.optimizer == 8 * (found.parameters + found.discriminator_parameters)
    assert found.memory.trained == 4 * (3 * found.parameters + 2 * found.discriminator_parameters)
    parts = found.memory.model_dump()
    assert found.memory.total == sum(parts.values())
    assert min(parts.values()) > 0


def test_activations_grow_with_the_rows_of_a_pass_and_checkpointing_keeps_fewer(shop) -> None:
    bench = open_workbench(shop, inputs="0" * 64, parallel=Parallel())
    rows = longest_rows(bench, shop)
    assert len(rows) == max(shop.sft.batch_size, shop.adversarial.prompts * shop.adversarial.samples, shop.filtering.batch_size)
    runtime = {"micro_batch": 2, "gradient_checkpointing": True}
    small = shop.model_copy(update={"runtime": shop.runtime.model_copy(update=runtime)})
    assert len(longest_rows(bench, small)) == 2
    again = open_workbench(small, inputs="0" * 64, parallel=Parallel())
    all_kept = activations(bench, rows)
    assert activations(bench, rows[:2]) == pytest.approx(all_kept * 2 / len(rows), rel=0.3)
    assert activations(again, rows[:2]) < activations(bench, rows[:2]) / 2


def test_measuring_leaves_no_trace_in_the_policy_and_starts_no_ray(shop) -> None:
    found = estimate(shop)
    assert found.rates_from == MEASURED
    assert min(found.rates.model_dump().values()) > 0
    assert found.hours > 0
    assert not ray.is_initialized()


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_has_a_plan(preset, shop) -> None:
    file = Path(__file__).resolve().parents[3] / "train_app" / "configs" / f"{preset}.yaml"
    here = [f"data.snapshot={shop.data.snapshot}", f"base.source={shop.base.source}", "data.pack=shop", "runtime.slots=4"]
    config = load_config(file, TrainConfig, [*here, "decoding.max_new_tokens=16", "base.dtype=float32"])
    found = estimate(config, rates=STATED)
    names = {stage.name for stage in found.stages}
    assert {"sft", "discriminator", "selection", "calibration", "evaluation"} <= names
    bench = open_workbench(config, inputs="0" * 64, parallel=Parallel())
    assert names >= {step.name for step in plan(config, bench, on_progress=quiet, save=quiet)}


def test_a_stated_rate_names_all_four() -> None:
    assert stated_rates("trained=10, read=40,written=5,fitted=20") == STATED
    for wrong in ("10", "trained=10", "trained=0,read=1,written=1,fitted=1", "trained=a,read=1,written=1,fitted=1"):
        with pytest.raises(ConfigError, match="--rate: got"):
            stated_rates(wrong)


def test_what_is_counted_as_kept_is_what_a_backward_pass_needs(shop) -> None:
    bench = open_workbench(shop, inputs="0" * 64, parallel=Parallel())
    rows = longest_rows(bench, shop)[:2]
    before = activations(bench, rows)
    backward_of(bench, rows, tokens=num_answer_tokens(rows))
    assert activations(bench, rows) == before, "gradients are none of it"
    hidden = bench.policy.language.model.config.hidden_size
    assert before > 2 * len(rows[0][0]) * hidden * torch.float32.itemsize * bench.policy.language.model.config.num_hidden_layers


def test_the_command_prints_a_table_and_starts_nothing(shop, capsys) -> None:
    def said(*more: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as stop:
            main(["train", "smoke", *settings, *more])
        return stop.value.code, capsys.readouterr().out

    settings = [f"data.snapshot={shop.data.snapshot}", f"base.source={shop.base.source}", f"out={shop.out}", "decoding.max_new_tokens=16"]
    rate = ("--rate", "trained=10,read=40,written=5,fitted=20")
    code, out = said("--plan", *rate)
    lines = {line[:36].strip(): line[36:].split() for line in out.splitlines()}
    assert code == 0
    assert lines["sft"][0] == "4", "max_steps of the preset"
    assert {"adversarial 1", "selection", "evaluation", "at most", "activations", "together"} <= set(lines)
    told = json.loads(said("--plan", *rate, "--json")[1])
    assert told["steps"] == sum(stage["steps"] for stage in told["stages"])
    assert told["hours"] == pytest.approx(sum(stage["hours"] for stage in told["stages"]))
    assert told["rates_from"] == "stated"
    assert not ray.is_initialized()
    assert not Path(shop.out).exists()
    assert said(*rate)[0] == 2, "a rate without a plan"
