"""Errors as problem+json."""

import inspect
from typing import Any

import pytest
from pydantic import ValidationError

from common import errors
from common.contract.problems import from_error, from_status, from_validation, unexpected
from common.contract.wire import ReasonsRequest

ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.LiyouError)]


def validated(document: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        ReasonsRequest.model_validate(document)
    problem = from_validation(caught.value.errors(include_url=False), document=document, request_id="r1")  # type: ignore[arg-type]
    assert (problem.status, problem.code, problem.request_id, problem.retryable) == (422, "bad_input", "r1", False)
    return [(entry.pointer, entry.detail) for entry in problem.errors]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_crosses_with_its_code_and_status(kind: type[errors.LiyouError]) -> None:
    problem = from_error(kind("what, got, expected"), request_id="r1")
    assert problem.status == kind.status
    assert problem.title
    assert problem.type == f"urn:liyou:problem:{kind.code}"
    assert problem.retryable == kind.retryable


def test_no_two_errors_share_a_code() -> None:
    codes = [kind.code for kind in ERRORS]
    assert len(set(codes)) == len(codes)


def test_an_internal_error_tells_nothing_of_itself() -> None:
    problem = from_error(errors.LiyouError("/srv/secret/path"), request_id="r1")
    assert problem == unexpected(request_id="r1")
    assert "secret" not in problem.model_dump_json()


def test_fields_of_an_error_become_pointers() -> None:
    problem = from_error(errors.BadControl("no such", fields=(("/items/3/controls/style", "got 'x'"),)), request_id="r1")
    assert [entry.model_dump() for entry in problem.errors] == [{"pointer": "/items/3/controls/style", "detail": "got 'x'"}]


@pytest.mark.parametrize(
    ("document", "pointers"),
    [
        ({"items": [{"product_id": "p"}] * 51}, ["/items"]),
        ({"items": []}, ["/items"]),
        ({}, ["/items"]),
        ([], [""]),
        (None, [""]),
        ({"items": [{"product_id": "p"}], "a/b~c": 1}, ["/a~1b~0c"]),
        ({"items": [{"product_id": 3}]}, ["/items/0/product_id"]),
        ({"items": [{"product_id": "p"}, {}]}, ["/items/1"]),
        ({"items": [{"product": {"product_id": "p", "title": "t", "category": "c", "attributes": {"颜色": ["黑", None]}}}]}, None),
    ],
    ids=str,
)
def test_pointers_name_the_place_in_the_request_and_no_union_branch(document: Any, pointers: list[str] | None) -> None:
    found = [pointer for pointer, _ in validated(document)]
    if pointers is None:
        assert found[-1] == "/items/0/product/attributes/颜色/1"
        assert not any("str" in pointer or "list" in pointer for pointer in found)
    else:
        assert found == pointers


def test_a_wrong_item_does_not_make_its_list_too_short() -> None:
    assert validated({"items": [{"product_id": 3}]}) == [("/items/0/product_id", "Input should be a valid string")]


def test_a_thousand_wrong_fields_are_told_as_twenty() -> None:
    found = validated({"items": [{"product_id": "p"}], **{f"x{i}": 1 for i in range(1000)}})
    assert len(found) == 20


def test_what_was_sent_is_not_sent_back() -> None:
    document = {"items": [{"product_id": "p"}], "user": {"user_id": ["secret-value"]}}
    assert "secret-value" not in str(validated(document))


@pytest.mark.parametrize(
    ("status", "code"), [(404, "not_found"), (405, "method_not_allowed"), (413, "too_large"), (406, "bad_request"), (500, "internal")]
)
def test_a_frameworks_refusal_gets_a_code_of_ours(status: int, code: str) -> None:
    assert from_status(status, detail="no", request_id="r").code == code
