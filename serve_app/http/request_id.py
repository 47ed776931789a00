"""Gives every answer a request id, the caller's or a new one, and turns what nobody expected into a problem that tells no internals."""

import logging
import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.contract import problems
from common.log import request_id as current_request_id

HEADER = "x-request-id"
VALID = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")

log = logging.getLogger("ray.serve")  # the logger whose records Serve writes to the replica's file


def problem_response(problem: problems.Problem, *, headers: dict[str, str] | None = None) -> Response:
    return Response(problem.model_dump_json(), status_code=problem.status, headers=headers, media_type=problems.MEDIA_TYPE)


class RequestIdMiddleware:
    """`echo` is off behind a proxy that echoes the header itself (Ray Serve's does): two headers would read as "id, id"."""

    def __init__(self, app: ASGIApp, *, echo: bool) -> None:
        self.app = app
        self.echo = echo

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope).get(HEADER, "")
        request_id = asked if VALID.fullmatch(asked) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if self.echo:
                    MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        token = current_request_id.set(request_id)
        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            log.exception("unexpected error")  # its route is in the line that ends the request; a path may hold anything
            if started:
                raise
            await problem_response(problems.unexpected(request_id=request_id))(scope, receive, send_with_id)
        finally:
            current_request_id.reset(token)
