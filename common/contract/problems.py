"""How an error crosses HTTP: RFC 9457 problem+json with a stable code. Knows no web framework; internals never leave through it."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from pydantic import BaseModel, ConfigDict, Field

from common.config import plain
from common.errors import LiyouError

MEDIA_TYPE = "application/problem+json"
MAX_FIELD_PROBLEMS = 20

CODES_BY_STATUS = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type"}


class FieldProblem(BaseModel):
    model_config = ConfigDict(frozen=True)

    pointer: str = Field(description="RFC 6901 JSON pointer into the request body; empty: the whole document")
    detail: str


class Problem(BaseModel):
    """The body of every answer that is not a success. Clients branch on `code`, never on words."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="urn:liyou:problem:CODE")
    title: str = Field(description="the code in words")
    status: int
    detail: str
    code: str
    request_id: str
    retryable: bool = Field(description="whether the same request may succeed later")
    errors: tuple[FieldProblem, ...] = ()


class ValidationDetails(TypedDict):
    """The part of a pydantic error that is told; its input and its context stay here."""

    type: str
    loc: tuple[int | str, ...]
    msg: str


def _problem(
    code: str, *, status: int, detail: str, request_id: str, retryable: bool = False, errors: Sequence[FieldProblem] = ()
) -> Problem:
    return Problem(
        type=f"urn:liyou:problem:{code}",
        title=code.replace("_", " ").capitalize(),
        status=status,
        detail=detail,
        code=code,
        request_id=request_id,
        retryable=retryable,
        errors=tuple(errors),
    )


def from_error(error: LiyouError, *, request_id: str) -> Problem:
    """What the caller can act on. An error that is only ours becomes `unexpected`."""
    if error.code == LiyouError.code:
        return unexpected(request_id=request_id)
    return _problem(
        error.code,
        status=error.status,
        detail=str(error),
        request_id=request_id,
        retryable=error.retryable,
        errors=[FieldProblem(pointer=pointer, detail=detail) for pointer, detail in error.fields[:MAX_FIELD_PROBLEMS]],
    )


def from_validation(details: Sequence[ValidationDetails], *, document: object, request_id: str) -> Problem:
    """`details` as pydantic's `errors()` gives them; `document` is what was validated, to tell keys from union branches."""
    found: dict[str, list[str]] = {}
    for detail in details:
        if detail["type"] == "too_short" and any(_below(other["loc"], detail["loc"]) for other in details):
            continue  # pydantic counts a list's valid entries only: with a wrong entry it would also be called too short
        messages = found.setdefault(pointer(detail["loc"], document=document, missing=detail["type"] == "missing"), [])
        if (message := plain(detail["msg"])) not in messages:
            messages.append(message)
    errors = [FieldProblem(pointer=where, detail=", or: ".join(messages)) for where, messages in found.items()]
    first = errors[0]
    more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
    return _problem(
        "bad_input",
        status=422,
        detail=f"{first.pointer or 'body'}: {first.detail}{more}",
        request_id=request_id,
        errors=errors[:MAX_FIELD_PROBLEMS],
    )


def from_status(status: int, *, detail: str, request_id: str) -> Problem:
    """What a web framework refuses by itself: an unknown path, a wrong method."""
    code = CODES_BY_STATUS.get(status, "internal" if status >= 500 else "bad_request")
    return _problem(code, status=status, detail=detail, request_id=request_id)


def unexpected(*, request_id: str) -> Problem:
    """Says nothing of what happened: the log does, under the same request id."""
    detail = "the request failed on our side; quote the request id when you report it"
    return _problem("internal", status=500, detail=detail, request_id=request_id)


def _below(inner: Sequence[int | str], outer: Sequence[int | str]) -> bool:
    return len(inner) > len(outer) and tuple(inner[: len(outer)]) == tuple(outer)


def _child(node: object, part: int | str) -> tuple[object] | None:
    if isinstance(node, Mapping) and part in node:
        return (node[part],)
    return (node[part],) if isinstance(node, list) and isinstance(part, int) and part < len(node) else None


def pointer(location: Sequence[int | str], *, document: object, missing: bool = False) -> str:
    """The JSON pointer of a pydantic location. Parts that name no key of `document` are branches of a union and are left out."""
    parts: list[str] = []
    node = document
    for index, part in enumerate(location):
        last = index == len(location) - 1
        child = _child(node, part)
        if child is not None:
            node = child[0]
        elif not (missing and last):
            continue
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{part}" for part in parts)
