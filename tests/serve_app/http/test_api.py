"""The HTTP surface without Serve: what it refuses, and how every answer looks."""

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from common.artifacts.signing import Keyring, Signer, generate_private_key, key_id, public_key
from common.contract.deadline import Deadline, DeadlineLimits
from common.contract.provenance import Statement, label
from common.contract.vouching import Voucher
from common.contract.wire import ItemReason, ModelCard, ModelsResponse, ReasonsRequest, ReasonsResponse, WarmResponse, item_error
from common.domain.controls import Control, ControlValue, ControlVocabulary
from common.errors import Overloaded, ProductNotFound
from serve_app.http.api import create_api
from serve_app.http.doors import Caller
from serve_app.http.limits import HttpLimits
from serve_app.http.lines import TellItem

VOCABULARY = ControlVocabulary(
    controls=(
        Control(name="style", word="风格", values=(ControlValue(name="concise", word="简洁"), ControlValue(name="detailed", word="详细"))),
    )
)
EARBUDS = {"product_id": "p1", "title": "静音蓝牙耳机", "category": "蓝牙耳机"}
LIMITS = HttpLimits(max_body_bytes=20_000, grace_s=0.05, deadline=DeadlineLimits(default_ms=2000, min_ms=10, max_ms=5000))


CUT_OFF: list[str] = []
"""Requests whose answer was cancelled."""


async def answer_page(
    request: ReasonsRequest, *, request_id: str, deadline: Deadline, caller: Caller, explain: bool = False, tell: TellItem | None = None
) -> ReasonsResponse:
    request.check_codes(VOCABULARY)
    if request.channel == "broken":
        raise ZeroDivisionError("/srv/secret/path")
    if request.channel == "busy":
        raise Overloaded("too many pages at once")
    if request.channel == "slow":
        await asyncio.sleep(30)
    unknown = ProductNotFound("no product 'unknown'")
    items = [
        item_error(item.names, unknown) if item.names == "unknown" else ItemReason(product_id=item.names, status="ok", text="好")
        for item in request.items
    ]
    if tell:
        for at in reversed(range(len(items))):
            tell(at, items[at])
    if request.channel == "breaks late":
        raise Overloaded("too many pages at once") if len(items) > 1 else ZeroDivisionError("/srv/secret/path")
    if request.channel == "slow after the first":
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            CUT_OFF.append(request_id)
            raise
    return ReasonsResponse(request_id=request_id, bundle_id="b1", policy_version="v1", degraded=False, items=tuple(items))


class Readiness:
    missing: str | None = None

    async def __call__(self) -> str | None:
        return self.missing


async def models() -> ModelsResponse:
    return ModelsResponse(
        models=(ModelCard(bundle_id="b1", policy_version="v1", prompt_version=1, base_digest="d", base_licence="MIT", controls=()),)
    )


@pytest.fixture
def readiness() -> Readiness:
    return Readiness()


@pytest.fixture
def client(readiness: Readiness) -> Iterator[TestClient]:
    with TestClient(create_api(answer_page, ready=readiness, models=models, limits=LIMITS)) as client:
        yield client


def post(client: TestClient, body: Any, **headers: str) -> Any:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return client.post("/v1/reasons", content=content, headers={"content-type": "application/json", "x-request-id": "r-1"} | headers)


def test_a_page_is_answered_in_order_with_its_request_id(client: TestClient) -> None:
    answer = post(client, {"items": [{"product_id": "p2"}, {"product": EARBUDS}]})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert [item["product_id"] for item in body["items"]] == ["p2", "p1"]
    assert (body["request_id"], answer.headers["x-request-id"]) == ("r-1", "r-1")


def test_every_field_of_an_item_is_there_from_the_start(client: TestClient) -> None:
    item = post(client, {"items": [{"product_id": "p1"}]}).json()["items"][0]
    assert item.keys() == ItemReason.model_fields.keys()
    assert item["signature"] is None


