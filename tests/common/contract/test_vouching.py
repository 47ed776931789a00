"""What was signed verifies anywhere, and nothing else does."""

import time
from typing import Any

import pytest

from common.artifacts.signing import Keyring, Signature, Signer, generate_private_key, public_key
from common.contract.provenance import Statement, label
from common.contract.vouching import SKEW_S, Voucher, verified
from common.contract.wire import ItemReason, KeysResponse, ReasonsResponse, VerifyRequest, item_error
from common.errors import ProductNotFound

PRIVATE = generate_private_key()
NOW, LIFETIME = 1_800_000_000.5, 600
KEYS = Keyring.of_pems([public_key(PRIVATE)])


def item(product_id: str, text: str, source: Any = "model") -> ItemReason:
    stated = Statement(
        product_id=product_id,
        revision=f"rev {product_id}",
        text=text,
        source=source,
        controls={"style": "concise"},
        bundle_id="b1",
        policy_version="v1",
        producer="shop",
    )
    signature = Voucher(Signer(PRIVATE), lifetime_s=LIFETIME).sign(stated, now_s=NOW)
    return ItemReason(
        product_id=product_id,
        status="ok",
        text=text,
        source=source,
        controls=stated.controls,
        aigc=label(stated),
        revision=stated.revision,
        signature=signature,
    )


ANSWER = ReasonsResponse(
    request_id="r",
    bundle_id="b1",
    policy_version="v1",
    degraded=False,
    items=(item("p1", "续航30小时，通勤够用。"), item("p2", "这款跑鞋很轻。", "template")),
)


def codes(answer: ReasonsResponse | VerifyRequest, *, keys: Keyring = KEYS, now_s: float = NOW) -> list[str | None]:
    return [one.code for one in verified(answer, keys=keys, now_s=now_s).items]


def changed(**fields: Any) -> ReasonsResponse:
    return ANSWER.model_copy(update={"items": (ANSWER.items[0].model_copy(update=fields), ANSWER.items[1])})


def test_an_answer_that_crossed_the_wire_verifies_with_keys_that_crossed_it_too() -> None:
    keys = KeysResponse.model_validate_json(KeysResponse(keys=KEYS.jwks()).model_dump_json())
    assert codes(VerifyRequest.model_validate_json(ANSWER.model_dump_json()), keys=Keyring.of_jwks(keys.keys)) == [None, None]


@pytest.mark.parametrize(
    "fields",
    [
        {"product_id": "p2"},
        {"text": "续航31小时，通勤够用。"},
        {"text": "续航30小时，通勤够用。\u200b"},
        {"text": None},
        {"source": "cache"},
        {"source": "template"},
        {"controls": {"style": "detailed"}},
        {"revision": "rev of before"},
        {"revision": None},
        {"signature": None},
        {"signature": ANSWER.items[1].signature},
        {"aigc": None},
        {"aigc": ANSWER.items[1].aigc},
        {"text": ANSWER.items[1].text, "signature": ANSWER.items[1].signature, "aigc": ANSWER.items[1].aigc, "source": "template"},
    ],
    ids=lambda fields: ", ".join(fields),
)
def test_an_item_that_was_changed_is_invalid_and_its_neighbour_is_not(fields: dict[str, Any]) -> None:
    assert codes(changed(**fields)) == ["signature_invalid", None]


def test_a_label_that_was_taken_off_is_noticed() -> None:
    assert ANSWER.items[0].aigc is not None
    bare = ANSWER.items[0].aigc.model_copy(update={"label": 0, "display": None})
    assert codes(changed(aigc=bare)) == ["signature_invalid", None]


@pytest.mark.parametrize("field", ["bundle_id", "policy_version"])
def test_what_stands_beside_the_items_is_signed_too(field: str) -> None:
    assert codes(ANSWER.model_copy(update={field: "another"})) == ["signature_invalid"] * 2


def test_every_flipped_bit_of_a_signature_is_noticed() -> None:
    signature = ANSWER.items[0].signature
    assert signature is not None
    for at in range(86):
        other = "A" if signature.value[at] != "A" else "Q"
        flipped = other + signature.value[at + 1 :]
        one = signature.model_copy(update={"value": signature.value[:at] + flipped})
        assert codes(changed(signature=one)) == ["signature_invalid", None]


def test_a_signature_has_one_spelling() -> None:
    signature = ANSWER.items[0].signature
    assert signature is not None
    loose = signature.value[:85] + chr(ord(signature.value[85]) + 1) + "=="
    with pytest.raises(ValueError, match="pattern"):
        Signature(key_id=signature.key_id, value=loose)


def test_a_text_that_was_made_up_to_take_long_is_refused_before_it_is_read() -> None:
    hostile = "a" + "\u0301" * 30_000 + "\u0316" * 30_000
    began = time.monotonic()
    assert codes(changed(text=hostile)) == ["signature_invalid", None]
    assert time.monotonic() - began < 1, "its normal form takes ten seconds"


def test_an_item_that_shows_nothing_needs_no_signature() -> None:
    failed = item_error("p3", ProductNotFound("no product 'p3'"))
    assert codes(ANSWER.model_copy(update={"items": (failed, *ANSWER.items)})) == [None, None, None]
    assert codes(ANSWER.model_copy(update={"items": (failed.model_copy(update={"text": "好"}),)})) == ["signature_invalid"]


def test_a_signature_expires_with_room_for_clocks_that_differ_and_its_time_cannot_be_moved() -> None:
    end = int(NOW) + LIFETIME
    assert codes(ANSWER, now_s=end + SKEW_S) == [None, None]
    assert codes(ANSWER, now_s=end + SKEW_S + 1) == ["signature_expired"] * 2
    assert ANSWER.items[0].signature is not None
    longer = ANSWER.items[0].signature.model_copy(update={"expires_at": end + 10_000})
    assert codes(changed(signature=longer)) == ["signature_invalid", None]


def test_a_key_that_was_rotated_out_still_verifies_while_it_is_published() -> None:
    successor = public_key(generate_private_key())
    assert codes(ANSWER, keys=Keyring.of_pems([successor])) == ["signature_invalid"] * 2
    assert codes(ANSWER, keys=Keyring.of_pems([successor, public_key(PRIVATE)])) == [None, None]


def test_texts_that_unicode_calls_equivalent_are_the_same_text() -> None:
    composed, apart = item("p1", "Caf\u00e9"), item("p1", "Cafe\u0301")
    moved = composed.model_copy(update={"text": apart.text})
    assert codes(ANSWER.model_copy(update={"items": (moved,)})) == [None]
