"""A cache filled ahead, page by page."""

import json
from pathlib import Path

import pytest

from cluster.cli import main
from common.contract import problems
from common.errors import Overloaded, ProductNotFound


def warm(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["warm", *words])
    return int(caught.value.code or 0)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    (tmp_path / "products").write_text("p1\np2\np3\n")
    path = tmp_path / "warm.yaml"
    path.write_text("users: [null, {user_id: u1}]\ncontrols: [{}, {style: concise}]\nproducts: products\npage: 2\n")
    return path


def answer(asked):
    num = len(asked.body["items"])
    counts = {"num_items": num, "written": num - 1, "kept": 1, "failed": 0}
    return 200, {"request_id": "r", "bundle_id": "b", "policy_version": "v"} | counts


def test_every_kind_of_user_with_every_code_and_product_is_asked_for(server, plan, capsys, monkeypatch):
    monkeypatch.setenv("LIYOU_API_KEY", "secret-key")
    server.answer = answer
    assert warm(str(plan), "--serve", server.url) == 0
    assert "4 written, 8 kept before, 0 not accepted" in capsys.readouterr().out
    assert {asked.path for asked in server.asked} == {"/v1/reasons:warm"}
    assert {asked.headers["Authorization"] for asked in server.asked} == {"Bearer secret-key"}
    bodies = [asked.body for asked in server.asked]
    assert len(bodies) == 8
    assert [len(body["items"]) for body in bodies[:2]] == [2, 1]
    assert [body.get("user") for body in bodies[::4]] == [None, {"user_id": "u1"}]
    assert [body.get("controls") for body in bodies[1:3]] == [None, {"style": "concise"}]


def test_a_plan_may_name_a_channel_and_what_is_looked_for_there(server, plan):
    server.answer = answer
    plan.write_text("channel: search\nqueries: [真丝, 跑鞋]\nproducts: [{product_id: p1, max_chars: 30}]\n")
    assert warm(str(plan), "--serve", server.url) == 0
    items = [{"product_id": "p1", "max_chars": 30}]
    assert [asked.body for asked in server.asked] == [{"items": items, "channel": "search", "query": query} for query in ("真丝", "跑鞋")]


def test_a_page_that_could_not_be_asked_for_is_told_and_the_others_are_asked(server, plan, capsys):
    busy = problems.from_error(Overloaded("busy"), request_id="r").model_dump(mode="json")
    server.answer = lambda asked: (503, busy, {"Retry-After": "90"}) if asked.body["items"][0]["product_id"] == "p1" else answer(asked)
    assert warm(str(plan), "--serve", server.url, "--json") == 1
    assert json.loads(capsys.readouterr().out) == {"written": 0, "kept": 4, "failed": 0, "pages_lost": 4}


def test_products_that_nobody_knows_are_counted_and_the_others_are_asked_for(server, plan, capsys):
    unknown = problems.from_error(ProductNotFound("no product 'p3'"), request_id="r").model_dump(mode="json")
    server.answer = lambda asked: (404, unknown) if asked.body["items"][0]["product_id"] == "p3" else answer(asked)
    assert warm(str(plan), "--serve", server.url, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"written": 4, "kept": 4, "failed": 4, "pages_lost": 0}


def test_a_plan_that_is_none_is_told(server, plan, capsys):
    plan.write_text("users: [null]\nproduct: products\n")
    assert warm(str(plan), "--serve", server.url) == 2
    assert "products" in capsys.readouterr().err
    assert server.asked == []