@pytest.mark.parametrize("product", [EARBUDS, EARBUDS | {"price": 299}, EARBUDS | {"rating": 4.5}, EARBUDS | {"currency": "USD"}], ids=str)
def test_an_inline_product_without_price_currency_or_rating_is_answered(client: TestClient, product: dict[str, Any]) -> None:
    assert post(client, {"items": [{"product": product}]}).json()["items"][0]["status"] == "ok"


def test_an_unknown_product_fails_its_item_alone(client: TestClient) -> None:
    items = post(client, {"items": [{"product_id": "p1"}, {"product_id": "unknown"}]}).json()["items"]
    assert items[0]["status"] == "ok"
    assert items[1]["error"] == {"code": "product_not_found", "message": "no product 'unknown'", "retryable": False}


ONE = {"items": [{"product_id": "p1"}]}
LOUD = {"items": [{"product_id": "p1"}, {"product_id": "p2", "controls": {"style": "loud"}}]}
NAN = b'{"items": [{"product": {"product_id": "p", "title": "t", "category": "c", "price": NaN}}]}'
REFUSALS: list[tuple[str, Any, dict[str, str], int, str, list[str]]] = [
    ("51 items", {"items": [{"product_id": "p1"}] * 51}, {}, 422, "bad_input", ["/items"]),
    ("no items", {"items": []}, {}, 422, "bad_input", ["/items"]),
    ("20 MB", b'{"items": "' + b"x" * 20_000_000 + b'"}', {}, 413, "too_large", []),
    ("bad code", LOUD, {}, 422, "bad_control", ["/items/1/controls/style"]),
    ("unknown control", ONE | {"controls": {"mood": "x"}}, {}, 422, "bad_control", ["/controls/mood"]),
    ("unknown field", ONE | {"seed": 3}, {}, 422, "bad_input", ["/seed"]),
    ("not an object", [1, 2], {}, 422, "bad_input", [""]),
    ("broken JSON", b'{"items": [', {}, 400, "bad_request", []),
    ("empty body", b"", {}, 400, "bad_request", []),
    ("NaN", NAN, {}, 400, "bad_request", []),
    ("infinite", NAN.replace(b"NaN", b"1e999"), {}, 400, "bad_request", []),
    ("not UTF-8", b'{"items": [{"product_id": "\xff"}]}', {}, 400, "bad_request", []),
    ("lone surrogate", b'{"items": [{"product_id": "\\ud800"}]}', {}, 400, "bad_request", []),
    ("nested 900 deep", b'{"items": ' + b"[" * 900 + b"]" * 900 + b"}", {}, 400, "bad_request", []),
    ("nested 9000 deep", b"[" * 9000 + b"]" * 9000, {}, 400, "bad_request", []),
    ("text/plain", ONE, {"content-type": "text/plain"}, 415, "unsupported_media_type", []),
    ("no content type", ONE, {"content-type": ""}, 415, "unsupported_media_type", []),
    ("GBK", ONE, {"content-type": "application/json; charset=gbk"}, 415, "unsupported_media_type", []),
    ("deadline not a number", ONE, {"x-deadline-ms": "soon"}, 422, "bad_input", []),
    ("deadline too long", ONE, {"x-deadline-ms": "5001"}, 422, "bad_input", []),
    ("overloaded", ONE | {"channel": "busy"}, {}, 503, "overloaded", []),
    ("past the deadline", ONE | {"channel": "slow"}, {"x-deadline-ms": "20"}, 504, "deadline_exceeded", []),
    ("broken inside", ONE | {"channel": "broken"}, {}, 500, "internal", []),
]  # fmt: skip


