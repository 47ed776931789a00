"""`liyou takedown`: orders that something must not be shown any more, and what stands. Parses, calls, prints."""

import getpass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from common.artifacts.storage import Storage, open_storage
from common.config import parse
from common.contract.takedown import Lift, Standing, Takedown
from common.errors import BadInput
from serve_app.state.takedown import begin as begin_orders
from serve_app.state.takedown import check_begun, give_order, read_orders

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="What must not be shown any more. Replicas know within a second (takedowns.every_s), and show, keep or vouch for it no more.",
)


class Kind(StrEnum):
    """As common/contract/takedown.py has them."""

    product = "product"
    seller = "seller"
    phrase = "phrase"
    content = "content"


Orders = Annotated[str, typer.Option("--orders", envvar="LIYOU_TAKEDOWNS", help="where they lie: takedowns.at of what is served")]
Why = Annotated[str, typer.Option(help="for whoever reads it later")]
By = Annotated[str | None, typer.Option(help="who; default: the user of this machine")]


@app.command()
def begin(orders: Orders) -> None:
    """Make a place for orders. What is served follows no other: an empty folder may be a volume that is not there."""
    new = begin_orders(open_storage(orders))
    print(f"{orders}: " + ("orders can be given" if new else "had been begun; nothing was changed"))


@app.command()
def add(
    kind: Annotated[Kind, typer.Argument(help="product: an id; seller: as products name it; phrase: in any text; content: a produce_id")],
    value: Annotated[str, typer.Argument(help="which")],
    orders: Orders,
    why: Why = "",
    by: By = None,
) -> None:
    """Take something down. A phrase is found whatever signs or spaces stand in it, in traditional characters and full width too."""
    fields = {"kind": kind.value, "value": value, "by": by or getpass.getuser(), "at": datetime.now(UTC), "why": why}
    order = parse(fields, Takedown, source="takedown")
    number = give_order(_begun(orders), order)
    print(f"order {number} stands; `liyou takedown lift {number}` ends it")


@app.command()
def lift(
    number: Annotated[int, typer.Argument(help="of the order that is over")],
    orders: Orders,
    why: Why = "",
    by: By = None,
) -> None:
    """End an order: the next answers may show it again."""
    storage = _begun(orders)
    if number not in read_orders(storage, Standing()).takedowns:
        raise BadInput(f"number: got {number}; no order of that number stands. `liyou takedown list` has those that do")
    fields = {"number": number, "by": by or getpass.getuser(), "at": datetime.now(UTC), "why": why}
    print(f"order {give_order(storage, parse(fields, Lift, source='lift'))}: order {number} is over")


@app.command("list")
def list_orders(orders: Orders) -> None:
    """The orders that stand, a line each."""
    standing = read_orders(_begun(orders), Standing())
    for number, order in standing.takedowns.items():
        print(
            f"{number:>4}  {order.kind:<8} {order.value}  by {order.by}, {order.at:%Y-%m-%d %H:%M}"
            + (f": {order.why}" if order.why else "")
        )
    print(f"{len(standing.takedowns)} stand, of {standing.last} orders given")


def _begun(orders: str) -> Storage:
    storage = open_storage(orders)
    check_begun(storage)
    return storage
