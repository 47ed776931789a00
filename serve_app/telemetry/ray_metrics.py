"""Hands metrics to the Ray agent of the node, which Prometheus asks. Not ray.serve.metrics: those have a label that each start renews."""

from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge, Histogram

from serve_app.telemetry.metrics import Metric


class RayMetrics:
    """Each is made when it is first recorded, 3 microseconds a time from then on."""

    def __init__(self) -> None:
        self._made: dict[str, Counter | Gauge | Histogram] = {}

    def __call__(self, metric: Metric, value: float = 1.0, labels: Mapping[str, str] | None = None) -> None:
        made, told = self._made.get(metric.name) or self._make(metric), dict(labels or {})
        if isinstance(made, Histogram):
            made.observe(value, told)
        elif isinstance(made, Gauge):
            made.set(value, told)
        elif value:  # Ray's counters refuse 0
            made.inc(value, told)

    def _make(self, metric: Metric) -> Counter | Gauge | Histogram:
        if metric.kind == "histogram":
            made: Counter | Gauge | Histogram = Histogram(metric.name, metric.description, list(metric.buckets), metric.labels)
        else:
            made = (Counter if metric.kind == "counter" else Gauge)(metric.name, metric.description, metric.labels)
        self._made[metric.name] = made
        return made