@pytest.mark.parametrize(("body", "headers", "status", "code", "pointers"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_each_refusal_is_its_problem_with_the_request_id(
    client: TestClient, body: Any, headers: dict[str, str], status: int, code: str, pointers: list[str]
) -> None:
    answer = post(client, body, **headers)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert (problem["request_id"], answer.headers["x-request-id"]) == ("r-1", "r-1")
    assert [entry["pointer"] for entry in problem["errors"]] == pointers
    assert ("retry-after" in answer.headers) == problem["retryable"] == (status in (503, 504))
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/v1/reasons/", 404, "not_found"),
        ("GET", "/v1/reasons", 405, "method_not_allowed"),
        ("DELETE", "/livez", 405, "method_not_allowed"),
    ],
)
def test_unknown_paths_and_wrong_methods_are_problems_too(client: TestClient, method: str, path: str, status: int, code: str) -> None:
    answer = client.request(method, path, headers={"x-request-id": "r-2"})
    assert (answer.status_code, answer.json()["code"], answer.headers["x-request-id"]) == (status, code, "r-2")
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("allow" in answer.headers) == (status == 405)


def test_a_body_of_unknown_length_is_cut_off_while_it_arrives(client: TestClient) -> None:
    pulled = 0

    async def chunks_without_end() -> dict[str, Any]:
        nonlocal pulled
        pulled += 1
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/reasons", "raw_path": b"/v1/reasons", "query_string": b"", "root_path": "",
        "headers": [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")],
    }  # fmt: skip
    asyncio.run(client.app(scope, chunks_without_end, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert pulled == 21


@pytest.mark.parametrize("asked", ["a b", "x" * 129, "é", "<script>", ""])
def test_a_request_id_that_could_not_stand_in_a_log_is_replaced(client: TestClient, asked: str) -> None:
    answer = client.get("/livez", headers={"x-request-id": asked.encode()})
    assert len(answer.headers["x-request-id"]) == 32
    assert answer.headers["x-request-id"] != asked


def test_two_requests_without_an_id_get_two() -> None:
    with TestClient(create_api(answer_page, ready=Readiness(), models=models)) as client:
        assert client.get("/livez").headers["x-request-id"] != client.get("/livez").headers["x-request-id"]


def test_behind_a_proxy_that_echoes_the_id_only_the_body_carries_it() -> None:
    with TestClient(create_api(answer_page, ready=Readiness(), models=models, echo_request_id=False)) as client:
        answer = post(client, ONE)
        assert "x-request-id" not in answer.headers
        assert answer.json()["request_id"] == "r-1"


def test_ready_says_what_is_missing_while_alive_stays_true(client: TestClient, readiness: Readiness) -> None:
    assert (client.get("/livez").status_code, client.get("/readyz").status_code) == (200, 200)
    readiness.missing = "the canaries have not passed yet"
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["detail"]) == (503, "the canaries have not passed yet")
    assert answer.json()["retryable"]
    assert client.get("/livez").status_code == 200


def test_models_lists_the_bundle(client: TestClient) -> None:
    assert client.get("/v1/models").json()["models"][0]["bundle_id"] == "b1"


PRIVATE = generate_private_key()


@pytest.fixture
def signing() -> Iterator[TestClient]:
    async def signed(
        request: ReasonsRequest, *, request_id: str, deadline: Deadline, caller: Caller, explain: bool = False
    ) -> ReasonsResponse:
        items = []
        for item in request.items:
            about: dict[str, Any] = {"product_id": item.names, "revision": "r1", "text": "好", "source": "model", "controls": {}}
            stated = Statement(**about, bundle_id="b1", policy_version="v1", producer="shop")
            voucher = Voucher(Signer(PRIVATE), lifetime_s=100)
            items.append(ItemReason(status="ok", aigc=label(stated), signature=voucher.sign(stated, now_s=1000.0), **about))
        return ReasonsResponse(request_id=request_id, bundle_id="b1", policy_version="v1", degraded=False, items=tuple(items))

    keys = Keyring.of_pems([public_key(PRIVATE)])
    with TestClient(create_api(signed, ready=Readiness(), models=models, keys=keys, now=lambda: 1050.0)) as client:
        yield client


def verify(client: TestClient, body: Any) -> Any:
    return client.post("/v1/reasons:verify", content=orjson.dumps(body), headers={"content-type": "application/json"})


def test_an_answer_is_verified_as_it_came_and_a_changed_one_is_not(signing: TestClient) -> None:
    answer = post(signing, {"items": [{"product_id": "p1"}, {"product_id": "p2"}]}).json()
    answer["items"][1]["text"] = "更好"
    first, second = verify(signing, answer).json()["items"]
    assert (first["product_id"], first["valid"], first["code"]) == ("p1", True, None)
    assert (second["valid"], second["code"]) == (False, "signature_invalid")


def test_the_keys_are_a_json_web_key_set_and_empty_without_signing(signing: TestClient, client: TestClient) -> None:
    (key,) = signing.get("/v1/keys").json()["keys"]
    assert (key["kid"], key["crv"], key["use"]) == (key_id(public_key(PRIVATE)), "Ed25519", "sig")
    assert client.get("/v1/keys").json() == {"keys": []}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"items": []}, "/bundle_id"),
        ({"bundle_id": "b", "policy_version": "v", "items": []}, "/items"),
        ({"bundle_id": "b", "policy_version": "v", "items": [{"product_id": "p", "status": "ok"}] * 51}, "/items"),
        ({"bundle_id": "b", "policy_version": "v", "items": [{"product_id": "p", "status": "ok", "signature": "x"}]}, "/items/0/signature"),
        ([], ""),
    ],
    ids=str,
)
def test_what_is_no_answer_is_not_verified_but_told_where_it_is_wrong(signing: TestClient, body: Any, pointer: str) -> None:
    refused = verify(signing, body)
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_input")
    assert refused.json()["errors"][0]["pointer"] == pointer


