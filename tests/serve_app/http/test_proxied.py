"""What Ray Serve's proxy would fail at does not reach it; everything else does, as it was sent."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cluster.commands.serve import RAY_ENVIRONMENT
from serve_app.http.proxied import middlewares


def passed(*headers: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["headers"])

    (middleware,) = middlewares()
    scope = {"type": "http", "headers": list(headers)}
    asyncio.run(middleware.cls(app, *middleware.args, **middleware.kwargs)(scope, None, None))  # type: ignore[arg-type]
    assert scope["headers"] == list(headers), "whoever else has the scope finds it as it was"
    return list(seen[0])


@pytest.mark.parametrize("name", [b"x-request-id", b"X-Request-ID", b"traceparent", b"x-session-id", b"serve-multiplexed-model-id"])
def test_a_header_that_the_proxy_cannot_decode_is_as_if_it_was_not_sent(name: bytes) -> None:
    other = (b"content-type", b"application/json")
    assert passed((name, b"\xc3("), other) == [other]
    assert passed((name, b"r-1"), other) == [(name, b"r-1"), other]


def test_a_header_that_we_read_ourselves_is_left_for_us_to_refuse() -> None:
    odd = (b"x-deadline-ms", "五".encode())
    assert passed(odd) == [odd]


def test_ray_is_told_where_it_stands_wherever_it_is_started() -> None:
    name = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
    assert RAY_ENVIRONMENT[name] == f"{middlewares.__module__}.{middlewares.__name__}"
    dockerfile = Path(__file__).resolve().parents[3] / "k8s" / "Dockerfile"
    assert f"{name}={RAY_ENVIRONMENT[name]}" in dockerfile.read_text()
