"""The OpenAPI document: what FastAPI finds in the routes, plus bodies read by hand. `python -m serve_app.http.openapi` writes it."""

from pathlib import Path
from typing import NoReturn

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from common.contract.deadline import HEADER as DEADLINE_HEADER
from common.contract.problems import MEDIA_TYPE, Problem
from common.contract.wire import LINES, ReasonsLine, ReasonsRequest, VerifyRequest

COMMITTED = Path(__file__).resolve().parents[1] / "openapi.json"
REF = "#/components/schemas/{model}"
MEANINGS = {
    400: "not JSON, or nested too deeply",
    401: "no API key, or none that is known and valid now",
    403: "the key lacks the scope, or asks for more items at once than it may in a whole window",
    404: "no product of the page is known; among known ones an unknown product is an error of its item",
    409: "nothing is kept here, so nothing can be written ahead",
    413: "body too large",
    415: "not application/json",
    422: "not of the schema, an unknown control code, or a deadline out of bounds",
    429: "more than the key may ask for; see Retry-After",
    500: "broken on our side",
    503: "not possible right now; see Retry-After",
    504: "not even a template was possible before the deadline",
}


def _body(model: str) -> dict[str, object]:
    return {"required": True, "content": {"application/json": {"schema": {"$ref": REF.format(model=model)}}}}


VERIFY_REQUEST: dict[str, object] = {"requestBody": _body("VerifyRequest")}
HEADERS: list[dict[str, object]] = [
    {
        "name": DEADLINE_HEADER,
        "in": "header",
        "required": False,
        "schema": {"type": "integer"},
        "description": "milliseconds the caller will wait; items that cannot be generated in time show a template",
    },
    {
        "name": "X-Request-ID",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "maxLength": 128},
        "description": "echoed on every answer; one is made where it is absent",
    },
    {
        "name": "traceparent",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "maxLength": 512},
        "description": "W3C trace context, gone on with; every answer carries ours. One that is not valid is ignored",
    },
]
REASONS_REQUEST: dict[str, object] = {
    "requestBody": _body("ReasonsRequest"),
    "parameters": HEADERS,
}


EXPLAINED_REQUEST: dict[str, object] = {
    "requestBody": REASONS_REQUEST["requestBody"],
    "parameters": [
        *HEADERS,
        {
            "name": "explain",
            "in": "query",
            "required": False,
            "schema": {"type": "boolean", "default": False},
            "description": "whether `attribution` says what each code had to do with a text; not with lines, and an item counts twice",
        },
    ],
}
LINES_ANSWER: dict[int | str, dict[str, object]] = {
    200: {
        "description": "the page; where `Accept` names application/x-ndjson, a line an item in the order of acceptance, and one that says "
        "that it was the last",
        "content": {LINES: {"schema": {"$ref": REF.format(model="ReasonsLine")}}},
    }
}


def problem_answers(*statuses: int) -> dict[int | str, dict[str, object]]:
    content = {MEDIA_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}}
    return {status: {"description": MEANINGS[status], "content": content} for status in statuses}


def document(app: FastAPI) -> dict[str, object]:
    """The whole document, made once an app."""
    if not app.openapi_schema:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        _, ours = models_json_schema(
            [
                (ReasonsRequest, "validation"),
                (VerifyRequest, "validation"),
                (Problem, "serialization"),
                (ReasonsLine, "serialization"),
            ],
            ref_template=REF,
        )
        schema["components"]["schemas"] = dict(sorted((schema["components"]["schemas"] | ours["$defs"]).items()))
        app.openapi_schema = schema
    return app.openapi_schema


def rendered(app: FastAPI) -> bytes:
    """The document as it is committed: indented and with a final newline, so that its diff can be read."""
    return orjson.dumps(document(app), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def main() -> None:
    """Writes the committed document anew; run it after a change to the contract and read the diff."""
    from serve_app.http.api import create_api

    async def never(*_: object, **__: object) -> NoReturn:
        raise AssertionError("only the document is wanted")

    app = create_api(never, ready=never, models=never)
    COMMITTED.write_bytes(rendered(app))
    print(f"wrote {COMMITTED}")


if __name__ == "__main__":
    main()
