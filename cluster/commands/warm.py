"""`liyou warm`: have pages written before anybody asks for them, for kinds of users x lists of products. Parses, calls, prints."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import orjson
import typer
from pydantic import Field
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.client.client import LiyouClient
from cluster.load.plan import read_items
from common.config import Frozen, load_config
from common.contract.wire import MAX_ITEMS, Codes, RequestItem, RequestUser
from common.errors import BadInput, LiyouError, ProductNotFound

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
KEY = "LIYOU_API_KEY"


class WarmPlan(Frozen):
    """Every user with every set of codes, every query and every product."""

    users: tuple[RequestUser | None, ...] = Field((None,), min_length=1, description="null: a new user, of whom nothing is known")
    controls: tuple[Codes, ...] = Field(({},), min_length=1, description="{}: codes as each user's taste has them")
    channel: str | None = Field(None, description="where they are shown; null: nowhere in particular")
    queries: tuple[str | None, ...] = Field((None,), min_length=1, description="what users look for there; null: nothing")
    products: str | tuple[RequestItem, ...] = Field(
        description="items of a request, or a file of them beside this one: a line an id, or a row of products.jsonl"
    )
    page: int = Field(20, ge=1, le=MAX_ITEMS, description="items that are asked for at once")


Page = tuple[dict[str, object] | None, dict[str, str | None], str | None, list[dict[str, object]]]


@app.command()
def warm(
    plan: Annotated[Path, typer.Argument(help="YAML: users, controls, channel, queries, products; docs/cache.md")],
    serve: Annotated[str, typer.Option(help="URL of the API")] = "http://127.0.0.1:8000",
    deadline_ms: Annotated[int, typer.Option(help="that a page may take; nobody waits for it")] = 60_000,
    json: Annotated[bool, typer.Option("--json", help="the numbers as one JSON object")] = False,
) -> None:
    """Fill the cache ahead: a sale begins at eight, and its first customers shall not wait for the model.

    Pages go one after another and take one turn among all tenants, so that they slow no customer by much.
    What is kept already costs nothing: after a break, the same command goes on. The API key, where one is
    asked for, is read from LIYOU_API_KEY. Exit code 1: some pages could not be asked for at all.
    """
    wanted = load_config(plan, WarmPlan)
    pages = list(_pages(wanted, beside=plan.parent))
    counts = {"written": 0, "kept": 0, "failed": 0}
    lost: list[str] = []
    columns = (TextColumn("pages"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with LiyouClient(serve, key=os.environ.get(KEY)) as client, Progress(*columns, console=Console(stderr=True)) as progress:
        for user, controls, query, items in progress.track(pages, description="pages"):
            try:
                told = client.warm(items, user=user, controls=controls, channel=wanted.channel, query=query, deadline_ms=deadline_ms)
            except ProductNotFound:
                counts["failed"] += len(items)
                continue
            except BadInput:
                raise
            except LiyouError as error:
                if not error.retryable:
                    raise
                lost.append(str(error))
                continue
            for name in counts:
                counts[name] += getattr(told, name)
    told_lost = {"pages_lost": len(lost)}
    if json:
        print(orjson.dumps(counts | told_lost).decode())
    else:
        print(f"{counts['written']} written, {counts['kept']} kept before, {counts['failed']} not accepted or not in time")
        if lost:
            print(f"{len(lost)} of {len(pages)} pages could not be asked for; the last: {lost[-1]}")
    if lost:
        raise typer.Exit(1)


def _pages(wanted: WarmPlan, *, beside: Path) -> Iterator[Page]:
    if isinstance(wanted.products, str):
        items = read_items(beside / wanted.products, largest=1)
    else:
        items = [item.model_dump(mode="json", exclude_defaults=True) for item in wanted.products]
    for user, controls, query in itertools.product(wanted.users, wanted.controls, wanted.queries):
        asked = None if user is None else user.model_dump(mode="json", exclude_none=True)
        for start in range(0, len(items), wanted.page):
            yield asked, dict(controls), query, items[start : start + wanted.page]
