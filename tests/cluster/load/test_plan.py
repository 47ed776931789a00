"""What is sent and when is decided beforehand, and a wrong wish is told."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from cluster.load.plan import parse_sizes, plan, read_items, read_users
from common.errors import BadInput

ITEMS = [{"product_id": f"p{n}"} for n in range(30)]


def made(**changes):
    wanted = {
        "rate": 20.0,
        "duration_s": 60.0,
        "arrivals": "poisson",
        "sizes": {20: 0.8, 1: 0.2},
        "items": ITEMS,
        "users": ["u1", "u2"],
        "seed": 1,
    }
    return plan(**wanted | changes)


def bunched(pages):
    """Shortest gap over the mean one: 1 for a steady load, 0 where pages come together."""
    gaps = [later.at_s - earlier.at_s for earlier, later in pairwise(pages)]
    return min(gaps) / (sum(gaps) / len(gaps)) if gaps and sum(gaps) else 1.0


@pytest.mark.parametrize("arrivals", ["poisson", "uniform", "bursts"])
def test_pages_come_at_the_rate_that_was_asked_for_and_in_the_manner(arrivals):
    pages = made(arrivals=arrivals)
    assert 1000 < len(pages) < 1400
    assert all(0 <= page.at_s < 60 for page in pages)
    together = Counter(page.at_s for page in pages).most_common(1)[0][1]
    assert together == (10 if arrivals == "bursts" else 1)
    assert (bunched(pages) > 0.99) == (arrivals == "uniform")


def test_sizes_and_users_are_mixed_and_no_product_stands_on_a_page_twice():
    pages = made()
    sizes = Counter(len(page.items) for page in pages)
    assert set(sizes) == {20, 1}
    assert 0.7 < sizes[20] / len(pages) < 0.9
    assert {page.user for page in pages} == {"u1", "u2"}
    assert all(len({item["product_id"] for item in page.items}) == len(page.items) for page in pages)
    assert {page.user for page in made(users=[])} == {None}


def test_the_same_seed_is_the_same_load():
    assert made() == made()
    assert made() != made(seed=2)


@pytest.mark.parametrize("text", ["", "twenty", "20:many", "0", "51", "20:-1,1:2", "20:0"])
def test_sizes_that_are_none_are_refused(text):
    with pytest.raises(BadInput, match="--pages"):
        parse_sizes(text)


def test_sizes_are_read():
    assert parse_sizes("20") == {20: 1.0}
    assert parse_sizes("20:0.8,1:0.2") == {20: 0.8, 1: 0.2}


def test_items_are_ids_parts_of_requests_or_rows_of_products(tmp_path: Path):
    path = tmp_path / "items"
    path.write_text(
        'p1\n\n{"product_id": "p2", "controls": {"style": "concise"}}\n{"product_id": "p3", "title": "耳机", "category": "耳机"}\n'
    )
    assert read_items(path, largest=3) == [
        {"product_id": "p1"},
        {"product_id": "p2", "controls": {"style": "concise"}},
        {"product_id": "p3"},
    ]
    with pytest.raises(BadInput, match="a page of 20"):
        read_items(path, largest=20)


@pytest.mark.parametrize("line", ['{"product": {}}', "{half", '{"title": "耳机"}'])
def test_a_line_that_is_no_item_is_named(tmp_path: Path, line: str):
    path = tmp_path / "items"
    path.write_text(f"p1\n{line}\n")
    with pytest.raises(BadInput, match="line 2"):
        read_items(path, largest=1)


def test_users_are_ids_or_rows(tmp_path: Path):
    path = tmp_path / "users"
    path.write_text('u1\n{"user_id": "u2", "persona": {}}\n')
    assert read_users(path) == ["u1", "u2"]
    with pytest.raises(BadInput, match="cannot be read"):
        read_users(tmp_path / "nobody")
