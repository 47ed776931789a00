"""What is asked and when, decided before the first page is sent: an open loop waits for nobody. Knows no HTTP."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson
from pydantic import ValidationError

from common.contract.wire import MAX_ITEMS, RequestItem
from common.errors import BadInput

Arrivals = Literal["poisson", "uniform", "bursts"]
BURST = 10
"""Pages that come at one moment, where they come in bursts."""
Item = dict[str, object]


@dataclass(frozen=True, slots=True)
class Page:
    """`at_s`: seconds after the start at which it is sent, whatever else is under way."""

    at_s: float
    items: tuple[Item, ...]
    user: str | None


def plan(
    *,
    rate: float,
    duration_s: float,
    arrivals: Arrivals,
    sizes: Mapping[int, float],
    items: Sequence[Item],
    users: Sequence[str],
    seed: int,
) -> list[Page]:
    """`rate`: pages a second; `sizes`: items a page -> how often, in proportion; `users`: of whom each page has one, none: new users.
    The same arguments give the same plan."""
    rng = random.Random(f"liyou bench {seed}")
    moments = _moments(rng, rate=rate, duration_s=duration_s, arrivals=arrivals)
    drawn = rng.choices(list(sizes), weights=list(sizes.values()), k=len(moments))
    return [
        Page(at_s, tuple(rng.sample(items, size)), rng.choice(users) if users else None) for at_s, size in zip(moments, drawn, strict=True)
    ]


def _moments(rng: random.Random, *, rate: float, duration_s: float, arrivals: Arrivals) -> list[float]:
    moments, at_s = [], 0.0
    while at_s < duration_s:
        moments += [at_s] * (BURST if arrivals == "bursts" else 1)
        gap_s = BURST / rate if arrivals == "bursts" else 1 / rate
        at_s += gap_s if arrivals == "uniform" else rng.expovariate(1 / gap_s)
    return moments


def parse_sizes(text: str) -> dict[int, float]:
    """`20` or `20:0.8,1:0.2`: items a page, and how often. Raises BadInput."""
    sizes: dict[int, float] = {}
    for part in text.split(","):
        size, _, weight = part.partition(":")
        try:
            sizes[int(size)] = float(weight or 1)
        except ValueError as error:
            raise BadInput(f"--pages: got {part!r}; expected ITEMS or ITEMS:SHARE, for example 20:0.8,1:0.2") from error
    if wrong := [size for size in sizes if not 1 <= size <= MAX_ITEMS]:
        raise BadInput(f"--pages: got {wrong[0]} items; expected 1 to {MAX_ITEMS}")
    if min(sizes.values()) < 0 or sum(sizes.values()) <= 0:
        raise BadInput(f"--pages: got {text}; expected shares of 0 or more, one of them above 0")
    return sizes


def read_items(path: Path, *, largest: int) -> list[Item]:
    """A line an item: a product's id, or JSON: an item of a request, or a row of a `products` table, of which the id is taken.

    Raises BadInput naming the line, or when there are fewer items than the `largest` page has.
    """
    found: list[Item] = []
    for number, line in enumerate(_lines(path), 1):
        if not line.startswith("{"):
            found.append({"product_id": line})
            continue
        try:
            row = orjson.loads(line)
            item = {"product_id": row["product_id"]} if "title" in row else row
            RequestItem.model_validate(item)
        except (orjson.JSONDecodeError, KeyError, ValidationError) as error:
            raise BadInput(
                f"{path}: line {number}: expected a product's id, an item of a request, or a row of products: {error!s:.200}"
            ) from error
        found.append(item)
    if len(found) < largest:
        raise BadInput(f"{path}: {len(found)} products; a page of {largest} needs as many different ones")
    return found


def read_users(path: Path) -> list[str]:
    """A line a user: an id, or a row of JSON with `user_id`."""
    return [str(orjson.loads(line)["user_id"]) if line.startswith("{") else line for line in _lines(path)]


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read as lines of text: {error}") from error
