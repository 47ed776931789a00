"""`liyou tune CONFIG`: a study with a live table of its trials; the last lines say what won, against what, and where the bundle is."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cluster.commands.train import read_with_training
from cluster.session import connect

if TYPE_CHECKING:
    from train_app.stages.state import Progress
    from tune_app.config import TuneConfig
    from tune_app.result import TuneResult
    from tune_app.watching import Row

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
PRESETS = Path(__file__).resolve().parents[2] / "tune_app" / "configs"
MAX_COLUMNS = 6
"""Searched fields that the live table shows; the report has them all."""


def presets() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


@app.command()
def tune(
    config: Annotated[str, typer.Argument(help=f"a YAML file with the fields of tune_app/config.py, or a preset: {', '.join(presets())}")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, for example num_trials=40 train.out=/tmp/study")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with a study whose driver died; finished trials are not run again")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout, trials as JSON lines on stderr")] = False,
    address: Annotated[str | None, typer.Option(help="of a running Ray cluster; left out, one is started on this machine")] = None,
) -> None:
    """Search weightings, LoRA rank and other fields of a training; the winner becomes a bundle with the study in its manifest.

    Every trial is a training from SFT to selection on validation; those that differ only after SFT share it. Two trials are always there:
    the configuration as it stands, and the same with the discriminator's rewards weighted 0.
    """
    from tune_app.search import tune as search

    chosen = read_study(config, overrides or [])
    runtime = chosen.train.runtime
    # A driver and the workers for each trial, and one more run for a shared start.
    num_cpus = (chosen.max_concurrent + 1) * (1 + runtime.num_workers)
    with connect(num_cpus=None if address else num_cpus, address=address, num_threads=runtime.threads_per_worker, dashboard=True):
        if as_json:
            result = search(chosen, _json_lines(), resume=resume, clock=time.monotonic)
            print(orjson.dumps(result.model_dump(mode="json")).decode())
            return
        with live_table(chosen) as show:
            result = search(chosen, show, resume=resume, clock=time.monotonic)
    tell(result)


def read_study(name: str, overrides: Sequence[str]) -> "TuneConfig":
    from tune_app.config import TuneConfig

    return read_with_training(name, TuneConfig, overrides, presets=PRESETS)


def _json_lines() -> "Callable[[Sequence[Row], Mapping[str, Progress]], None]":
    said: set[bytes] = set()

    def show(rows: "Sequence[Row]", now: "Mapping[str, Progress]") -> None:
        for line in (orjson.dumps(row.model_dump(mode="json")) for row in rows):
            if line not in said:
                said.add(line)
                print(line.decode(), file=sys.stderr, flush=True)

    return show


@contextmanager
def live_table(config: "TuneConfig") -> "Iterator[Callable[[Sequence[Row], Mapping[str, Progress]], None]]":
    """The trials with what they have reported, and under them what is being trained."""
    shown: list[Row] = []
    with Live(console=Console(stderr=True), auto_refresh=False) as live:

        def show(rows: "Sequence[Row]", now: "Mapping[str, Progress]") -> None:
            shown[:] = rows or shown
            live.update(Group(table_of(config, shown), *(Text(line) for line in _lines(shown, now))), refresh=True)

        yield show


def table_of(config: "TuneConfig", rows: "Sequence[Row]") -> Table:
    names = list(config.space)[:MAX_COLUMNS]
    more = f"; {len(config.space) - len(names)} more fields in the report" if len(config.space) > len(names) else ""
    table = Table(title=f"study {config.name}: {len(rows)} of {config.num_trials} trials{more}", title_justify="left", box=None)
    for heading in ("trial", "status", *(name.rpartition(".")[2] for name in names), "round", "candidate", "joint", "best", "guard rails"):
        table.add_column(heading)
    for row in rows:
        values = [f"{value:.3g}" if isinstance(value := row.values.get(name), float) else str(value) for name in names]
        kind = "default" if row.values == config.default else "no discriminator" if row.values == config.no_discriminator else ""
        best = "" if row.objective is None else "infeasible" if row.objective < 0 else f"{row.objective:.3f}"
        joint = row.told.get("joint")
        table.add_row(
            f"{row.number} {kind}".strip(),
            row.status,
            *values,
            f"{min(row.round, config.num_rounds)}/{config.num_rounds}",
            str(row.told.get("candidate", "")),
            f"{joint:.3f}" if isinstance(joint, float) else "",
            best,
            str(row.told.get("broken", "")),
        )
    return table


def _lines(rows: "Sequence[Row]", now: "Mapping[str, Progress]") -> list[str]:
    numbers = {row.trial_id: f"trial {row.number}" for row in rows}
    return [f"  {numbers.get(who, who)}: {one.stage} {one.step}/{one.total} {one.note}".rstrip() for who, one in now.items()]


def tell(result: "TuneResult") -> None:
    counts = ", ".join(f"{count} {status}" for status in ("finished", "stopped early", "failed") if (count := result.num(status)))
    print(f"trials     {len(result.trials)}: {counts}")
    print(f"SFT        begun {sum(result.sft_begun.values())} times for {sum(bool(trial.start) for trial in result.trials)} trials")
    for trial in result.trials:
        if trial.kind != "search" or trial.number == result.winner:
            kind = trial.kind if trial.number != result.winner else f"winner ({trial.kind})"
            print(f"{'joint':<10} {'infeasible' if trial.objective < 0 else f'{trial.objective:.3f}'}  trial {trial.number}, {kind}")
    if result.winner is None:
        print("winner     none: no trial kept the guard rails; the default was gone on with")
    print(f"selected   {result.bundle.selected}")
    print(f"bundle     {result.bundle.bundle_id}")
    print(f"at         {result.bundle.bundle_path}")
    print(f"report     {result.report}")