def test_a_page_of_50_inline_products_with_long_descriptions_fits() -> None:
    products = [{"product": EARBUDS | {"product_id": f"p{i}", "description": "好" * 2000}} for i in range(50)]
    with TestClient(create_api(answer_page, ready=Readiness(), models=models)) as client:
        assert post(client, {"items": products}).status_code == 200


LINES = {"Accept": "application/json;q=0.5, application/x-ndjson"}


def lines(client: TestClient, **body: Any) -> list[dict[str, Any]]:
    answer = client.post("/v1/reasons", json=body, headers=LINES)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["x-request-id"]
    return [orjson.loads(line) for line in answer.text.splitlines()]


def test_a_query_that_is_no_text_is_no_reason_to_break(client: TestClient) -> None:
    sent: list[Any] = []

    async def ask() -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "PUT", "path": "/v1/reasons", "query_string": b"explain=\x89", "headers": []}
        await client.app(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 405


@pytest.mark.parametrize(
    ("query", "headers", "status", "told"),
    [
        ("explain=false", LINES, 200, ""),
        ("explain=yes", {}, 422, "expected true or false"),
        ("explain=true", LINES, 422, "leave application/x-ndjson out"),
    ],
)
def test_a_page_is_explained_whole_or_not_at_all(client: TestClient, query: str, headers: dict[str, str], status: int, told: str) -> None:
    answer = client.post(f"/v1/reasons?{query}", json={"items": [{"product": EARBUDS}]}, headers=headers)
    assert answer.status_code == status
    assert told in answer.text


def test_a_page_comes_as_lines_in_the_order_of_acceptance_and_says_where_it_ends(client: TestClient) -> None:
    *items, end = lines(client, items=[{"product": EARBUDS}, {"product_id": "unknown"}])
    assert [(line["index"], line["item"]["product_id"], line["item"]["status"]) for line in items] == [
        (1, "unknown", "error"),
        (0, "p1", "ok"),
    ]
    assert end == {
        "end": {"request_id": end["end"]["request_id"], "bundle_id": "b1", "policy_version": "v1", "degraded": False, "num_items": 2}
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"items": []}, 422),
        ({"items": [{"product": EARBUDS}], "controls": {"style": "loud"}}, 422),
        ({"items": [{"product": EARBUDS}], "channel": "busy"}, 503),
        ({"items": [{"product": EARBUDS}], "channel": "broken"}, 500),
    ],
)
def test_what_fails_before_the_first_line_fails_as_any_page_does(client: TestClient, body: Any, status: int) -> None:
    answer = client.post("/v1/reasons", json=body, headers=LINES)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_lines_whose_first_does_not_come_in_time_are_a_504_and_cut_off(client: TestClient) -> None:
    answer = client.post("/v1/reasons", json={"items": [{"product": EARBUDS}], "channel": "slow"}, headers=LINES | {"X-Deadline-Ms": "50"})
    assert answer.status_code == 504


