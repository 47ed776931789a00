"""The whole plan on a tiny model: every stage runs, changes what it should, and goes on after a kill as if nothing had happened."""

from dataclasses import replace

import pytest
import torch
import yaml

from common.config import parse
from train_app.config import TrainConfig
from train_app.stages.discriminator import training
from train_app.stages.plan import run_stages
from train_app.stages.state import State, read_state, tensors_digest, unpack_rows, write_state
from train_app.stages.validation import RULER, STUDY_ADAPTER, STUDY_ALPHA, STUDY_RULER, STUDY_SEED, measure
from train_app.stages.workbench import Workbench

CONFIG = parse(
    yaml.safe_load("""
data: {snapshot: unused}
out: unused
sft: {learning_rate: 5e-3, max_steps: 5, batch_size: 6, evaluate_every: 2}
discriminator: {rows: 12, fakes_per_row: 1, steps: 5, refresh_steps: 3, batch_size: 8, channels: 8, evaluate_every: 2, abort_auc: 0.5}
adversarial:
  {rounds: 1, steps_per_round: 3, prompts: 3, samples: 3, ce_rows: 4, learning_rate: 1e-3, min_distinct: 0, min_unique: 0, throttle_low: 0}
filtering: {rounds: 1, prompts_per_round: 8, samples: 2, steps_per_round: 3, batch_size: 4, learning_rate: 1e-3, min_acceptance: 0}
selection: {prompts: 6}
calibration: {rows: 8}
"""),
    TrainConfig,
    source="test",
)


def run(bench: Workbench, state: State):
    """The final state, every state that was saved on the way, and all progress."""
    saved, seen = [], []
    return run_stages(state, CONFIG, seen.append, bench=bench, save=saved.append), saved, seen


@pytest.fixture(scope="module")
def undisturbed(make_bench):
    bench = make_bench()
    return run(bench, State(bench.run))


STAGES = (
    "sft",
    "discriminator samples",
    "discriminator",
    "validation of sft",
    "adversarial 1",
    "validation of adversarial 1",
    "start of filtering",
    "filtering 1 samples",
    "filtering 1",
    "validation of filtering 1",
    "selection",
    "calibration",
    "risk",
)


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_was_killed_in_a_stage_ends_bit_for_bit_like_an_undisturbed_one(stage, undisturbed, make_bench, tmp_path) -> None:
    final, saved, _ = undisturbed
    last = max(
        (index for index, state in enumerate(saved) if state.stage == stage and stage not in state.values.get("done", [])), default=None
    )
    if last is None:  # a stage of one step is saved at its end only: killed in it, a run goes on from the stage before
        last = next(index for index, state in enumerate(saved) if state.stage == stage) - 1
    write_state(saved[last], tmp_path)
    bench = make_bench()
    again, _, _ = run(bench, read_state(tmp_path, inputs=bench.run))
    assert again.values == final.values
    assert list(again.tensors) == list(final.tensors)
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in final.tensors.items())


def test_the_stages_that_are_killed_are_all_that_ran(undisturbed) -> None:
    _, saved, _ = undisturbed
    assert {state.stage for state in saved} == set(STAGES)


def test_long_stages_are_saved_in_their_middle(undisturbed) -> None:
    _, saved, _ = undisturbed
    inside = {state.stage for state in saved if state.stage not in state.values.get("done", [])}
    assert {"sft", "discriminator", "adversarial 1", "filtering 1"} <= inside


def test_every_training_stage_changes_the_adapter(undisturbed) -> None:
    final, _, _ = undisturbed
    digests = final.values["digests"]
    assert len({digests["sft"], digests["adversarial 1"], digests["filtering 1"]}) == 3


def test_sft_is_a_candidate_and_so_is_every_state_after_it(undisturbed) -> None:
    final, _, _ = undisturbed
    assert set(final.values["selection"]) == {"sft", "adversarial 1", "filtering 1"}
    assert final.values["selected"] in final.values["selection"]


