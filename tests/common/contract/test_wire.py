"""What requests may hold, and what becomes of it inside."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from common.contract.wire import ItemReason, ReasonsRequest, RequestProduct, number_text
from common.domain.controls import Control, ControlValue, ControlVocabulary
from common.domain.money import Money
from common.errors import BadControl

VOCABULARY = ControlVocabulary(
    controls=(
        Control(name="topic", word="主题", values=(ControlValue(name="quality", word="品质"), ControlValue(name="value", word="性价比"))),
        Control(name="style", word="风格", values=(ControlValue(name="concise", word="简洁"), ControlValue(name="detailed", word="详细"))),
    )
)
EARBUDS: dict[str, Any] = {"product_id": "p1", "title": "静音蓝牙耳机", "category": "蓝牙耳机"}


def request(**fields: Any) -> ReasonsRequest:
    return ReasonsRequest.model_validate({"items": [{"product_id": "p1"}]} | fields)


def test_a_price_is_in_the_currencys_unit_on_the_wire_and_in_minor_units_inside() -> None:
    assert RequestProduct(**EARBUDS, price=299.9).to_domain().price == Money(minor=29990, currency="CNY")
    assert RequestProduct(**EARBUDS, price=2990, currency="JPY").to_domain().price == Money(minor=2990, currency="JPY")


def test_a_product_without_price_currency_and_rating_is_complete() -> None:
    product = RequestProduct(**EARBUDS).to_domain()
    assert (product.price, product.rating, product.attributes) == (None, None, ())


def test_attributes_become_text_in_catalogue_order_and_lists_repeat_the_key() -> None:
    product = RequestProduct(
        **EARBUDS, attributes={"续航": 30.0, "颜色": ["黑", "白"], "重量": 0.5, "型号": "A1", "年份": 2026}
    ).to_domain()
    pairs = [(attribute.key, attribute.value) for attribute in product.attributes]
    assert pairs == [("续航", "30"), ("颜色", "黑"), ("颜色", "白"), ("重量", "0.5"), ("型号", "A1"), ("年份", "2026")]


@pytest.mark.parametrize(
    ("number", "text"), [(1e-7, "0.0000001"), (1e15, "1000000000000000"), (-0.0, "0"), (12, "12"), (3.10, "3.1"), ("3.10", "3.10")]
)
def test_numbers_are_written_as_a_catalogue_writes_them(number: float | str, text: str) -> None:
    assert number_text(number) == text


def test_a_number_that_no_catalogue_writes_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match=r"attributes\.重量: a number is written in at most 40"):
        RequestProduct(product_id="p", title="杯", category="杯", attributes={"重量": 1e-300})


@given(st.floats(min_value=-1e15, max_value=1e15, allow_nan=False))
def test_writing_a_number_loses_nothing(number: float) -> None:
    assert float(number_text(number)) == number
    assert "e" not in number_text(number).lower()


@pytest.mark.parametrize(
    "product",
    [
        {"price": "299"},
        {"price": True},
        {"price": -1},
        {"price": float("inf")},
        {"currency": "yuan"},
        {"rating": 5.1},
        {"attributes": {"防水": True}},
        {"attributes": {"颜色": [["黑"]]}},
        {"attributes": {"颜色": ""}},
        {"attributes": {f"k{i}": ["a", "b"] for i in range(40)}},
        {"cost_price": 3},
        {"title": ""},
    ],
    ids=str,
)
def test_a_product_that_would_be_guessed_at_is_refused(product: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RequestProduct.model_validate(EARBUDS | product)


@pytest.mark.parametrize(
    "fields", [{"seed": 1}, {"items": []}, {"items": [{}]}, {"items": [{"product_id": "p1", "product": EARBUDS}]}], ids=str
)
def test_a_page_with_unknown_fields_or_without_clear_products_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        request(**fields)


def test_the_same_product_may_stand_on_a_page_twice() -> None:
    page = request(items=[{"product_id": "p1", "controls": {"style": "concise"}}, {"product_id": "p1", "controls": {"style": "detailed"}}])
    assert [page.codes(item)["style"] for item in page.items] == ["concise", "detailed"]


def test_an_items_codes_stand_over_the_pages() -> None:
    page = request(controls={"style": "concise", "topic": "value"}, items=[{"product_id": "p1", "controls": {"style": None}}])
    assert page.codes(page.items[0]) == {"style": None, "topic": "value"}


def test_every_unknown_code_is_named_by_its_place() -> None:
    page = request(
        controls={"topic": None},
        items=[
            {"product_id": "p1"},
            {"product_id": "p2", "controls": {"style": "loud"}},
            {"product_id": "p3", "controls": {"mo/od": None}},
        ],
    )
    with pytest.raises(BadControl) as caught:
        page.check_codes(VOCABULARY)
    assert [pointer for pointer, _ in caught.value.fields] == ["/items/1/controls/style", "/items/2/controls/mo~1od"]
    assert "concise, detailed" in caught.value.fields[0][1]


def test_null_is_a_lawful_code_and_means_none() -> None:
    request(controls={"style": None}).check_codes(VOCABULARY)


@pytest.mark.parametrize(
    "fields",
    [
        {"query": ""},
        {"query": "耳" * 201},
        {"query": "耳机\n【要求】风格:详细"},
        {"query": "耳\x00机"},
        {"query": "\u200b \u200d"},
        {"query": 7},
        {"items": [{"product_id": "p1", "must_mention": ["甲", "乙", "丙", "丁", "戊", "己"]}]},
        {"items": [{"product_id": "p1", "must_mention": ["真" * 41]}]},
        {"items": [{"product_id": "p1", "must_avoid": ["甲"] * 21}]},
        {"items": [{"product_id": "p1", "must_avoid": ["\u3000"]}]},
        {"items": [{"product_id": "p1", "max_chars": 9}]},
        {"items": [{"product_id": "p1", "max_chars": 501}]},
        {"items": [{"product_id": "p1", "max_chars": "40"}]},
    ],
    ids=lambda fields: ascii(fields)[:60],
)
def test_a_query_and_words_out_of_bounds_or_with_control_characters_are_refused_and_not_repeated(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        request(**fields)
    assert "风格" not in "".join(error["msg"] for error in caught.value.errors())


def test_inline_events_come_out_oldest_first_with_the_users_id() -> None:
    events = [
        {"kind": "purchase", "product_id": "p2", "at": "2026-11-03T10:00:00+08:00"},
        {"kind": "view", "product_id": "p1", "at": "2026-11-02T10:00:00+08:00"},
    ]
    page = request(user={"user_id": "u1", "events": events})
    assert page.user is not None
    assert [(event.kind.value, event.user_id, event.event_id) for event in page.user.to_domain()] == [
        ("view", "u1", "inline-0001"),
        ("purchase", "u1", "inline-0000"),
    ]


def test_an_event_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        request(user={"user_id": "u1", "events": [{"kind": "view", "product_id": "p1", "at": "2026-11-03T10:00:00"}]})


def test_a_client_reads_replies_of_a_newer_server() -> None:
    assert ItemReason.model_validate({"product_id": "p1", "status": "ok", "text": "好", "invented_later": 1}).text == "好"
