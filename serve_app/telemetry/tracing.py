"""Spans of a page over all deployments: the caller's trace gone on with (W3C traceparent), sent as OTLP over HTTP. Knows no page.

The open span is one string, `common.log.traceparent`: it stands in logs, travels beside a call's request id, and is the parent of the next.
A span says which stage took how long and whether it failed: no text, no id of anybody, no word of an error.
"""

import logging
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, StatusCode, TraceFlags

from common.log import request_id, traceparent
from serve_app.config import TelemetryConfig

VALID = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
SEND_EVERY_MS = 1000
"""A replica that is stopped loses the spans of so long."""
KEPT_SPANS = 4096
"""That wait for a receiver; beyond it they are dropped, and no page waits."""
GIVE_UP_S = 5


@dataclass(frozen=True, slots=True)
class Call:
    """What goes along with a call to another deployment."""

    request_id: str | None = None
    traceparent: str | None = None

    @classmethod
    def current(cls) -> "Call":
        return cls(request_id.get(), traceparent.get())

    def joined(self) -> None:
        """On the other side: its logs and spans belong to the request from here on."""
        request_id.set(self.request_id)
        traceparent.set(self.traceparent)


def going_on(headers: Sequence[str]) -> str | None:
    """The caller's traceparent; None where there is none, several, or one that is not valid: then a new trace begins."""
    if len(headers) != 1 or (found := VALID.fullmatch(headers[0].strip())) is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    return None if version == "00" and more else f"00-{trace_id}-{span_id}-{flags}"


def unrecorded() -> str:
    """Of a new trace that nobody records: it ties log lines together."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


class Spans:
    """Sent from a thread of its own, a second behind; nobody waits for the receiver."""

    def __init__(self, config: TelemetryConfig, *, deployment: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

        about = Resource({"service.name": config.service_name, "liyou.deployment": deployment})
        self._provider = TracerProvider(sampler=ParentBasedTraceIdRatio(config.sample), resource=about)  # not the global one: Ray's
        logging.getLogger("opentelemetry.exporter").setLevel(
            logging.ERROR
        )  # a receiver that is gone is told of once a batch, not each second
        sender = OTLPSpanExporter(endpoint=config.otlp_endpoint, timeout=GIVE_UP_S)
        self._provider.add_span_processor(BatchSpanProcessor(sender, KEPT_SPANS, SEND_EVERY_MS))
        self._tracer = self._provider.get_tracer("liyou")

    @contextmanager
    def opened(self, name: str) -> Iterator[Span]:
        """A span below the open one, or the first of a new trace; it is the open one meanwhile."""
        span = self._tracer.start_span(name, _above(traceparent.get()))
        own = span.get_span_context()
        token = traceparent.set(f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags & TraceFlags.SAMPLED:02x}")
        try:
            yield span
        except BaseException as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            traceparent.reset(token)
            span.end()

    def close(self) -> None:
        self._provider.shutdown()


def _above(parent: str | None) -> Context:
    if parent is None:
        return Context()
    _, trace_id, span_id, flags = parent.split("-")
    remote = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return trace.set_span_in_context(NonRecordingSpan(remote), Context())
