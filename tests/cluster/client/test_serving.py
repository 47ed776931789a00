import contextlib
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from cluster import LiyouClient
from common.contract import problems
from common.contract.wire import ItemReason, ModelsResponse, ReasonsResponse
from common.errors import BadControl, BadInput, ConfigError, DeadlineExceeded, LiyouError, Overloaded, ProductNotFound, Unavailable
from serve_app.http.api import create_api

ROOT = Path(__file__).resolve().parents[3]
PAGE = ReasonsResponse(
    request_id="r", bundle_id="b", policy_version="p", degraded=False, items=(ItemReason(product_id="p1", status="ok", text="好"),)
).model_dump(mode="json")


def problem(error: LiyouError, **headers: str) -> tuple[int, object, dict[str, str]]:
    told = problems.from_error(error, request_id="r-7")
    return told.status, told.model_dump(mode="json"), headers


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


@pytest.fixture
def moment() -> Time:
    return Time()


@pytest.fixture
def client(server, moment) -> Iterator[LiyouClient]:
    with LiyouClient(server.url, clock=moment.clock, sleep=moment.sleep) as client:
        yield client


def test_what_is_asked_is_what_the_api_reads(server, client) -> None:
    server.answer = lambda asked: (200, PAGE)
    product = {"product_id": "p2", "title": "耳机", "category": "耳机"}
    page = client.reasons(
        ["p1", {"product": product, "controls": {"topic": "value"}}], user="u1", controls={"style": "concise"}, deadline_ms=3000
    )
    assert page.items[0].text == "好"
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.headers["X-Deadline-Ms"]) == ("POST", "/v1/reasons", "3000")
    assert asked.body == {
        "items": [{"product_id": "p1"}, {"product": product, "controls": {"topic": "value"}}],
        "user": {"user_id": "u1"},
        "controls": {"style": "concise"},
    }


def test_one_id_is_one_item_not_its_letters(server, client) -> None:
    server.answer = lambda asked: (200, PAGE)
    client.reasons("p000001")
    assert server.asked[0].body == {"items": [{"product_id": "p000001"}]}


def test_an_explanation_is_asked_for_in_the_query(server, client) -> None:
    server.answer = lambda asked: (200, PAGE)
    client.reasons("p000001", explain=True)
    assert server.asked[0].path == "/v1/reasons?explain=true"


def test_a_retryable_answer_is_asked_again_with_the_time_that_is_left(server, client, moment) -> None:
    answers = iter([problem(Overloaded("busy"), **{"Retry-After": "2"}), (500, "Internal Server Error"), (200, PAGE)])
    server.answer = lambda asked: next(answers)
    assert client.reasons(["p1"], deadline_ms=8000).bundle_id == "b"
    left = [int(asked.headers["X-Deadline-Ms"]) for asked in server.asked]
    assert left[0] == 8000
    assert left[1] == 6000, "the server asked for two seconds"
    assert 5800 < left[2] < 6000
    assert moment.slept[0] == 2.0


def test_the_deadline_ends_it_and_the_last_answer_is_told(server, client, moment) -> None:
    server.answer = lambda asked: problem(Overloaded("busy"))
    with pytest.raises(Unavailable, match=r"no answer within the deadline; the last: overloaded: busy \(request r-7\)"):
        client.reasons(["p1"], deadline_ms=1000)
    assert 3 <= len(server.asked) <= 8
    assert moment.now_s < 1.0
    server.answer = lambda asked: problem(DeadlineExceeded("not even a template"))
    with pytest.raises(DeadlineExceeded):
        client.reasons(["p1"], deadline_ms=500)


def test_a_server_that_wants_more_time_than_there_is_is_not_waited_for(server, client, moment) -> None:
    server.answer = lambda asked: problem(Overloaded("busy"), **{"Retry-After": "30"})
    with pytest.raises(Unavailable):
        client.reasons(["p1"], deadline_ms=2000)
    assert (len(server.asked), moment.slept) == (1, [])


def test_a_server_that_drips_holds_nobody_past_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(100):
                    connection.sendall(b" ")
                    time.sleep(0.05)

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        began = time.monotonic()
        with (
            LiyouClient(f"http://127.0.0.1:{listening.getsockname()[1]}") as client,
            pytest.raises(Unavailable, match="not complete in time"),
        ):
            client.reasons(["p1"], deadline_ms=500)
        assert time.monotonic() - began < 2.5, "it would have dripped for five seconds"
        thread.join()


@pytest.mark.parametrize(
    "error", [ProductNotFound("nobody knows p1"), BadControl("style: got 'loud'", fields=(("/controls/style", "no such"),))]
)
def test_what_no_repetition_mends_is_raised_as_itself_at_once(server, client, error) -> None:
    server.answer = lambda asked: problem(error)
    with pytest.raises(type(error), match=r"request r-7") as caught:
        client.reasons(["p1"])
    assert caught.value.fields == error.fields
    assert len(server.asked) == 1


