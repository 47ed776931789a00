"""`liyou study CONFIG`: arms x seeds with a line for each arm while it runs; the last lines say who beats whom by how much."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from cluster.commands.train import read_with_training
from cluster.session import connect

if TYPE_CHECKING:
    from train_app.stages.state import Progress
    from train_app.study.config import StudyConfig
    from train_app.study.figures import SeedResult
    from train_app.study.summary import Summary

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
PRESETS = Path(__file__).resolve().parents[2] / "train_app" / "study" / "configs"


def presets() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


@app.command()
def study(
    config: Annotated[
        str, typer.Argument(help=f"a YAML file with the fields of train_app/study/config.py, or a preset: {', '.join(presets())}")
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, for example seeds=[5] prompts=500 train.out=/tmp/study")] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="folder of seed-N.json, summary.json and report.html; default: below train.out. What is there stands"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the summary as JSON on stdout, progress as JSON lines on stderr")] = False,
    address: Annotated[str | None, typer.Option(help="of a running Ray cluster; left out, one is started on this machine")] = None,
) -> None:
    """Compare ways to train on the same start, prompts and random numbers.

    For each seed SFT and the first discriminator are trained once; every arm goes on from there and is measured on test. A seed is kept
    when all its arms are done; a killed study goes on with the same command. Example: liyou study smoke
    """
    from train_app.study.run import study as run

    chosen = read_study(config, overrides or [])
    folder = results or Path(chosen.train.out) / "studies" / chosen.name
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    with connect(
        num_cpus=None if address else chosen.concurrent,
        address=address,
        num_threads=chosen.train.runtime.threads_per_worker,
        dashboard=True,
    ):
        if as_json:
            summary = run(chosen, results=folder, tell=_json_line, commit=commit)
            print(orjson.dumps(summary.model_dump(mode="json", exclude={"comparisons"})).decode())
            return
        with live_lines() as (show, on_seed):
            summary = run(chosen, results=folder, tell=show, on_seed=on_seed, commit=commit)
    tell(chosen, summary)
    print(f"report     {folder}/report.html")


def read_study(name: str, overrides: list[str]) -> "StudyConfig":
    from train_app.study.config import StudyConfig

    return read_with_training(name, StudyConfig, overrides, presets=PRESETS)


def _json_line(who: str, progress: "Progress") -> None:
    told = {"who": who, **progress.model_dump(mode="json", exclude={"texts"})}
    sys.stderr.write(orjson.dumps(told).decode() + "\n")


@contextmanager
def live_lines() -> "Iterator[tuple[Callable[[str, Progress], None], Callable[[SeedResult, Summary], None]]]":
    """What each arm is at; a line that stays for each seed that is done. Without a terminal: when each stage began, a line each."""
    now: dict[str, Progress] = {}
    lock = threading.Lock()
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    with Live(console=console, auto_refresh=False) as live:

        def show(who: str, progress: "Progress") -> None:
            with lock:
                if not console.is_terminal and (who not in now or now[who].stage != progress.stage):
                    console.print(f"{datetime.now():%H:%M:%S}  {who:<10} {progress.stage}, {progress.total} steps")
                now[who] = progress
                if console.is_terminal:
                    live.update(Group(*(Text(f"  {name:<10} {_line(one)}") for name, one in now.items())), refresh=True)

        def on_seed(result: "SeedResult", summary: "Summary") -> None:
            with lock:
                now.clear()
                shares = "  ".join(f"{name} {arm.texts['decoded'].outcomes['success'].share:.3f}" for name, arm in result.arms.items())
                console.print(f"seed {result.seed}: success under own decoding: {shares}")

        yield show, on_seed


def _line(progress: "Progress") -> str:
    return f"{progress.stage} {progress.step}/{progress.total} {progress.note}".rstrip()


def tell(config: "StudyConfig", summary: "Summary") -> None:
    for name, row in summary.means.items():
        print(f"{name:<10} {row['decoded.success']:.3f} success, {row['sampled.success']:.3f} at temperature 1   {config.arms[name].title}")
        if row["varied"] < 1:
            print(f"{'':<10} NOT VARIED: {1 - row['varied']:.0%} of its seeds found no decoding above distinct_floor")
    for bar in summary.bars:
        value = "not measured" if bar.value is None else f"{bar.value:.3f}"
        print(f"{'bar':<10} {bar.arm} {bar.figure} {value}, must lie in {bar.low} to {bar.high}{'' if bar.kept else '   NOT KEPT'}")
    gain = f"{100 * summary.s_gain:+.1f} points [{100 * summary.s_gain_low:+.1f}, {100 * summary.s_gain_high:+.1f}]"
    print(f"gain       {config.method} over {summary.best_baseline}: {gain}")
    if summary.over_control is not None and summary.over_control_low is not None:
        print(f"           over {config.control}: {100 * summary.over_control:+.1f} (at least {100 * summary.over_control_low:+.1f})")
    if summary.judge_gain is not None and summary.judge_gain_low is not None:
        print(
            f"           judge-clean over {config.verifier}: {100 * summary.judge_gain:+.1f} (at least {100 * summary.judge_gain_low:+.1f})"
        )
    if summary.a_a is not None:
        interval = f"[{100 * summary.a_a.low:+.1f}, {100 * summary.a_a.high:+.1f}]"
        print(f"           {config.baselines[0]} over itself with another seed: {100 * summary.a_a.value:+.1f} {interval}")
    if summary.hallucination_ratio is not None:
        print(f"           hallucinations {summary.hallucination_ratio:.2f} of {summary.best_baseline}'s")
