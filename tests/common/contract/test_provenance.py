"""The AI label and the bytes that are vouched for."""

from typing import Any

import pytest

from common.contract.provenance import Statement, canonical_bytes, label


def stated(**changes: Any) -> Statement:
    fields: dict[str, Any] = {
        "product_id": "p1",
        "revision": "r1",
        "text": "续航30小时",
        "source": "model",
        "controls": {"b": "1", "a": "2"},
    }
    fields |= {"bundle_id": "b1", "policy_version": "v1", "producer": "shop"}
    return Statement(**(fields | changes))


def test_canonical_bytes_are_these() -> None:
    told = (
        '{"ai_label":1,"bundle_id":"b1","controls":{"a":"2","b":"1"},%s"policy_version":"v1","producer":"shop",'
        '"product_id":"p1","revision":"r1","source":"model","text":"续航30小时","v":1}'
    )
    assert canonical_bytes(stated()).decode() == told % ""
    assert canonical_bytes(stated(), expires_at=1_800_000_000).decode() == told % '"expires_at":1800000000,'


def test_texts_that_unicode_calls_equivalent_have_the_same_bytes() -> None:
    assert canonical_bytes(stated(text="Cafe\u0301")) == canonical_bytes(stated(text="Caf\u00e9"))


CHANGES = [
    {"product_id": "p2"},
    {"revision": "r2"},
    {"text": "续航31小时"},
    {"source": "template"},
    {"bundle_id": "b2"},
    {"policy_version": "v2"},
    {"controls": {}},
    {"producer": "another"},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_change_of_any_field_changes_the_content_number(change: dict[str, Any]) -> None:
    assert label(stated(**change)).produce_id != label(stated()).produce_id


def test_a_model_is_labelled_for_people_to_see_and_a_template_is_labelled_as_not_ai() -> None:
    written, filled = label(stated()), label(stated(source="template"))
    assert (written.label, written.display, written.producer) == (1, "AI生成", "shop")
    assert (filled.label, filled.display) == (0, None)
    assert label(stated(source="cache")) == written, "the same content, shown again, has the same number"
