"""The benchmark's sums from timings that are known; the variants themselves run in `make bench-train`."""

import json

import pytest

from cluster.bench.train import run
from cluster.bench.train.run import PARTS, Made, make_job, rounds_of, summary

SECONDS = {"ours fp32": 0.5, "ours bf16": 0.25, "bare fp32": 0.5, "bare bf16": 0.4, "trl fp32": 1.0, "trl bf16": 0.8}


def made(seconds: float, *, slow: float = 9.0) -> Made:
    """The first two steps warm up and are slow."""
    return Made(losses=[2.0, 1.5, 1.0, 0.9], step_s=[slow, slow, seconds, seconds], peak_mib=100 * seconds)


def test_ratios_are_of_steps_a_second_round_by_round_without_the_warm_up() -> None:
    rounds = [
        {name: made(factor * SECONDS[name] if name == "trl fp32" else SECONDS[name]) for name in PARTS["sft"].variants}
        for factor in (1.0, 1.2)
    ]
    told = summary("sft", rounds, threads=1)
    assert told["ratios"]["ours fp32 / trl fp32"] == {"median": pytest.approx(2.2), "low": 2.0, "high": pytest.approx(2.4), "goal": 1.5}
    assert told["ratios"]["ours bf16 / bare bf16"]["median"] == pytest.approx(1.6)
    assert set(told["ratios"]) == set(PARTS["sft"].goals)
    assert told["peak_mib"]["trl fp32"] == 120
    assert told["losses"]["ours bf16"] == [2.0, 1.5, 1.0, 0.9]
    json.dumps(told)


def test_both_sides_get_the_same_rows_and_answers_start_where_the_prompt_ends(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(run, "OUT", tmp_path)
    job = make_job(steps=3)
    assert [len(batch) for batch in job["batches"]] == [32, 32, 32]
    assert all(0 < start < len(ids) for batch in job["batches"] for ids, start in batch)
    assert job == make_job(steps=3)


def test_rounds_that_are_done_are_not_run_again_and_every_second_one_goes_backwards(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(run, "OUT", tmp_path)
    ran: list[str] = []

    def fake(part, variant, job, *, python):
        ran.append(variant)
        return made(1.0)

    monkeypatch.setattr(run, "run_variant", fake)
    rounds_of("adversarial", {"threads": 1}, rounds=1, python="python")
    rounds_of("adversarial", {"threads": 1}, rounds=2, python="python")
    variants = list(PARTS["adversarial"].variants)
    assert ran == variants + variants[::-1]
