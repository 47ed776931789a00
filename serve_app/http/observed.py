"""Tells of each HTTP request once: a metric, a span, a line in the log. Of its body it knows what the routes note, and never who asked.

Outermost, so that it sees the status that leaves. A path that nobody serves is `other`: it may hold anything.
"""

import logging
import time

from opentelemetry.trace import StatusCode
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.log import traceparent
from serve_app.http.traffic import Traffic
from serve_app.telemetry.metrics import REQUEST_SECONDS, REQUESTS, SHED
from serve_app.telemetry.stages import Telemetry

HEADER = "traceparent"
PROBES = ("/livez", "/readyz")
OTHER = "other"

log = logging.getLogger("ray.serve")


class ObservedMiddleware:
    def __init__(self, app: ASGIApp, *, telemetry: Telemetry, traffic: Traffic) -> None:
        self.app, self.telemetry, self.traffic = app, telemetry, traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began_s, status = time.perf_counter(), 0
        told = scope.setdefault("state", {})

        async def send_with_trace(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = traceparent.get() or ""
            await send(message)

        headers = Headers(scope=scope).getlist(HEADER)
        with self.traffic.inside(), self.telemetry.request(headers, traced=scope["path"] not in PROBES) as span:
            try:
                await self.app(scope, receive, send_with_trace)
            except Exception:
                status = 500
                raise
            finally:
                route, outcome = getattr(scope.get("route"), "path", OTHER), outcome_of(status, degraded=told.get("degraded", False))
                outcome = told.get("broke_off") or outcome
                seconds = time.perf_counter() - began_s
                self.telemetry.record(REQUESTS, 1, {"route": route, "outcome": outcome})
                self.telemetry.record(REQUEST_SECONDS, seconds, {"route": route})
                if told.get("retryable") and route not in PROBES:
                    self.telemetry.record(SHED, 1, {"reason": told["code"]})
                for name, value in (("http.route", route), ("http.response.status_code", status), ("liyou.outcome", outcome)):
                    span.set_attribute(name, value)
                if status >= 500 or outcome == "failed":
                    span.set_status(StatusCode.ERROR)
                line = {"http_route": route, "status": status, "outcome": outcome, "ms": round(seconds * 1000, 1)}
                line |= {name: told[name] for name in ("request_id", "key", "items", "code") if told.get(name) is not None}
                log.log(logging.DEBUG if route in PROBES else logging.INFO, "%s %d %s", route, status, outcome, extra=line)


def outcome_of(status: int, *, degraded: bool) -> str:
    """`left`: the caller was gone before there was an answer."""
    if status < 400:
        return "degraded" if degraded else "ok" if status else "left"
    return {429: "limited", 500: "failed", 503: "unavailable", 504: "unavailable"}.get(status, "refused")
