"""`make bench-train`: our training steps beside TRL's, a bare loop's, `generate`'s and plain DDP's; where their time goes.

Interleaved: every round runs each variant once in a process of its own, on the same rows, base, LoRA, batch and learning rate. Ratios are
of medians of a run's steps, one a round. What is done stands in `out/bench-train`; a run that was stopped goes on after its last round.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import Field
from rich.console import Console

from cluster.bench.first_run import commit, machine
from cluster.bench.train.jobs import OUT, ROOT, adversarial_job, cuda_job, sft_job, shares_job, smoke_job, training_job
from cluster.session import KEEPING
from common.artifacts.digest import canonical_json, sha256_bytes
from common.config import Frozen
from common.errors import BadInput, LiyouError, Unavailable

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
console = Console(highlight=False, markup=False, soft_wrap=True)
RESULTS = Path("docs/results/bench_train.json")
PEER = ("trl==1.16.0", "datasets==5.2.0")
WARM_UP = 2
"""Steps of a run that are not counted."""
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, slots=True)
class Part:
    """`programs`: who -> module of this folder and its first arguments; `goals`: "who precision / who precision" -> ratio of rates."""

    job: Callable[..., dict[str, Any]]
    programs: Mapping[str, str]
    goals: Mapping[str, float] = field(default_factory=dict)
    precisions: tuple[str, ...] = PRECISIONS
    cores: int = 1
    gpu: bool = False

    @property
    def variants(self) -> tuple[str, ...]:
        return tuple(f"{who} {precision}" for who in self.programs for precision in self.precisions)

    def not_run(self) -> str:
        """Why this machine cannot; empty where it can."""
        if self.gpu:
            import torch

            return "" if torch.cuda.is_available() else "CUDA finds no GPU here"
        have = len(os.sched_getaffinity(0))
        return "" if have >= self.cores else f"wants a core for each of {self.cores} workers; this process may use {have}"


PARTS = {
    "sft": Part(
        sft_job,
        {"ours": "ours", "bare": "peers.bare", "trl": "peers.trl_sft"},
        # The second is our default precision on a processor with bf16 against TRL's default.
        {"ours fp32 / trl fp32": 1.5, "ours bf16 / trl fp32": 2.5, "ours fp32 / bare fp32": 0.95, "ours bf16 / bare bf16": 0.95},
    ),
    "loop": Part(sft_job, {"ours": "ours", "tight": "peers.tight"}, {"ours fp32 / tight fp32": 0.95, "ours bf16 / tight bf16": 0.95}),
    "adversarial": Part(
        adversarial_job,
        {"ours": "ours_adversarial", "generate": "peers.generate", "trl": "peers.trl_grpo"},
        {
            "ours fp32 / trl fp32": 2.0,
            "ours bf16 / trl bf16": 2.0,
            "ours bf16 / trl fp32": 2.0,
            "ours bf16 / generate fp32": 1.8,
        },
    ),
    "workers": Part(
        training_job,
        {"ray 2": "ray_workers 2 sft", "ddp 2": "peers.ddp 2", "ray 1": "ray_workers 1 sft"},
        {f"ray 2 {dtype} / {other} {dtype}": goal for dtype in PRECISIONS for other, goal in (("ddp 2", 0.95), ("ray 1", 1.7))},
        cores=2,
    ),
    "fixed": Part(smoke_job, {"sft alone": "ray_workers 1 sft", "all stages": "ray_workers 1 selection"}, precisions=("fp32",)),
    "shares": Part(shares_job, {"sft": "shares sft 1", "adversarial": "shares adversarial 1"}),
    "shares of two": Part(shares_job, {"sft": "shares sft 2", "adversarial": "shares adversarial 2"}, precisions=("bf16",), cores=2),
    "cuda": Part(cuda_job, {"ours": "cuda ours", "bare": "cuda bare"}, {"ours bf16 / bare bf16": 0.95}, precisions=("bf16",), gpu=True),
}
"""All of `adversarial` take as many prompts and samples a step, so that steps a second compare as samples a second. Ours also trains
the discriminator and reads real rows; TRL's asks it, frozen; `generate` is our step with transformers' generate in place of our engine."""
LONG = ("sft", "loop", "workers", "cuda")
"""Parts of `--steps`; the others' steps are longer, and fewer."""


class Made(Frozen):
    """What a variant's process told."""

    losses: list[float]
    step_s: list[float]
    peak_mib: float
    told: dict[str, float] = Field(default_factory=dict, description="whatever else it found out")

    @property
    def steps_per_s(self) -> float | None:
        """None where hardly a step was made."""
        return 1 / statistics.median(self.step_s[WARM_UP:]) if len(self.step_s) > WARM_UP else None


Round = Mapping[str, Made]


