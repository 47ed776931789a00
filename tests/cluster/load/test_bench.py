"""The command against a server: what is asked, what is told, and when it fails."""

import json
from pathlib import Path

import pytest

from cluster.cli import main

ITEM = {"status": "ok", "text": "好", "source": "model"}


def bench(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["bench", *words])
    return int(caught.value.code or 0)


@pytest.fixture
def products(tmp_path: Path) -> str:
    path = tmp_path / "products"
    path.write_text("".join(f"p{n}\n" for n in range(1, 9)))
    return str(path)


def page(asked):
    items = [ITEM | {"product_id": item["product_id"]} for item in asked.body["items"]]
    return 200, {"request_id": "r", "bundle_id": "b", "policy_version": "v", "degraded": False, "items": items}


def test_a_load_is_sent_judged_and_drawn(server, products, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LIYOU_API_KEY", "secret-key")
    server.answer = page
    slo, out = tmp_path / "slo.yaml", tmp_path / "bench.html"
    slo.write_text("p99_ms: 5000\nmin_accepted: 1.0\n")
    words = (server.url, "--products", products, "--rate", "20", "--duration-s", "2", "--pages", "3:0.5,1:0.5", "--deadline-ms", "5000")
    assert bench(*words, "--slo", str(slo), "--out", str(out)) == 0
    told = capsys.readouterr().out
    assert "kept        all that was promised" in told
    assert "items       model" in told
    assert {len(asked.body["items"]) for asked in server.asked} == {1, 3}
    assert {asked.headers["Authorization"] for asked in server.asked} == {"Bearer secret-key"}
    assert {asked.headers["X-Deadline-Ms"] for asked in server.asked} == {"5000"}
    html = out.read_text()
    assert html.count("<svg") == 3
    assert "secret-key" not in html
    assert bench(*words, "--out", str(out), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["num_pages"], found["kept"], found["errors"]) == (len(server.asked) // 2, None, 0.0)


def test_a_promise_that_is_not_kept_is_exit_code_one_and_a_strange_answer_is_told(server, products, tmp_path, capsys):
    server.answer = lambda asked: (503, "<b>bad gateway</b>")
    slo, out = tmp_path / "slo.yaml", tmp_path / "bench.html"
    slo.write_text("min_in_time: 0.99\n")
    words = (server.url, "--products", products, "--rate", "10", "--duration-s", "1", "--pages", "1", "--arrivals", "uniform")
    assert bench(*words, "--slo", str(slo), "--out", str(out)) == 1
    told = capsys.readouterr().out
    assert "NOT KEPT    min_in_time: 0, below 0.99" in told
    assert "NOT KEPT    max_errors" in told
    assert "<b>bad" not in out.read_text(), "what a server says is escaped"


def test_nobody_there_is_a_figure_and_no_crash(products, tmp_path, capsys):
    words = (
        "http://127.0.0.1:9",
        "--products",
        products,
        "--rate",
        "5",
        "--duration-s",
        "1",
        "--pages",
        "1",
        "--out",
        str(tmp_path / "o.html"),
    )
    assert bench(*words) == 0
    assert "no answer Connect" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--arrivals", "sometimes"], "poisson, uniform or bursts"),
        (["--deadline-ms", "1"], "--deadline-ms"),
        (["--pages", "60"], "--pages"),
        (["--pages", "20"], "8 products"),
    ],
)
def test_a_wrong_wish_is_told_before_anything_is_sent(server, products, tmp_path, capsys, words, said):
    assert bench(server.url, "--products", products, "--rate", "1", "--pages", "1", "--out", str(tmp_path / "o.html"), *words) == 2
    assert said in capsys.readouterr().err
    assert server.asked == []
