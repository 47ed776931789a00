"""A record of what was shown hangs together, and every way to change it is found out."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.artifacts.signing import Keyring, Signer, generate_private_key, public_key
from common.contract.audit import Entry, Lost, Place, Shown, pseudonym, read_segment, segment, shown
from common.contract.provenance import Aigc
from common.contract.wire import ItemCheck, ItemReason, ItemVerdict, ReasonsResponse, item_error
from common.errors import ProductNotFound, Tampered

AT = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)
PRIVATE = generate_private_key()
KEYS = Keyring.of_pems([public_key(PRIVATE)])


def entry(text: str = "续航30小时。", **changes: Any) -> Shown:
    fields: dict[str, Any] = {
        "at": AT,
        "request_id": "r",
        "tenant": None,
        "user": None,
        "channel": None,
        "product_id": "p1",
        "revision": "r1",
        "text": text,
    }
    fields |= {"source": "model", "controls": {}, "bundle_id": "b1", "policy_version": "v1", "produce_id": "c", "score": 0.5}
    return Shown(**(fields | {"checks_failed": (), "degraded": None} | changes))


ENTRIES = [entry("一\u2028二\n三"), entry("四"), Lost(at=AT, count=3), entry("五")]


def written(entries: list[Entry], place: Place | None = None, *, signed: bool = True) -> tuple[bytes, Place]:
    return segment(entries, place or Place("chain"), signer=Signer(PRIVATE) if signed else None)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=6), st.lists(st.text(max_size=20), min_size=1, max_size=6))
def test_what_was_written_is_read_whatever_the_texts_are(first: list[str], second: list[str]) -> None:
    data, place = written([entry(text) for text in first])
    more, end = written([entry(text) for text in second], place)
    entries, reached = read_segment(data, place=Place("chain"), keys=KEYS)
    assert [one.text for one in entries if isinstance(one, Shown)] == first
    entries, reached = read_segment(more, place=reached, keys=KEYS)
    assert [one.text for one in entries if isinstance(one, Shown)] == second
    assert reached == end


def test_what_is_left_of_a_chain_is_read_from_its_first_segment() -> None:
    _, place = written(ENTRIES)
    later, end = written([entry()], place)
    assert read_segment(later, place=None, keys=KEYS) == ([entry()], end)


def lines_of(data: bytes) -> list[bytes]:
    return data.removesuffix(b"\n").split(b"\n")


TAMPERINGS = {
    "a text changed": lambda lines: [lines[0], lines[1].replace("四".encode(), "死".encode()), *lines[2:]],
    "a line taken out": lambda lines: [lines[0], *lines[2:]],
    "a line put in": lambda lines: [lines[0], lines[0], *lines[1:]],
    "two lines swapped": lambda lines: [lines[1], lines[0], *lines[2:]],
    "the last text taken out": lambda lines: [*lines[:-2], lines[-1]],
    "the end taken off": lambda lines: lines[:-1],
    "the signature taken off": lambda lines: [*lines[:-1], lines[-1][: lines[-1].index(b',"signature"')] + b"}"],
    "another chain's name": lambda lines: [*lines[:-1], lines[-1].replace(b'"chain":"chain"', b'"chain":"other"')],
    "no text at all": lambda lines: [],
    "no JSON": lambda lines: [b"\xff\xfe", *lines],
}


@pytest.mark.parametrize("how", TAMPERINGS)
def test_a_changed_segment_is_found_out(how: str) -> None:
    data, _ = written(ENTRIES)
    with pytest.raises(Tampered):
        read_segment(b"\n".join(TAMPERINGS[how](lines_of(data))) + b"\n", place=Place("chain"), keys=KEYS)


def test_a_segment_that_was_left_out_or_repeated_is_missed() -> None:
    first, place = written(ENTRIES)
    _, place = written([entry("二")], place)
    third, _ = written([entry("三")], place)
    _, reached = read_segment(first, place=None, keys=KEYS)
    for next_one in (third, first):
        with pytest.raises(Tampered, match="does not go on"):
            read_segment(next_one, place=reached, keys=KEYS)


def test_a_record_that_somebody_wrote_anew_hangs_together_but_nobody_signed_it() -> None:
    forged, _ = written([entry("改过的")], signed=False)
    read_segment(forged, place=Place("chain"), keys=None)
    with pytest.raises(Tampered, match="not signed"):
        read_segment(forged, place=Place("chain"), keys=KEYS)
    other, _ = segment([entry("改过的")], Place("chain"), signer=Signer(generate_private_key()))
    with pytest.raises(Tampered, match="signed by key"):
        read_segment(other, place=Place("chain"), keys=KEYS)


def test_of_an_answer_every_shown_text_is_on_record_and_errors_are_not() -> None:
    verdict = ItemVerdict(accepted=False, score=0.25, checks={"facts": ItemCheck(passed=False), "length": ItemCheck(passed=True)})
    item = ItemReason(
        product_id="p1",
        status="ok",
        text="好",
        source="template",
        controls={"style": "concise"},
        verdict=verdict,
        aigc=Aigc(label=0, producer="shop", produce_id="c1"),
        revision="r1",
        degraded="deadline",
    )
    items = (item, item_error("p2", ProductNotFound("no product 'p2'")))
    page = ReasonsResponse(request_id="r-1", bundle_id="b1", policy_version="v1", degraded=True, items=items)
    (told,) = shown(page, at=AT, tenant="shop", user="abc", channel="list")
    assert (told.request_id, told.tenant, told.user, told.channel, told.product_id) == ("r-1", "shop", "abc", "list", "p1")
    assert (told.source, told.produce_id, told.score, told.checks_failed, told.degraded) == ("template", "c1", 0.25, ("facts",), "deadline")


def test_a_pseudonym_is_found_again_with_the_same_secret_only() -> None:
    secret, other = b"s" * 32, b"t" * 32
    found = pseudonym("u1", tenant="a", secret=secret)
    assert found == pseudonym("u1", tenant="a", secret=secret)
    assert len({found, pseudonym("u1", tenant="a", secret=other), pseudonym("u1", tenant="b", secret=secret)}) == 3
    assert "u1" not in found
