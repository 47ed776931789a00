"""The benchmark's sums from timings that are known; the variants themselves run in `make bench-train`."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from cluster.bench.train import jobs, run
from cluster.bench.train.cuda import flops_of_a_row, main
from cluster.bench.train.jobs import sft_job
from cluster.bench.train.peers.tight import tensors
from cluster.bench.train.run import PARTS, Made, bench, lines_of, rounds_of, summary
from cluster.bench.train.shares import Shares, of_a_step
from cluster.bench.train.shop_run import config_of
from common.errors import BadInput

ROOT = Path(__file__).resolve().parents[3]
SECONDS = {"ours fp32": 0.5, "ours bf16": 0.25, "bare fp32": 0.5, "bare bf16": 0.4, "trl fp32": 1.0, "trl bf16": 0.8}


def made(seconds: float, *, slow: float = 9.0, **told: float) -> Made:
    """The first two steps warm up and are slow."""
    return Made(losses=[2.0, 1.5, 1.0, 0.9], step_s=[slow, slow, seconds, seconds], peak_mib=100 * seconds, told=told)


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


@pytest.mark.parametrize("name", PARTS)
def test_every_part_makes_a_result_of_what_its_variants_tell(name: str) -> None:
    part = PARTS[name]
    assert all(find_spec(f"cluster.bench.train.{program.split()[0]}") for program in part.programs.values())
    rounds = [{variant: made(1.0, share=0.25 * number) for variant in part.variants} for number in (1, 2)]
    told = summary(name, rounds, threads=1)
    assert {ratio: one["median"] for ratio, one in told["ratios"].items()} == dict.fromkeys(part.goals, 1.0)
    assert told["told"] == {variant: {"share": 0.375} for variant in part.variants}
    assert len(lines_of(name, told)) == len(part.goals) + len(part.variants)


def test_a_run_of_hardly_a_step_has_no_rate_and_still_tells() -> None:
    short = Made(losses=[], step_s=[1.0], peak_mib=10.0, told={"to_first_step_s": 5.0})
    told = summary("fixed", [dict.fromkeys(PARTS["fixed"].variants, short)], threads=1)
    assert told["steps_per_s"] == {"sft alone fp32": [None], "all stages fp32": [None]}
    assert told["told"]["all stages fp32"] == {"to_first_step_s": 5.0}


def test_what_a_machine_cannot_run_is_said_and_does_not_undo_what_another_measured(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(run, "OUT", tmp_path)
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(run.os, "sched_getaffinity", lambda pid: {0})
    bench(only="cuda", rounds=1, steps=5, adversarial_steps=4, threads=1)
    bench(only="workers", rounds=1, steps=5, adversarial_steps=4, threads=1)
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["cuda"] == {"not_run": "CUDA finds no GPU here"}
    assert told["workers"]["not_run"] == "wants a core for each of 2 workers; this process may use 1"
    (tmp_path / "results.json").write_text(json.dumps({"cuda": {"ratios": {}}}))
    bench(only="cuda", rounds=1, steps=5, adversarial_steps=4, threads=1)
    assert json.loads((tmp_path / "results.json").read_text()) == {"cuda": {"ratios": {}}}
    with pytest.raises(BadInput, match="--only: got 'speed'"):
        bench(only="speed", rounds=1, steps=5, adversarial_steps=4, threads=1)


def test_both_sides_get_the_same_rows_and_answers_start_where_the_prompt_ends(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(jobs, "OUT", tmp_path)
    job = sft_job(steps=3)
    assert [len(batch) for batch in job["batches"]] == [32, 32, 32]
    assert all(0 < start < len(ids) for batch in job["batches"] for ids, start in batch)
    assert job == sft_job(steps=3)
    config = config_of(
        {**jobs.training_job(steps=7), "threads": 1, "bf16": True, "scratch": str(tmp_path)}, out=str(tmp_path / "a"), workers=2
    )
    assert (config.sft.max_steps, config.sft.evaluate_every, config.runtime.num_workers, config.runtime.bf16) == (7, 7, 2, True)


def test_the_tight_loops_places_are_those_that_predict_an_answer() -> None:
    ids_BT, mask_BT, places_N, target_N = tensors([([1, 2, 3, 4], 2), ([5, 6, 7], 2)])
    assert ids_BT.shape == (2, 16)
    assert mask_BT.sum().item() == 7
    assert target_N.tolist() == [3, 4, 7] + [-100] * 125
    assert ids_BT.flatten()[places_N[:3]].tolist() == [2, 3, 6]


def test_rounds_that_are_done_are_not_run_again_and_every_second_one_goes_backwards(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(run, "OUT", tmp_path)
    ran: list[str] = []

    def fake(part, variant, job):
        ran.append(variant)
        return made(1.0)

    monkeypatch.setattr(run, "run_variant", fake)
    rounds_of("adversarial", {"threads": 1}, rounds=1)
    rounds_of("adversarial", {"threads": 1}, rounds=2)
    variants = list(PARTS["adversarial"].variants)
    assert ran == variants + variants[::-1]


def test_a_second_belongs_to_the_innermost_part_and_the_discriminators_passes_are_its_own() -> None:
    now = 0.0

    def clock() -> float:
        return now

    shares = Shares(clock=clock)

    def spend(seconds: float) -> None:
        nonlocal now
        now += seconds

    spend(1)
    with shares.part("rewards"):
        spend(2)
        with shares.part("sampling"):
            spend(4)
    with shares.part("discriminator"):
        with shares.part("backward"):
            spend(8)
        with shares.part("communication"):
            spend(16)
    assert shares.total() == {"other": 1, "rewards": 2, "sampling": 4, "discriminator": 8, "communication": 16}


def test_a_checkpoint_counts_as_often_as_a_run_saves() -> None:
    told = of_a_step({"forward": 40.0, "checkpoints": 25.0}, steps=10, num_saves=5)
    assert told == {"forward": pytest.approx(4 / 4.2), "checkpoints": pytest.approx(0.2 / 4.2)}


def test_a_lora_steps_arithmetic_is_four_a_weight_and_token_the_head_at_answers_only() -> None:
    config = Qwen2Config(
        vocab_size=100, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1
    )
    model = Qwen2ForCausalLM(config)
    assert flops_of_a_row(model, num_weights=1000, tokens=10, answer=4) == 4 * (200 * 10 + 800 * 4) + 3 * 4 * 10 * 8 / 2 * 10


@pytest.mark.parametrize("who", ["ours", "bare"])
def test_the_programs_of_a_gpu_take_the_same_steps_on_a_small_model_here(who: str) -> None:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=9000, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1
    )
    model = Qwen2ForCausalLM(config).to(torch.bfloat16).eval()
    job = {"steps": 3, "rows": 2, "tokens": 24, "prompt": 16, "rank": 4, "alpha": 8, "learning_rate": 1e-3}
    told = main(who, job, model=model, device="cpu")
    assert len(told["step_s"]) == 3
    assert told["losses"][0] == pytest.approx(9.1, abs=0.2)
    assert told["told"]["tokens_per_s"] > 0


def test_make_runs_all_of_it() -> None:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("bench-train: install"))
    assert lines[at + 1] == "\t$(RUN) $(VENV)/bin/python -m cluster.bench.train.run"
