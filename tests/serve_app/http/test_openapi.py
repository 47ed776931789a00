"""The committed OpenAPI document."""

from typing import Any, NoReturn

import orjson

from serve_app.http.api import create_api
from serve_app.http.openapi import COMMITTED, rendered


async def unasked(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError


def test_the_committed_document_is_the_apps() -> None:
    app = create_api(unasked, ready=unasked, models=unasked)
    assert COMMITTED.read_bytes() == rendered(app), "run `python -m serve_app.http.openapi`, read the diff, commit it"


def test_every_reference_in_the_document_resolves() -> None:
    document = orjson.loads(COMMITTED.read_bytes())
    schemas = document["components"]["schemas"]
    references = [part.split('"')[0] for part in COMMITTED.read_text(encoding="utf-8").split('"#/components/schemas/')[1:]]
    assert references
    assert set(references) <= schemas.keys()


def test_the_schema_says_that_requests_refuse_unknown_fields_and_how_many_items_fit() -> None:
    page = orjson.loads(COMMITTED.read_bytes())["components"]["schemas"]["ReasonsRequest"]
    assert page["additionalProperties"] is False
    assert (page["properties"]["items"]["minItems"], page["properties"]["items"]["maxItems"]) == (1, 50)
