"""What a page is written from: looked up, or taken from the request."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from common.contract.wire import ItemReason, ReasonsRequest
from common.domain.constraints import Constraints
from common.domain.context import BehaviorSummary, Context
from common.errors import BadChannel, BadControl, BadInput
from common.features.snapshot import Snapshot
from common.features.snapshot_build import build_snapshot
from common.packs.load import load_pack
from common.packs.schema import ControlPack
from common.quality.verdict import Checker
from serve_app.graph.features_deployment import Features

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SHOP = load_pack("shop")
*OTHERS, STYLE = SHOP.controls.controls
PACK = SHOP.model_copy(update={"controls": ControlPack(controls=(*OTHERS, STYLE.model_copy(update={"default": "concise"})))})
TABLES: dict[str, list[dict[str, Any]]] = {
    "products": [
        {
            "product_id": "p1",
            "title": "声海真无线耳机",
            "category": "蓝牙耳机",
            "attributes": {"品牌": "声海"},
            "price": 299,
            "currency": "CNY",
        },
        {"product_id": "p2", "title": "疾风跑鞋", "category": "跑鞋", "attributes": {"品牌": "疾风"}},
    ],
    "events": [
        {"event_id": "e1", "user_id": "u1", "product_id": "p2", "kind": "purchase", "at": "2026-11-01T08:00:00+08:00"},
        {"event_id": "e2", "user_id": "u1", "product_id": "p1", "kind": "view", "at": "2026-12-01T08:00:00+08:00"},
    ],
    "users": [{"user_id": "u1", "persona": "跑步爱好者"}],
    "preferences": [{"user_id": "u1", "control": "style", "value": "detailed", "source": "explicit"}],
}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    raw = tmp_path_factory.mktemp("raw")
    for name, rows in TABLES.items():
        (raw / f"{name}.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    build_snapshot(raw, raw.parent / "snapshot")
    return Snapshot.open(raw.parent / "snapshot")


@pytest.fixture
def features(snapshot: Snapshot) -> Features:
    return Features(snapshot, checker=Checker(PACK), now=lambda: NOW)


def contexts(features: Features, **fields: Any) -> list[Context]:
    found = features.contexts(ReasonsRequest.model_validate({"items": [{"product_id": "p1"}]} | fields))
    assert all(isinstance(context, Context) for context in found)
    return [context for context in found if isinstance(context, Context)]


def test_a_known_user_is_told_of_by_past_persona_and_choices_and_not_by_the_future(features: Features) -> None:
    (context,) = contexts(features, user={"user_id": "u1"}, channel="detail")
    assert context.behavior.last_purchased is not None
    assert context.behavior.last_purchased.product_id == "p2"
    assert context.behavior.last_viewed is None
    assert (context.persona, context.channel, context.controls) == ("跑步爱好者", "detail", {"style": "detailed"})


@pytest.mark.parametrize("user", [None, {"user_id": "nobody"}, {"user_id": "nobody", "events": []}], ids=str)
def test_a_user_nobody_knows_is_a_new_user_and_no_error(features: Features, user: dict[str, Any] | None) -> None:
    (context,) = contexts(features, user=user)
    assert (context.behavior, context.persona, context.controls) == (BehaviorSummary(), None, {"style": "concise"})


def test_inline_events_are_the_users_whole_past_and_may_speak_of_inline_products(features: Features) -> None:
    scarf = {"product_id": "p9", "title": "羊绒围巾", "category": "围巾"}
    events = [
        {"kind": "view", "product_id": "p9", "at": "2026-11-20T08:00:00+08:00"},
        {"kind": "cart", "product_id": "p1", "at": "2026-11-21T08:00:00+08:00"},
        {"kind": "click", "product_id": "not-known-anywhere", "at": "2026-11-22T08:00:00+08:00"},
    ]
    (context,) = contexts(features, user={"user_id": "u1", "events": events}, items=[{"product": scarf}])
    mentions = {kind: mention.product_id for kind, mention in context.behavior.mentions().items()}
    assert mentions == {"viewed": "p9", "carted": "p1"}
    assert context.controls == {"style": "detailed"}


def test_an_inline_product_stands_over_the_snapshots(features: Features) -> None:
    (context,) = contexts(features, items=[{"product": {"product_id": "p1", "title": "新标题", "category": "蓝牙耳机"}}])
    assert (context.product.title, context.product.price) == ("新标题", None)


def test_a_product_nobody_knows_is_an_error_of_its_item(features: Features) -> None:
    found = features.contexts(ReasonsRequest.model_validate({"items": [{"product_id": "p1"}, {"product_id": "gone"}]}))
    assert isinstance(found[0], Context)
    assert isinstance(found[1], ItemReason)
    assert found[1].error is not None
    assert (found[1].product_id, found[1].error.code, found[1].error.retryable) == ("gone", "product_not_found", False)


def test_without_a_snapshot_inline_products_are_answered_and_ids_are_not() -> None:
    features = Features(None, checker=Checker(PACK), now=lambda: NOW)
    inline = {"product": {"product_id": "p1", "title": "耳机", "category": "蓝牙耳机"}}
    found = features.contexts(ReasonsRequest.model_validate({"user": {"user_id": "u1"}, "items": [inline, {"product_id": "p1"}]}))
    assert isinstance(found[0], Context)
    assert isinstance(found[1], ItemReason)


@pytest.mark.parametrize(
    ("page", "item", "codes"),
    [
        ({}, {}, {"style": "detailed"}),
        ({"style": "concise"}, {}, {"style": "concise"}),
        ({"style": "concise"}, {"style": "detailed", "topic": "value"}, {"topic": "value", "style": "detailed"}),
        ({"style": None}, {}, {}),
        ({"style": "concise"}, {"style": None}, {}),
    ],
    ids=str,
)
def test_codes_come_from_item_page_choice_default_and_null_is_none(
    features: Features, page: dict[str, Any], item: dict[str, Any], codes: dict[str, str]
) -> None:
    (context,) = contexts(features, user={"user_id": "u1"}, controls=page, items=[{"product_id": "p1", "controls": item}])
    assert context.controls == codes
    assert list(context.controls) == list(codes)


def test_a_code_outside_the_vocabulary_refuses_the_page(features: Features) -> None:
    with pytest.raises(BadControl) as caught:
        features.contexts(ReasonsRequest.model_validate({"items": [{"product_id": "p1", "controls": {"style": "loud"}}]}))
    assert caught.value.fields[0][0] == "/items/0/controls/style"


def test_of_a_user_who_opted_out_nothing_is_looked_at_and_the_requests_codes_count(features: Features) -> None:
    events = [{"kind": "view", "product_id": "p2", "at": "2026-11-20T08:00:00+08:00"}]
    for user in ({"user_id": "u1"}, {"user_id": "u1", "events": events}):
        (context,) = contexts(features, user=user, personalise=False, controls={"topic": "value"})
        assert (context.behavior, context.persona) == (BehaviorSummary(), None)
        assert context.controls == {"topic": "value", "style": "concise"}
    (known,) = contexts(features, user={"user_id": "u1"})
    assert known.controls["style"] == "detailed"


@pytest.mark.parametrize(
    ("fields", "user", "item", "codes", "max_chars"),
    [
        ({}, None, {}, {"style": "concise"}, None),
        ({"channel": "detail"}, None, {}, {"style": "detailed"}, 120),
        ({"channel": "detail", "controls": {"style": "concise"}}, None, {}, {"style": "concise"}, 120),
        ({"channel": "detail", "controls": {"style": None}}, None, {}, {}, 120),
        ({"channel": "detail"}, None, {"controls": {"style": "concise"}}, {"style": "concise"}, 120),
        ({"channel": "detail"}, None, {"max_chars": 40}, {"style": "concise"}, 40),
        ({"channel": "search", "query": "耳机"}, "u1", {}, {"style": "detailed"}, 60),
        ({"channel": "search", "query": "耳机", "personalise": False}, "u1", {}, {"style": "concise"}, 60),
        ({"channel": "list"}, "u1", {}, {"style": "concise"}, 40),
        ({"channel": "chat", "controls": {"topic": "value"}}, "u1", {}, {"topic": "value", "emotion": "warm", "style": "detailed"}, 100),
        ({"channel": "chat"}, "u1", {"max_chars": 12}, {"emotion": "warm"}, 12),
    ],
    ids=str,
)
def test_codes_come_from_request_taste_channel_default_and_what_does_not_fit_is_passed_over(
    features: Features, fields: dict[str, Any], user: str | None, item: dict[str, Any], codes: dict[str, str], max_chars: int | None
) -> None:
    """The user u1 chose detailed texts, of 45 characters or more; the pack's default is concise ones, of 18 or more."""
    asked = fields | ({"user": {"user_id": user}} if user else {})
    (context,) = contexts(features, items=[{"product_id": "p1"} | item], **asked)
    assert (context.controls, context.constraints.max_chars, context.channel) == (codes, max_chars, fields.get("channel"))


