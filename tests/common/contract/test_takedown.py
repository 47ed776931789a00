"""What an order bars, and what it does not."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from common.contract.takedown import Lift, Standing, Takedown, read_order
from common.domain.product import Attribute, Product

AT = datetime(2026, 11, 30, tzinfo=UTC)


def order(kind: str, value: str) -> Takedown:
    return Takedown.model_validate({"kind": kind, "value": value, "by": "law", "at": AT})


def product(product_id: str = "p1", **attributes: str) -> Product:
    listed = tuple(Attribute(key=key, value=value) for key, value in attributes.items())
    return Product(product_id=product_id, title="耳机", category="耳机", attributes=listed)


def test_a_product_is_barred_by_its_id_and_by_who_sells_it() -> None:
    standing = Standing().after([order("product", "p1"), order("seller", "某某专营店")])
    assert standing.of_product(product("p1")) == 1
    assert standing.of_product(product("p2", 店铺="某某专营店")) == 2
    assert standing.of_product(product("p2", 品牌="某某专营店")) is None
    assert standing.of_product(product("p11")) is None


@pytest.mark.parametrize("text", ["这是包邮到家的价。", "包 邮 到·家！", "包\u200b邮到家", "包郵到家", "ＡＢ包邮到家"])
def test_a_phrase_is_found_however_it_is_dressed(text: str) -> None:
    assert Standing().after([order("phrase", "包邮到家")]).of_text(text) == 1
    assert Standing().after([order("phrase", "包邮到家")]).of_text("包邮，送到家") is None


def test_what_is_lifted_is_over_and_a_later_order_of_the_same_stands() -> None:
    standing = Standing().after([order("product", "p1"), Lift(number=1, by="law", at=AT)])
    assert standing.of_product(product("p1")) is None
    assert standing.after([order("product", "p1")]).of_product(product("p1")) == 3
    twice = Standing().after([order("product", "p1"), order("product", "p1"), Lift(number=1, by="law", at=AT)])
    assert twice.of_product(product("p1")) == 2


def test_one_content_is_barred_and_its_neighbours_are_not() -> None:
    standing = Standing().after([order("content", "abc")])
    assert (standing.of_content("abc"), standing.of_content("abd")) == (1, None)
    assert standing.of_shown(product_id="p1", text="好", produce_id="abc") == 1
    assert standing.of_shown(product_id="p1", text="好", produce_id="abd") is None


@pytest.mark.parametrize("value", ["的", "  ", "！！", "a"])
def test_a_phrase_that_would_bar_half_of_all_texts_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        order("phrase", value)


@given(st.lists(st.one_of(st.sampled_from(["p1", "p2", "p3"]), st.integers(1, 9)), max_size=12))
def test_orders_read_in_parts_stand_as_those_read_at_once(steps: list[str | int]) -> None:
    orders = [order("product", one) if isinstance(one, str) else Lift(number=one, by="law", at=AT) for one in steps]
    at_once, in_parts = Standing().after(orders), Standing()
    for one in orders:
        in_parts = in_parts.after([read_order(one.model_dump_json().encode())])
    assert in_parts == at_once
    assert {number for number, one in at_once.takedowns.items()} == {
        at for at, one in enumerate(orders, 1) if isinstance(one, Takedown) and Lift(number=at, by="law", at=AT) not in orders[at:]
    }
