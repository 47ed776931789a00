"""`make bench-train`: our supervised step beside TRL's SFTTrainer and a bare PyTorch loop, our adversarial step beside TRL's GRPOTrainer.

Interleaved: every round runs each variant once in a process of its own, on the same rows, base, LoRA, batch and learning rate. Ratios are
of medians of a run's steps, one a round. What is done stands in `out/bench-train`; a run that was stopped goes on after its last round.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cluster.bench.first_run import commit, machine
from common.artifacts.digest import canonical_json, sha256_bytes
from common.config import Frozen
from common.errors import BadInput, LiyouError, Unavailable

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
console = Console(highlight=False, markup=False, soft_wrap=True)
OUT, RESULTS = Path("out/bench-train"), Path("docs/results/bench_train.json")
ROOT = Path(__file__).resolve().parents[3]
PEER = ("trl==1.16.0", "datasets==5.2.0")
WARM_UP = 2
"""Steps of a run that are not counted."""
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, slots=True)
class Part:
    """`programs`: who -> what is run; `goals`: "who precision / who precision" -> ratio of rates."""

    programs: Mapping[str, str]
    goals: Mapping[str, float]

    @property
    def variants(self) -> tuple[str, ...]:
        return tuple(f"{who} {precision}" for who in self.programs for precision in PRECISIONS)


PARTS = {
    "sft": Part(
        {"ours": "ours", "bare": "bare", "trl": "peer_sft"},
        # The second is our default precision on a processor with bf16 against TRL's default.
        {"ours fp32 / trl fp32": 1.5, "ours bf16 / trl fp32": 2.5, "ours fp32 / bare fp32": 0.95, "ours bf16 / bare bf16": 0.95},
    ),
    "adversarial": Part(
        {"ours": "ours_adversarial", "trl": "peer_grpo"},
        {"ours fp32 / trl fp32": 2.0, "ours bf16 / trl bf16": 2.0, "ours bf16 / trl fp32": 2.0},
    ),
}
"""Both sides of `adversarial` take as many prompts and samples a step, so that steps a second compare as samples a second. Ours also trains
the discriminator and reads real rows; TRL's asks it, frozen."""


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
    only: Annotated[str | None, typer.Option(help=f"one part: {', '.join(PARTS)}")] = None,
    steps: Annotated[int, typer.Option(min=WARM_UP + 1, help="supervised steps of a run, of 32 rows")] = 20,
    adversarial_steps: Annotated[int, typer.Option(min=WARM_UP + 1, help="adversarial steps of a run, of 16 prompts x 8 samples")] = 5,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Rates, losses and peak memory of all variants; half an hour on an idle core. What another call has measured stays in the results."""
    if only is not None and only not in PARTS:
        raise BadInput(f"--only: got {only!r}; expected one of {', '.join(PARTS)}")
    OUT.mkdir(parents=True, exist_ok=True)
    python = peer_python()
    told = json.loads(RESULTS.read_bytes()) if RESULTS.is_file() else {}
    for name in [only] if only else list(PARTS):
        job = make_job(steps=steps) if name == "sft" else adversarial_job(steps=adversarial_steps)
        done = rounds_of(name, {**job, "threads": threads}, rounds=rounds, python=python)
        told[name] = summary(name, done, threads=threads)
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        for ratio, found in told[name]["ratios"].items():
            console.print(f"{name:<12} {ratio:<24} {found['median']:.2f} [{found['low']:.2f}, {found['high']:.2f}], goal {found['goal']}")


def rounds_of(name: str, job: Mapping[str, Any], *, rounds: int, python: str) -> list[Round]:
    """Those that are kept, and the rest anew; every second one in the opposite order."""
    part = PARTS[name]
    kept = OUT / f"{name}-{sha256_bytes(canonical_json(dict(job)))[:12]}.json"
    done: list[dict[str, Made]] = []
    if kept.is_file():
        done = [{variant: Made.model_validate(one) for variant, one in row.items()} for row in json.loads(kept.read_bytes())]
    for number in range(len(done), rounds):
        made = {}
        for variant in part.variants if number % 2 == 0 else part.variants[::-1]:
            made[variant] = run_variant(part, variant, job, python=python)
            console.print(f"{name} round {number + 1} of {rounds}: {variant} {made[variant].steps_per_s:.3f} steps/s")
        done.append({variant: made[variant] for variant in part.variants})
        kept.write_text(json.dumps([{variant: one.model_dump() for variant, one in row.items()} for row in done]))
    return list(done[:rounds])


def summary(name: str, rounds: Sequence[Round], *, threads: int) -> dict[str, Any]:
    """All runs, and each goal's ratio: median, least and most over the rounds."""
    part, ratios = PARTS[name], {}
    for ratio, goal in part.goals.items():
        ours, theirs = ratio.split(" / ")
        found = [row[ours].steps_per_s / row[theirs].steps_per_s for row in rounds]
        ratios[ratio] = {"median": statistics.median(found), "low": min(found), "high": max(found), "goal": goal}
    return {
        "command": f"make bench-train, part {name}",
        "commit": commit(),
        "machine": machine(),
        "threads": threads,
        "peer": list(PEER),
        "ratios": ratios,
        "steps_per_s": {variant: [round(row[variant].steps_per_s, 4) for row in rounds] for variant in part.variants},
        "peak_mib": {variant: round(max(row[variant].peak_mib for row in rounds)) for variant in part.variants},
        "losses": {variant: [round(loss, 4) for loss in rounds[0][variant].losses] for variant in part.variants},
    }


