"""The AI label and the bytes that are vouched for."""

from typing import Any

import pytest

from common.contract.provenance import Statement, canonical_bytes, label, statement


def stated(**changes: Any) -> Statement:
    fields: dict[str, Any] = {"product_id": "p1", "text": "续航30小时", "source": "model", "controls": {"b": "1", "a": "2"}}
    fields |= {"bundle_id": "b1", "policy_version": "v1"}
    return statement(**(fields | changes))


def test_canonical_bytes_are_these() -> None:
    assert canonical_bytes(stated()).decode() == (
        '{"ai_label":1,"bundle_id":"b1","controls":{"a":"2","b":"1"},"policy_version":"v1",'
        '"product_id":"p1","source":"model","text":"续航30小时","v":1}'
    )


def test_texts_that_unicode_calls_equivalent_have_the_same_bytes() -> None:
    assert canonical_bytes(stated(text="Cafe\u0301")) == canonical_bytes(stated(text="Caf\u00e9"))


@pytest.mark.parametrize(
    "change", [{"product_id": "p2"}, {"text": "续航31小时"}, {"source": "cache"}, {"bundle_id": "b2"}, {"controls": {}}], ids=str
)
def test_a_change_of_any_field_changes_the_content_number(change: dict[str, Any]) -> None:
    assert label(stated(**change), producer="shop").produce_id != label(stated(), producer="shop").produce_id


def test_a_model_is_labelled_for_people_to_see_and_a_template_is_labelled_as_not_ai() -> None:
    written, filled = label(stated(), producer="shop"), label(stated(source="template"), producer="shop")
    assert (written.label, written.display, written.producer) == (1, "AI生成", "shop")
    assert (filled.label, filled.display) == (0, None)
    assert label(stated(source="cache"), producer="shop").label == 1
