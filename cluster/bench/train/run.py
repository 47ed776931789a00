"""`make bench-train`: our supervised step beside TRL's SFTTrainer and beside a bare PyTorch loop; docs/results/bench_train.json.

Interleaved: every round runs each variant once in a process of its own, on the same rows, base, LoRA, batch and learning rate. Ratios are
of medians of a run's steps, one a round. What is done stands in `out/bench-train`; a run that was stopped goes on after its last round.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cluster.bench.first_run import commit, machine
from common.config import Frozen
from common.errors import LiyouError, Unavailable

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
console = Console(highlight=False, markup=False, soft_wrap=True)
OUT, RESULTS = Path("out/bench-train"), Path("docs/results/bench_train.json")
HERE = Path(__file__).parent
PEER = ("trl==1.16.0", "datasets==5.2.0")
WARM_UP = 2
"""Steps of a run that are not counted."""
GOALS = {
    "ours fp32 / trl fp32": 1.5,
    "ours bf16 / trl fp32": 2.5,
    "ours fp32 / bare fp32": 0.95,
    "ours bf16 / bare bf16": 0.95,
}
"""Steps a second; the second one is our default precision on a processor with bf16 against TRL's default."""
VARIANTS = tuple(f"{who} {precision}" for who in ("ours", "bare", "trl") for precision in ("fp32", "bf16"))


class Made(Frozen):
    """What a variant's process told."""

    losses: list[float]
    step_s: list[float]
    peak_mib: float

    @property
    def steps_per_s(self) -> float:
        return 1 / statistics.median(self.step_s[WARM_UP:])


Round = Mapping[str, Made]


@app.command()
def bench(
    rounds: Annotated[int, typer.Option(min=1, help="each runs every variant once")] = 5,
    steps: Annotated[int, typer.Option(min=WARM_UP + 1, help="optimiser steps of a run, of 32 rows")] = 20,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Steps a second, losses and peak memory of six variants, about ten minutes on an idle core."""
    OUT.mkdir(parents=True, exist_ok=True)
    python = peer_python()
    job = {**make_job(steps=steps), "threads": threads}
    kept = OUT / f"rounds-{steps}-{threads}.json"
    done: list[dict[str, Made]] = []
    if kept.is_file():
        done = [{name: Made.model_validate(one) for name, one in row.items()} for row in json.loads(kept.read_text())]
    for number in range(len(done), rounds):
        order = VARIANTS if number % 2 == 0 else VARIANTS[::-1]
        made = {name: run_variant(name, job, python=python) for name in order}
        done.append({name: made[name] for name in VARIANTS})
        kept.write_text(json.dumps([{name: one.model_dump() for name, one in row.items()} for row in done]))
        console.print(f"round {number + 1} of {rounds}: " + ", ".join(f"{name} {one.steps_per_s:.2f}" for name, one in done[-1].items()))
    told = summary(done[:rounds], steps=steps, threads=threads)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for name, ratio in told["ratios"].items():
        console.print(f"{name:<24} {ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}], goal {ratio['goal']}")


def summary(rounds: Sequence[Round], *, steps: int, threads: int) -> dict[str, Any]:
    """All runs, and each goal's ratio: median, least and most over the rounds."""
    ratios = {}
    for name, goal in GOALS.items():
        ours, theirs = name.split(" / ")
        found = [row[ours].steps_per_s / row[theirs].steps_per_s for row in rounds]
        ratios[name] = {"median": statistics.median(found), "low": min(found), "high": max(found), "goal": goal}
    return {
        "command": "make bench-train",
        "commit": commit(),
        "machine": machine(),
        "steps": steps,
        "threads": threads,
        "peer": list(PEER),
        "ratios": ratios,
        "steps_per_s": {name: [round(row[name].steps_per_s, 4) for row in rounds] for name in VARIANTS},
        "peak_mib": {name: round(max(row[name].peak_mib for row in rounds)) for name in VARIANTS},
        "losses": {name: [round(loss, 4) for loss in rounds[0][name].losses] for name in VARIANTS},
    }


def run_variant(name: str, job: Mapping[str, Any], *, python: str) -> Made:
    """Raises Unavailable with the end of what the process said."""
    who, precision = name.split()
    told = {**job, "bf16": precision == "bf16", "scratch": str(OUT / "scratch")}
    (OUT / "job.json").write_text(json.dumps(told))
    out = OUT / "made.json"
    out.unlink(missing_ok=True)
    program = {
        "ours": [sys.executable, "-m", "cluster.bench.train.ours"],
        "bare": [sys.executable, str(HERE / "bare.py")],
        "trl": [python, str(HERE / "peer_sft.py")],
    }[who]
    env = {**os.environ, "OMP_NUM_THREADS": str(job["threads"]), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    ran = subprocess.run([*program, str(OUT / "job.json"), str(out)], env=env, capture_output=True, text=True, check=False)
    if ran.returncode or not out.is_file():
        raise Unavailable(f"{name}: exit code {ran.returncode}: {(ran.stderr or ran.stdout)[-2000:]}")
    return Made.model_validate_json(out.read_bytes())


def peer_python() -> str:
    """TRL in an environment of its own, which sees ours below it: the same torch, transformers and peft."""
    folder = OUT / "venv"
    python = folder / "bin" / "python"
    if not (folder / "ready").is_file():
        console.print(f"installing {', '.join(PEER)} into {folder}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        own = next(path for path in sys.path if path.endswith("site-packages"))
        (packages / "below.pth").write_text(f"{own}\n")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEER], check=True)
        (folder / "ready").touch()
    return str(python)


def make_job(*, steps: int) -> dict[str, Any]:
    """Batches of the starter's simulated shop as SFT would take them: [[ids, where the answer starts], …] each."""
    from common.features.snapshot import Snapshot
    from common.features.snapshot_build import build_snapshot
    from common.language.base_model import load_base
    from common.language.prompt import build_prompt
    from common.language.tokens import encode_example
    from common.packs.load import load_pack
    from train_app.data.examples import examples
    from train_app.sample_shop.generate import generate_shop
    from train_app.stages.sft import batches

    if not (OUT / "snapshot" / "manifest.json").is_file():
        generate_shop(OUT / "raw", seed=0, users=200, products=800, reasons=2400)
        build_snapshot(OUT / "raw", OUT / "snapshot")
    language, vocabulary = load_base("starter", dtype="float32"), load_pack("shop").vocabulary
    encoded = [
        encode_example(build_prompt(one.context, vocabulary=vocabulary), one.text, language)
        for one in examples(Snapshot.open(str(OUT / "snapshot")), vocabulary=vocabulary)
    ]
    order = batches([len(one.ids) for one in encoded], batch_size=32, seed=0)[:steps]
    return {
        "base": str(HERE.parents[2] / "common" / "starter" / "base"),
        "batches": [[(list(encoded[row].ids), encoded[row].prompt_len) for row in batch] for batch in order],
        "rank": 16,
        "alpha": 32,
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
    }


def main() -> None:
    try:
        app()
    except LiyouError as error:
        sys.exit(f"bench-train: {error}")


if __name__ == "__main__":
    main()