def run_variant(part: Part, variant: str, job: Mapping[str, Any], *, python: str) -> Made:
    """Raises Unavailable with the end of what the process said."""
    who, precision = variant.split()
    told = {**job, "bf16": precision == "bf16", "scratch": str(OUT / "scratch")}
    (OUT / "job.json").write_text(json.dumps(told))
    out = OUT / "made.json"
    out.unlink(missing_ok=True)
    program = [python if who == "trl" else sys.executable, "-m", f"cluster.bench.train.{part.programs[who]}"]
    env = {**os.environ, "OMP_NUM_THREADS": str(job["threads"]), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    env["PYTHONPATH"] = str(ROOT)
    ran = subprocess.run([*program, str(OUT / "job.json"), str(out)], env=env, capture_output=True, text=True, check=False)
    if ran.returncode or not out.is_file():
        raise Unavailable(f"{variant}: exit code {ran.returncode}: {(ran.stderr or ran.stdout)[-2000:]}")
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
    from common.language.base_model import load_base
    from common.language.prompt import build_prompt
    from common.language.tokens import encode_example
    from common.packs.load import load_pack
    from train_app.data.examples import examples
    from train_app.stages.sft import batches

    language, vocabulary = load_base("starter", dtype="float32"), load_pack("shop").vocabulary
    encoded = [
        encode_example(build_prompt(one.context, vocabulary=vocabulary), one.text, language)
        for one in examples(Snapshot.open(shop()), vocabulary=vocabulary)
    ]
    order = batches([len(one.ids) for one in encoded], batch_size=32, seed=0)[:steps]
    return {
        "base": str(ROOT / "common" / "starter" / "base"),
        "batches": [[(list(encoded[row].ids), encoded[row].prompt_len) for row in batch] for batch in order],
        "rank": 16,
        "alpha": 32,
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
    }


def adversarial_job(*, steps: int) -> dict[str, Any]:
    """The starter bundle merged, a fresh LoRA on it, and the bundle's discriminator."""
    return {
        "bundle": str(ROOT / "common" / "starter" / "bundle"),
        "snapshot": shop(),
        "steps": steps,
        "prompts": 16,
        "samples": 8,
        "max_new_tokens": 72,
        "rank": 16,
        "alpha": 32,
    }


def shop() -> str:
    """A snapshot of a simulated shop."""
    from common.features.snapshot_build import build_snapshot
    from train_app.sample_shop.generate import generate_shop

    if not (OUT / "snapshot" / "manifest.json").is_file():
        generate_shop(OUT / "raw", seed=0, users=200, products=800, reasons=2400)
        build_snapshot(OUT / "raw", OUT / "snapshot")
    return str(OUT / "snapshot")


def main() -> None:
    try:
        app()
    except LiyouError as error:
        sys.exit(f"bench-train: {error}")


if __name__ == "__main__":
    main()