def test_a_query_becomes_the_facts_that_it_asks_for_and_ends_here(features: Features) -> None:
    query = "声海 便宜耳机，三百块以内"
    (context, other) = contexts(features, channel="search", query=query, items=[{"product_id": "p1"}, {"product_id": "p2"}])
    assert {"product.attributes.品牌", "product.category", "product.price"} <= set(context.wished)
    assert other.wished == ()
    assert query not in context.model_dump_json()
    assert contexts(features, channel="search", query="聲海 便宜耳機,300元以内")[0] == context


def test_what_an_item_asks_of_its_text_goes_with_it(features: Features) -> None:
    item = {"product_id": "p1", "must_mention": ["声海"], "must_avoid": ["降噪"], "max_chars": 50}
    (context,) = contexts(features, items=[item])
    assert context.constraints == Constraints(must_mention=("声海",), must_avoid=("降噪",), max_chars=50)
    (plain,) = contexts(features)
    assert plain.constraints == Constraints()


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"channel": "till"}, BadChannel),
        ({"channel": "search"}, BadChannel),
        ({"query": "耳机"}, BadChannel),
        ({"channel": "list", "controls": {"style": "detailed"}}, BadInput),
        ({"items": [{"product_id": "p1", "must_mention": ["声海"], "must_avoid": ["海"]}]}, BadInput),
    ],
    ids=str,
)
def test_what_the_pack_does_not_have_or_no_text_can_be_refuses_the_page(
    features: Features, fields: dict[str, Any], error: type[BadInput]
) -> None:
    with pytest.raises(error) as caught:
        features.contexts(ReasonsRequest.model_validate({"items": [{"product_id": "p1"}]} | fields))
    assert caught.value.fields
