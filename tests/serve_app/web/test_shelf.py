"""What the page lists of a snapshot."""

from pathlib import Path
from typing import Any

import pytest

from common.errors import BadInput
from common.features.snapshot import Snapshot
from common.features.snapshot_build import build_snapshot
from serve_app.web.shelf import PAGE, Shelf


@pytest.fixture
def shelf(served: Any) -> Shelf:
    return Shelf(served.snapshot, served.live.pack.vocabulary)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("蓝牙耳机", {"p1"}),  # the title and the category
        ("耳机", {"p1", "p4"}),
        ("云朵 30小时", {"p1"}),  # both words, of attributes
        ("云朵 跑鞋", set()),
        ("anc HEADPHONES", {"p4"}),
        ("<IMG", {"p3"}),
        ('"document.title=', {"p3"}),  # as JSON writes it, a quotation mark is another
        ("续航", set()),  # the name of an attribute is on too many products
        ("product_id", set()),
        (".*", set()),
    ],
)
def test_products_are_found_by_words_in_title_category_and_attributes(shelf: Shelf, words: str, found: set[str]) -> None:
    assert {product.product_id for product in shelf.products(words, offset=0).products} == found


def test_pages_follow_one_another_and_hold_each_product_once(shelf: Shelf) -> None:
    first = shelf.products("台灯", offset=0)
    assert (len(first.products), first.next_offset) == (PAGE, PAGE)
    second = shelf.products("台灯", offset=PAGE)
    assert (len(second.products), second.next_offset) == (11 - PAGE, None)
    assert len({product.product_id for product in (*first.products, *second.products)}) == 11
    everything = shelf.products("  ", offset=0)
    assert len(everything.products) == PAGE


def test_a_search_that_would_read_a_whole_catalogue_in_vain_is_refused(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.web.shelf.MAX_READ", 10)
    assert len(shelf.products("", offset=0).products) == PAGE
    assert {product.product_id for product in shelf.products("云朵", offset=0).products} == {"p1"}
    with pytest.raises(BadInput, match="q: 'product_id' is not found in 10 products"):
        shelf.products("product_id", offset=0)


def test_users_with_many_and_with_few_events_are_listed_with_what_they_did_last(shelf: Shelf) -> None:
    shop = shelf.shop()
    assert [(user.user_id, user.num_events) for user in shop.users] == [("u-much", 9), ("u-some", 3), ("u-once", 1)]
    assert shop.users[0].lately == {"viewed": "轻云跑鞋"}


def test_of_many_users_a_few_are_listed_from_the_busiest_to_the_least(tmp_path: Path, shelf: Shelf) -> None:
    event = '{"event_id": "%d-%d", "user_id": "u%d", "product_id": "p1", "kind": "view", "at": "2026-05-01T12:00:00+08:00"}'
    events = [event % (user, number, user) for user in range(30) for number in range(user + 1)]
    (tmp_path / "events.jsonl").write_text("\n".join(events), encoding="utf-8")
    (tmp_path / "products.jsonl").write_text('{"product_id": "p1", "title": "台灯", "category": "台灯"}', encoding="utf-8")
    build_snapshot(tmp_path, tmp_path / "snapshot")
    users = Shelf(Snapshot.open(tmp_path / "snapshot"), shelf.vocabulary).shop().users
    assert [user.num_events for user in users] == [30, 26, 22, 18, 14, 10, 6, 1]


def test_a_shop_without_users_has_none_to_choose(tmp_path: Path, shelf: Shelf) -> None:
    (tmp_path / "products.jsonl").write_text('{"product_id": "p1", "title": "台灯", "category": "台灯"}', encoding="utf-8")
    build_snapshot(tmp_path, tmp_path / "snapshot")
    assert Shelf(Snapshot.open(tmp_path / "snapshot"), shelf.vocabulary).shop().users == ()
