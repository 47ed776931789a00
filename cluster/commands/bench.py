"""`liyou bench`: a load as a storefront makes it, against what is served, and whether a promise was kept. Parses, calls, prints."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.load.drive import Outcome, drive
from cluster.load.plan import Arrivals, Page, parse_sizes, plan, read_items, read_users
from cluster.load.report import render
from cluster.load.verdict import Figures, Slo, breaches, doubt, figures
from common.config import load_config
from common.contract.deadline import DeadlineLimits
from common.errors import BadInput

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
KEY = "LIYOU_API_KEY"


@app.command()
def bench(
    url: Annotated[str, typer.Argument(help="of the API, http://HOST:8000")],
    products: Annotated[Path, typer.Option(help="a line an item: a product's id, JSON as a request has it, or a row of products.jsonl")],
    rate: Annotated[float, typer.Option(min=0.01, help="pages a second")],
    users: Annotated[Path | None, typer.Option(help="a line a user id; without it all are new users")] = None,
    duration_s: Annotated[float, typer.Option("--duration-s", min=1, help="seconds over which pages are due")] = 60.0,
    pages: Annotated[str, typer.Option(help="items a page, and how often: 20:0.8,1:0.2")] = "20",
    arrivals: Annotated[str, typer.Option(help="poisson, uniform, or bursts of ten")] = "poisson",
    deadline_ms: Annotated[int, typer.Option(help="X-Deadline-Ms of every page")] = 10_000,
    slo: Annotated[
        Path | None, typer.Option(help="YAML with what is promised: p99_ms, min_accepted, min_goodput, ...; docs/bench.md")
    ] = None,
    seed: Annotated[int, typer.Option(help="of moments, sizes, products and users")] = 0,
    out: Annotated[Path, typer.Option(help="HTML report")] = Path("bench.html"),
    json: Annotated[bool, typer.Option("--json", help="the figures as one JSON object on stdout")] = False,
) -> None:
    """Send pages at their own times, whatever has been answered, and judge what came back.

    An open loop, as customers are: a server that slows down gets no less to do, and what waits counts from
    when it was due. The API key, where one is asked for, is read from LIYOU_API_KEY. Exit code 1: what --slo
    promises was not kept.
    """
    limits = DeadlineLimits()
    if not limits.min_ms <= deadline_ms <= limits.max_ms:
        raise BadInput(f"--deadline-ms: got {deadline_ms}; expected {limits.min_ms} to {limits.max_ms}")
    if not url.startswith(("http://", "https://")):
        raise BadInput(f"url: got {url!r}; expected http://HOST:8000")
    promised = load_config(slo, Slo) if slo else Slo(max_errors=None)
    sizes = parse_sizes(pages)
    asked = plan(
        rate=rate,
        duration_s=duration_s,
        arrivals=_arrivals(arrivals),
        sizes=sizes,
        items=read_items(products, largest=max(sizes)),
        users=read_users(users) if users else [],
        seed=seed,
    )
    outcomes = _driven(asked, url=url, deadline_ms=deadline_ms)
    found = figures(outcomes, deadline_s=deadline_ms / 1000, duration_s=duration_s)
    broken, doubtful = breaches(found, promised), doubt(found)
    facts = {
        "sent": f"{len(asked)} pages over {duration_s:g} s, {rate:g} a second, {arrivals}, of {pages} items, seed {seed}",
        "to": url,
        "deadline": f"{deadline_ms} ms",
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
    }
    page = render(outcomes, found, slo=promised, broken=broken, doubt=doubtful, facts=facts, deadline_s=deadline_ms / 1000)
    out.write_text(page, encoding="utf-8")
    _tell(found, broken, doubtful, promised=slo is not None, out=out, json=json)
    if broken:
        raise typer.Exit(1)


def _arrivals(text: str) -> Arrivals:
    match text:
        case "poisson" | "uniform" | "bursts":
            return text
    raise BadInput(f"--arrivals: got {text!r}; expected poisson, uniform or bursts")


def _driven(asked: list[Page], *, url: str, deadline_ms: int) -> list[Outcome]:
    columns = (TextColumn("pages"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("pages", total=len(asked))
        sending = drive(
            asked,
            url=url,
            key=os.environ.get(KEY),
            deadline_ms=deadline_ms,
            on_done=lambda done: progress.update(task, completed=done),
        )
        return asyncio.run(sending)


def _tell(found: Figures, broken: list[str], doubtful: str | None, *, promised: bool, out: Path, json: bool) -> None:
    if json:
        print(orjson.dumps(found.model_dump() | {"kept": not broken if promised else None, "broken": broken, "doubt": doubtful}).decode())
        return
    print(f"latency     p50 {found.p50_ms:.0f} ms, p95 {found.p95_ms:.0f} ms, p99 {found.p99_ms:.0f} ms, longest {found.longest_ms:.0f} ms")
    print(f"in time     {found.in_time:.1%} of {found.num_pages} pages; {found.errors:.2%} failed")
    print(f"goodput     {found.goodput:.2f} accepted items in time a second, {found.accepted:.1%} of all")
    print("items       " + ", ".join(f"{name} {count}" for name, count in found.sources.items()))
    for name, counts in (("templates", found.degraded), ("failed", found.problems)):
        if counts:
            print(f"{name:<11} " + ", ".join(f"{why} {count}" for why, count in counts.items()))
    if doubtful:
        print(f"doubtful    {doubtful}")
    for line in broken:
        print(f"NOT KEPT    {line}")
    if promised and not broken:
        print("kept        all that was promised")
    print(f"report      {out}")