@pytest.mark.parametrize(("num_items", "code"), [(1, "internal"), (2, "overloaded")])
def test_what_fails_between_lines_is_the_last_line_and_tells_no_internals(client: TestClient, num_items: int, code: str) -> None:
    found = lines(client, items=[{"product": EARBUDS | {"product_id": f"p{n}"}} for n in range(num_items)], channel="breaks late")
    assert [line.get("index") for line in found] == [*reversed(range(num_items)), None]
    assert found[-1]["problem"]["code"] == code
    assert "secret" not in str(found[-1])


def test_who_leaves_in_the_midst_of_lines_ends_the_answer() -> None:
    app = create_api(answer_page, ready=Readiness(), models=models, limits=LIMITS)
    body = orjson.dumps({"items": [{"product": EARBUDS}], "channel": "slow after the first"})
    headers = [(b"content-type", b"application/json"), (b"accept", b"application/x-ndjson"), (b"x-request-id", b"leaves")]
    scope = {"type": "http", "method": "POST", "path": "/v1/reasons", "headers": headers, "query_string": b"", "asgi": {"version": "3.0"}}
    sent: list[Any] = []

    async def talk() -> None:
        gone = asyncio.Event()
        asked = iter([{"type": "http.request", "body": body}])

        async def receive() -> Any:
            if (message := next(asked, None)) is not None:
                return message
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if message.get("body"):
                gone.set()

        async with asyncio.timeout(5):
            await app(scope, receive, send)
            await asyncio.sleep(0.01)

    asyncio.run(talk())
    assert b'"p1"' in sent[1]["body"]
    assert "leaves" in CUT_OFF


def test_a_page_is_written_ahead_and_told_in_numbers_only() -> None:
    asked: list[ReasonsRequest] = []

    async def warm_page(request: ReasonsRequest, *, request_id: str, deadline: Deadline, caller: Caller) -> WarmResponse:
        asked.append(request)
        return WarmResponse(request_id=request_id, bundle_id="b1", policy_version="v1", num_items=2, written=1, kept=0, failed=1)

    body = {"items": [{"product": EARBUDS}, {"product_id": "p2"}]}
    with TestClient(create_api(answer_page, warm_page=warm_page, ready=Readiness(), models=models, limits=LIMITS)) as warm:
        answer = warm.post("/v1/reasons:warm", json=body)
        assert answer.json() == {
            "request_id": answer.headers["x-request-id"], "bundle_id": "b1", "policy_version": "v1",
            "num_items": 2, "written": 1, "kept": 0, "failed": 1,
        }  # fmt: skip
        assert warm.post("/v1/reasons:warm", json={"items": []}).status_code == 422
    assert len(asked) == 1
    with TestClient(create_api(answer_page, ready=Readiness(), models=models, limits=LIMITS)) as cold:
        refused = cold.post("/v1/reasons:warm", json=body)
    assert (refused.status_code, refused.json()["code"], refused.json()["retryable"]) == (409, "refused", False)


@pytest.mark.parametrize(
    ("accept", "as_lines"),
    [
        ("application/x-ndjson", True),
        ("text/html, APPLICATION/X-NDJSON;q=0.5", True),
        ("application/json, application/x-ndjson;q=0", False),
        ("application/x-ndjson; q=0.000", False),
        ("application/x-ndjsonp, */*", False),
    ],
)
def test_lines_are_sent_to_who_takes_them(client: TestClient, accept: str, as_lines: bool) -> None:
    answer = client.post("/v1/reasons", json={"items": [{"product": EARBUDS}]}, headers={"Accept": accept})
    assert (answer.headers["content-type"] == "application/x-ndjson") == as_lines