@app.command()
def bench(
    rounds: Annotated[int, typer.Option(min=1, help="each runs every variant once")] = 5,
    only: Annotated[str | None, typer.Option(help=f"one part: {', '.join(PARTS)}")] = None,
    steps: Annotated[int, typer.Option(min=WARM_UP + 3, help="supervised steps of a run, of 32 rows")] = 20,
    adversarial_steps: Annotated[int, typer.Option(min=WARM_UP + 2, help="adversarial steps of a run, of 16 prompts x 8 samples")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="of a worker")] = 1,
) -> None:
    """Rates, losses and peak memory of all variants; two hours on two idle cores. What another call has measured stays in the results."""
    if only is not None and only not in PARTS:
        raise BadInput(f"--only: got {only!r}; expected one of {', '.join(PARTS)}")
    (OUT / "scratch").mkdir(parents=True, exist_ok=True)
    told = json.loads(RESULTS.read_bytes()) if RESULTS.is_file() else {}
    for name in [only] if only else list(PARTS):
        if why := PARTS[name].not_run():
            console.print(f"{name}: not run: {why}")
            told.setdefault(name, {"not_run": why})
        else:
            job = PARTS[name].job(steps=steps if name in LONG else adversarial_steps)
            told[name] = summary(name, rounds_of(name, {**job, "threads": threads}, rounds=rounds), threads=threads)
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        for line in lines_of(name, told[name]):
            console.print(line)


def lines_of(name: str, found: Mapping[str, Any]) -> list[str]:
    """A part's ratios and what its variants told, a line each."""
    ratios = [
        f"{name:<12} {ratio:<28} {one['median']:.2f} [{one['low']:.2f}, {one['high']:.2f}], goal {one['goal']}"
        for ratio, one in found.get("ratios", {}).items()
    ]
    told = [
        f"{name:<12} {who}: " + ", ".join(f"{what} {value:.3g}" for what, value in of.items()) for who, of in found.get("told", {}).items()
    ]
    return ratios + told


def rounds_of(name: str, job: Mapping[str, Any], *, rounds: int) -> list[Round]:
    """Those that are kept, and the rest anew; every second one in the opposite order."""
    part = PARTS[name]
    kept = OUT / f"{name.replace(' ', '-')}-{sha256_bytes(canonical_json(dict(job)))[:12]}.json"
    done: list[dict[str, Made]] = []
    if kept.is_file():
        rows = [{variant: Made.model_validate(one) for variant, one in row.items()} for row in json.loads(kept.read_bytes())]
        done = [row for row in rows if row.keys() >= set(part.variants)]
    for number in range(len(done), rounds):
        made = {}
        for variant in part.variants if number % 2 == 0 else part.variants[::-1]:
            made[variant] = run_variant(part, variant, job)
            rate = made[variant].steps_per_s
            console.print(f"{name} round {number + 1} of {rounds}: {variant}" + ("" if rate is None else f" {rate:.3f} steps/s"))
        done.append({variant: made[variant] for variant in part.variants})
        kept.write_text(json.dumps([{variant: one.model_dump() for variant, one in row.items()} for row in done]))
    return list(done[:rounds])


def summary(name: str, rounds: Sequence[Round], *, threads: int) -> dict[str, Any]:
    """All runs, and each goal's ratio: median, least and most over the rounds. `told` are means over the rounds."""
    part, ratios = PARTS[name], {}
    rates = {variant: [row[variant].steps_per_s for row in rounds] for variant in part.variants}
    for ratio, goal in part.goals.items():
        ours, theirs = ratio.split(" / ")
        found = [one / other for one, other in zip(rates[ours], rates[theirs], strict=True) if one is not None and other is not None]
        ratios[ratio] = {"median": statistics.median(found), "low": min(found), "high": max(found), "goal": goal}
    return {
        "command": f"make bench-train, part {name}",
        "commit": commit(),
        "machine": machine(),
        "threads": threads,
        "peer": list(PEER),
        "ratios": ratios,
        "steps_per_s": {variant: [None if one is None else round(one, 4) for one in found] for variant, found in rates.items()},
        "peak_mib": {variant: round(max(row[variant].peak_mib for row in rounds)) for variant in part.variants},
        "losses": {variant: [round(loss, 4) for loss in rounds[0][variant].losses] for variant in part.variants},
        "told": {variant: means([row[variant].told for row in rounds]) for variant in part.variants if rounds[0][variant].told},
    }


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each name over the rows; a row without it counts as 0."""
    return {name: round(statistics.fmean(row.get(name, 0.0) for row in rows), 4) for name in rows[0]}


def run_variant(part: Part, variant: str, job: Mapping[str, Any]) -> Made:
    """Raises Unavailable with the end of what the process said."""
    who, _, precision = variant.rpartition(" ")
    told = {**job, "bf16": precision == "bf16", "scratch": str(OUT / "scratch")}
    (OUT / "job.json").write_text(json.dumps(told))
    out = OUT / "made.json"
    out.unlink(missing_ok=True)
    module, *words = part.programs[who].split()
    program = [peer_python() if who == "trl" else sys.executable, "-m", f"cluster.bench.train.{module}", *words]
    # glibc keeps memory between steps as in our workers, for both sides: TRL's steps gain by it too.
    env = {**os.environ, **KEEPING, "OMP_NUM_THREADS": str(job["threads"]), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
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


def main() -> None:
    try:
        app()
    except LiyouError as error:
        sys.exit(f"bench-train: {error}")


if __name__ == "__main__":
    main()