def test_the_policy_that_ships_is_the_selected_candidate(undisturbed) -> None:
    final, _, _ = undisturbed
    chosen = final.group(f"candidate {final.values['selected']}")
    assert tensors_digest(final.group("policy")) == tensors_digest(chosen)


def test_the_first_adversarial_step_starts_at_the_reference(undisturbed) -> None:
    _, _, seen = undisturbed
    first = next(one for one in seen if one.stage == "adversarial 1")
    assert first.metrics["kl"] == 0


def test_rows_that_measure_the_discriminator_are_in_no_adversarial_step(undisturbed, make_bench) -> None:
    final, _, _ = undisturbed
    bench = make_bench()
    rows = len(bench.splits.discriminator[: bench.discriminator.rows])
    apart = training.held_out_rows(bench, rows, bench.discriminator)
    learnt_from = {row[0] for row in unpack_rows(final.group("replay"))}
    assert len(apart) >= 2
    assert learnt_from
    assert not apart & learnt_from


def test_progress_counts_every_stage_to_its_end(undisturbed) -> None:
    _, _, seen = undisturbed
    for stage in ("sft", "discriminator", "adversarial 1", "filtering 1", "selection"):
        last = [one for one in seen if one.stage == stage][-1]
        assert last.step == last.total, stage


def test_a_finished_run_does_nothing_more(undisturbed, make_bench) -> None:
    final, _, _ = undisturbed
    again, saved, seen = run(make_bench(), final)
    assert again == final
    assert not saved
    assert not seen


def test_a_blind_discriminator_leaves_adversarial_stages_out_and_says_so(make_bench, monkeypatch) -> None:
    monkeypatch.setattr(training, "auc", lambda positive, negative: 0.4)
    bench = make_bench()
    final, _, seen = run(bench, State(bench.run))
    assert final.values["selection"].keys() == {"sft"}
    assert any("nothing to learn" in one.note for one in seen)


def test_a_run_halts_after_the_stage_it_is_told_and_goes_on_from_there_to_the_same_end(undisturbed, make_bench) -> None:
    final, _, _ = undisturbed
    bench, saved, seen = make_bench(), [], []
    halted = run_stages(State(bench.run), CONFIG, seen.append, bench=bench, save=saved.append, until="discriminator")
    assert halted.values["done"] == ["sft", "discriminator samples", "discriminator"]
    assert halted == saved[-1], "what is kept last is what a further run begins with"
    again, _, _ = run(make_bench(), halted)
    assert again.values == final.values


def test_every_candidate_is_measured_when_it_is_made(undisturbed) -> None:
    final, _, seen = undisturbed
    order = list(dict.fromkeys(one.stage for one in seen))
    for name in ("sft", "adversarial 1", "filtering 1"):
        figures = final.values["validation"][name]
        assert figures["joint"] == final.values["selection"][name]
        assert 0 <= figures["joint"] <= figures["checks"] <= min(figures[check] for check in figures if check.startswith("check_"))
    assert order.index("validation of sft") < order.index("adversarial 1") < order.index("validation of adversarial 1")


def test_a_study_measures_all_its_runs_with_one_ruler_on_the_same_draws(undisturbed, make_bench) -> None:
    final, _, _ = undisturbed
    bench = make_bench()
    alone = final.with_values({"successes": {}, "validation": {}})
    ruled = alone.with_group(STUDY_RULER, alone.group(RULER)).with_group(STUDY_ADAPTER, alone.group("candidate sft"))
    ruled = ruled.with_values({STUDY_ALPHA: bench.policy.alpha, STUDY_SEED: bench.run})
    other = replace(bench, run="b" * 64)  # another run of the study: its own seeds would draw other texts
    args = {"stage": "validation of sft", "name": "sft"}
    own = measure(alone, CONFIG.selection, lambda told: None, bench=bench, **args)
    shared = measure(ruled, CONFIG.selection, lambda told: None, bench=other, **args)
    assert own.values["validation"] == shared.values["validation"] == {"sft": final.values["validation"]["sft"]}
