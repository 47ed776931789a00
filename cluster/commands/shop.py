"""`liyou shop`: a simulated shop to try everything with, from nothing but a seed. Parses, calls, prints."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cluster.commands.data import Json, show_report
from common.errors import BadInput

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="A simulated shop: catalogue, people, behaviour, tastes and annotated reasons. Invented, and said so in its tables.",
)


@app.callback()
def shop() -> None:
    """A simulated shop: catalogue, people, behaviour, tastes and annotated reasons. Invented, and said so in its tables."""


@app.command()
def generate(
    out: Annotated[Path, typer.Option("--out", help="folder for the raw tables; new or empty")],
    seed: Annotated[int, typer.Option(min=0, help="the same seed and sizes write the same bytes; the starter base saw other seeds")] = 0,
    users: Annotated[int, typer.Option(min=1, help="people with interests, a purse and a taste")] = 400,
    products: Annotated[int, typer.Option(min=50, help="products in at least twelve categories")] = 2000,
    reasons: Annotated[int, typer.Option(min=1, help="annotated reasons, a few per cent of them with known errors")] = 8000,
    errors: Annotated[float, typer.Option(min=0, max=4, help="times the usual share of erroneous reasons, which is 14 %")] = 1.0,
    as_json: Json = False,
) -> None:
    """Writes products, events, users, preferences and reasons as raw tables, and report.json with what they hold.

    Example: liyou shop generate --seed 7 --out raw/ && liyou data build raw/ --out snapshot/
    """
    from train_app.sample_shop.generate import generate_shop

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out}: exists and is not empty; name a new folder for the shop's tables")
    with progress_bars(quiet=as_json) as on_progress:
        report = generate_shop(out, seed=seed, users=users, products=products, reasons=reasons, errors=errors, on_progress=on_progress)
    show_report({"out": str(out), **report.model_dump(mode="json")}, as_json)


@contextmanager
def progress_bars(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A function that moves the bar of what is being made, on stderr so that stdout stays the result's."""
    columns = TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        yield on_progress
