"""A stage of a page, told twice: as seconds in a metric and as a span. `OFF` tells nobody."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from opentelemetry.trace import INVALID_SPAN, Span

from common.log import traceparent
from serve_app.config import TelemetryConfig
from serve_app.telemetry.metrics import STAGE_SECONDS, Record, nothing
from serve_app.telemetry.tracing import Spans, going_on, unrecorded


@dataclass(frozen=True, slots=True)
class Telemetry:
    record: Record = nothing
    spans: Spans | None = None
    clock: Callable[[], float] = time.perf_counter

    @contextmanager
    def request(self, headers: Sequence[str], *, traced: bool = True) -> Iterator[Span]:
        """Of the HTTP request whose `traceparent` headers these are; whatever is told below belongs to its trace, which stands in logs
        also where nobody records it."""
        recorded = traced and self.spans is not None
        token = traceparent.set(going_on(headers) or (None if recorded else unrecorded()))
        try:
            with self.span("request") if recorded else nullcontext(INVALID_SPAN) as span:
                yield span
        finally:
            traceparent.reset(token)

    @contextmanager
    def span(self, name: str) -> Iterator[Span]:
        if self.spans is None:
            yield INVALID_SPAN
            return
        with self.spans.opened(name) as span:
            yield span

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began_s = self.clock()
        try:
            with self.span(name):
                yield
        finally:
            self.record(STAGE_SECONDS, self.clock() - began_s, {"stage": name})

    def close(self) -> None:
        if self.spans is not None:
            self.spans.close()


OFF = Telemetry()


def open_telemetry(config: TelemetryConfig, *, deployment: str) -> Telemetry:
    """As a replica has it: Ray takes its metrics, and the receiver, where one is named, its spans."""
    from serve_app.telemetry.ray_metrics import RayMetrics

    return Telemetry(RayMetrics(), Spans(config, deployment=deployment) if config.otlp_endpoint else None)
