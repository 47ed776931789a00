"""sentences.yaml: what is true of goods and people passes, what is false or known to nobody does not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.domain.context import BehaviorSummary, Context
from common.domain.event import Event
from common.domain.money import money
from common.domain.product import Attribute, Product
from common.features.summarize import shop_day, summarize
from common.packs.load import load_pack
from common.quality.facts import FactFinder, check_facts

TOLD = yaml.safe_load((Path(__file__).parent / "sentences.yaml").read_text("utf-8"))
NOW = datetime(2025, 11, 20, 4, tzinfo=UTC)
PACK = load_pack("shop")
FINDER = FactFinder(PACK.facts, knowledge=PACK.knowledge)


def product(name: str) -> Product:
    row: dict[str, Any] = dict(TOLD["goods"][name])
    attributes = tuple(Attribute(key=key, value=str(value)) for key, value in row.pop("attributes").items())
    price = row.pop("price", None)
    return Product(product_id=name, attributes=attributes, price=None if price is None else money(price), **row)


GOODS = {name: product(name) for name in TOLD["goods"]}


def past(name: str) -> BehaviorSummary:
    events = [
        Event(
            event_id=str(number),
            user_id="u",
            product_id=row["goods"],
            kind=row["kind"],
            at=NOW - timedelta(days=row["days"]),
            rating=row.get("rating"),
            text=row.get("text"),
        )
        for number, row in enumerate(TOLD["pasts"].get(name, []))
    ]
    return summarize(events, at=NOW, products=GOODS)


def cases(label: str) -> list[Any]:
    return [
        pytest.param(group["goods"], group.get("past", "nobody"), text, id=f"{group['kind']}-{group['goods']}-{text}")
        for group in TOLD["sentences"]
        for text in group.get(label, [])
    ]


def passes(goods: str, who: str, text: str) -> tuple[bool, list[Any]]:
    claims = FINDER.find(text, context=Context(product=GOODS[goods], behavior=past(who), on=shop_day(NOW)))
    return check_facts(claims).passed, [claim for claim in claims if not claim.supported]


@pytest.mark.parametrize(("goods", "who", "text"), cases("known"))
def test_what_the_facts_bear_out_passes(goods: str, who: str, text: str) -> None:
    assert passes(goods, who, text) == (True, [])


@pytest.mark.parametrize(("goods", "who", "text"), cases("unknown"))
def test_what_is_false_or_known_to_nobody_is_refused(goods: str, who: str, text: str) -> None:
    assert not passes(goods, who, text)[0]
