"""What runs in Ray Serve's proxy, before a request reaches us. Imports nothing heavy.

The proxy decodes a few headers itself, and answers a bare 500 where one is no UTF-8: those are left out, as if they had not been sent.
"""

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

DECODED = frozenset([b"x-request-id", b"x-session-id", b"serve-multiplexed-model-id", b"serve_multiplexed_model_id", b"traceparent"])


class DecodableHeaders:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "headers" in scope:
            kept = [(name, value) for name, value in scope["headers"] if value.isascii() or name.lower() not in DECODED]
            scope = {**scope, "headers": kept}
        await self.app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """Ray Serve puts them around its own where RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH names this function."""
    return [Middleware(DecodableHeaders)]