def test_a_wrong_request_is_told_before_it_is_sent(server, client) -> None:
    with pytest.raises(ConfigError, match=r"items\.0\.product\.category: Field required"):
        client.reasons([{"product": {"product_id": "p1", "title": "耳机"}}])
    with pytest.raises(BadInput, match="deadline_ms: got 10; expected 50 to 60000"):
        client.reasons(["p1"], deadline_ms=10)
    with pytest.raises(BadInput, match="serve: got nothing"):
        LiyouClient().reasons(["p1"])
    assert not server.asked


def test_nobody_there_and_somebody_else_there_are_told_apart(server, client, moment) -> None:
    nobody = LiyouClient("http://127.0.0.1:9", clock=moment.clock, sleep=moment.sleep)
    with nobody, pytest.raises(Unavailable, match="ConnectError"):
        nobody.reasons(["p1"], deadline_ms=300)
    server.answer = lambda asked: (200, {"hello": "world"})
    with pytest.raises(LiyouError, match="none that this client reads"):
        client.models()
    server.answer = lambda asked: (404, "nginx")
    with pytest.raises(LiyouError, match="answered 404, not as the API does"):
        client.models()


ALONE = """
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"ray", "torch", "transformers", "peft", "fastapi", "pyarrow"}:
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Refused())
from cluster import LiyouClient
with LiyouClient(sys.argv[1]) as client:
    print(client.reasons(["p1"]).items[0].text)
"""


def test_it_works_where_ray_torch_and_fastapi_are_not_installed() -> None:
    async def page(request, *, request_id, deadline, caller, explain) -> ReasonsResponse:
        return ReasonsResponse.model_validate(PAGE)

    async def ready() -> None:
        return None

    async def models() -> ModelsResponse:
        return ModelsResponse(models=())

    server = uvicorn.Server(uvicorn.Config(create_api(page, ready=ready, models=models), port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    for _ in itertools.takewhile(lambda _: not server.started, range(200)):
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, f"http://127.0.0.1:{port}"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    server.should_exit = True
    thread.join(10)
    assert done.stdout == "好\n", done.stderr


def test_an_answer_is_verified_with_keys_that_were_got_once_and_without_asking_again(server, client) -> None:
    server.answer = lambda asked: (200, {"keys": []} if asked.path == "/v1/keys" else PAGE)
    page, keys = client.reasons("p1"), client.keys()
    asked = len(server.asked)
    (found,) = LiyouClient.verify(page, keys=keys)
    assert (found.product_id, found.valid, found.code) == ("p1", False, "signature_invalid")
    assert len(server.asked) == asked


def test_a_key_goes_along_and_an_opt_out_is_told(server, moment) -> None:
    server.answer = lambda asked: (200, PAGE)
    with LiyouClient(server.url, key="ly_secret", clock=moment.clock, sleep=moment.sleep) as client:
        client.reasons("p1", user="u1", personalise=False)
    assert server.asked[0].headers["Authorization"] == "Bearer ly_secret"
    assert server.asked[0].body == {"items": [{"product_id": "p1"}], "user": {"user_id": "u1"}, "personalise": False}


def lines(*told: dict[str, object], rest: str = "") -> tuple[int, bytes, dict[str, str]]:
    return 200, ("".join(json.dumps(line) + "\n" for line in told) + rest).encode(), {"Content-Type": "application/x-ndjson"}


ITEMS = [
    {"index": 1, "item": {"product_id": "p2", "status": "ok", "text": "好"}},
    {"index": 0, "item": {"product_id": "p1", "status": "error"}},
]
END = {"end": {"request_id": "r", "bundle_id": "b", "policy_version": "p", "degraded": False, "num_items": 2}}


def test_items_come_one_by_one_with_their_places(server, client) -> None:
    answers = iter([problem(Overloaded("busy")), lines(*ITEMS, END)])
    server.answer = lambda asked: next(answers)
    assert [(at, item.product_id) for at, item in client.each_reason(["p1", "p2"])] == [(1, "p2"), (0, "p1")]
    assert server.asked[1].headers["Accept"] == "application/x-ndjson"


@pytest.mark.parametrize("last", ["nothing", "a problem", "half a line"])
def test_lines_that_break_off_are_told_after_those_that_came(server, client, last) -> None:
    told = [*ITEMS, {"problem": problem(Overloaded("busy"))[1]}] if last == "a problem" else ITEMS
    server.answer = lambda asked: lines(*told, rest='{"index": 2, "it' if last == "half a line" else "")
    page = client.each_reason(["p1", "p2", "p3"])
    assert [next(page)[0], next(page)[0]] == [1, 0]
    with pytest.raises(LiyouError) as caught:
        next(page)
    assert isinstance(caught.value, Overloaded if last == "a problem" else LiyouError)


def test_what_the_caller_does_between_two_items_is_its_own_time(server, client, moment) -> None:
    server.answer = lambda asked: lines(*ITEMS, END)
    page, got = client.each_reason(["p1", "p2"], deadline_ms=1000), []
    for at, _ in page:
        got.append(at)
        moment.sleep(5.0)
    assert got == [1, 0]


def test_an_answer_that_is_no_lines_is_told_as_such(server, client) -> None:
    server.answer = lambda asked: (200, PAGE)
    with pytest.raises(LiyouError, match="is that its URL"):
        next(client.each_reason(["p1"]))
    with pytest.raises(BadInput):
        client.each_reason(["p1"], deadline_ms=1)
