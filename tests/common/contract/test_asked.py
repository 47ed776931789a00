"""Which channels and queries a request may name, and what no text can be at once."""

from contextlib import nullcontext
from typing import Any

import pytest

from common.contract.asked import channel_of, check_constraints, constraints_of
from common.contract.wire import ReasonsRequest
from common.domain.channel import Channel
from common.errors import BadChannel, BadInput


def request(**fields: Any) -> ReasonsRequest:
    return ReasonsRequest.model_validate({"items": [{"product_id": "p1"}]} | fields)


CHANNELS = {
    "list": Channel(description="a list", max_chars=40),
    "search": Channel(description="a search", query="required"),
    "chat": Channel(description="a chat", query="optional"),
}


@pytest.mark.parametrize(
    ("fields", "pointer", "told"),
    [
        ({"channel": "till"}, "/channel", "got 'till'; expected one of list, search, chat, or leave it out"),
        ({"channel": "list", "query": "耳机"}, "/query", "channel list takes none; who does: search, chat"),
        ({"query": "耳机"}, "/query", "no channel takes none; who does: search, chat"),
        ({"channel": "search"}, "/query", "got none; channel search needs what the user looked for"),
    ],
    ids=str,
)
def test_a_channel_that_there_is_not_and_a_query_that_it_does_not_take_are_named(fields: dict[str, Any], pointer: str, told: str) -> None:
    with pytest.raises(BadChannel) as caught:
        channel_of(request(**fields), CHANNELS)
    assert caught.value.fields == ((pointer, told),)
    assert str(caught.value) == f"{pointer}: {told}"
    assert (caught.value.code, caught.value.status) == ("bad_channel", 422)


def test_without_a_channel_nothing_is_asked_for_and_without_channels_none_is_taken() -> None:
    assert channel_of(request(), {}).controls == {}
    assert channel_of(request(channel="chat", query="能用多久？"), CHANNELS).query == "optional"
    with pytest.raises(BadChannel, match="expected none: the pack has no channels"):
        channel_of(request(channel="list"), {})


@pytest.mark.parametrize(
    ("item", "channel", "pointers"),
    [
        ({"must_mention": ["真丝", "一二三四五六七八九十甲乙"], "max_chars": 11}, None, ["/items/0/must_mention/1"]),
        ({"must_mention": ["真丝面料"], "must_avoid": ["蓝牙", "真 絲"]}, None, ["/items/0/must_mention/0"]),
        ({"must_mention": ["真丝"], "must_avoid": ["真丝面料"], "max_chars": 60}, None, []),
        ({"controls": {"style": "detailed"}, "max_chars": 44}, None, ["/items/0/max_chars"]),
        ({"controls": {"style": "detailed"}, "max_chars": 50}, "list", ["/channel"]),
        ({"controls": {"style": "detailed"}, "max_chars": 45}, None, []),
        ({"controls": {"style": None}, "max_chars": 20}, "list", []),
        ({"must_mention": ["十" * 40], "max_chars": 30}, "list", ["/items/0/must_mention/0"]),
    ],
    ids=str,
)
def test_what_no_text_can_be_at_once_is_refused_by_name(item: dict[str, Any], channel: str | None, pointers: list[str]) -> None:
    page = request(channel=channel, items=[{"product_id": "p1"} | item])
    least = {("style", "concise"): 18, ("style", "detailed"): 45}
    with pytest.raises(BadInput) if pointers else nullcontext() as caught:
        check_constraints(page, channel=channel_of(page, CHANNELS), least_chars=least)
    if caught is not None:
        assert (caught.value.status, [pointer for pointer, _ in caught.value.fields]) == (422, pointers)


def test_of_the_channels_and_the_items_longest_text_the_shorter_holds() -> None:
    page = request(items=[{"product_id": "p1", "max_chars": 30}, {"product_id": "p2", "max_chars": 60}, {"product_id": "p3"}])
    assert [constraints_of(item, channel=CHANNELS["list"]).max_chars for item in page.items] == [30, 40, 40]
    assert [constraints_of(item, channel=CHANNELS["chat"]).max_chars for item in page.items] == [30, 60, None]
