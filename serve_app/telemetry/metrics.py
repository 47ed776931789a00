"""The metrics of serving: names, labels, buckets. Who keeps them is an argument; Prometheus sees each name with `ray_` before it.

A label has few values: never a user, product, key, path or replica. Each replica holds every series it touched, and so does Prometheus for
weeks after; Ray itself adds node and worker. Of a histogram no `_sum` is used: Ray's agent makes it from the middles of the buckets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from common.quality.constraints import NAMES

REQUEST_BUCKETS_S = (0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 10.0, 15.0, 30.0, 60.0)
"""From a cached page to the longest deadline, with the default of 10 s and the storefronts' few seconds as edges."""
STAGE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""A key is looked up within a millisecond, a page is written within seconds."""
LEFT_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class Metric:
    kind: Literal["counter", "gauge", "histogram"]
    name: str
    description: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


class Record(Protocol):
    """Adds `value` to a counter, sets a gauge, or observes in a histogram."""

    def __call__(self, metric: Metric, value: float = 1.0, labels: Mapping[str, str] | None = None) -> None: ...


REQUESTS = Metric(
    "counter", "reco_reason_requests_total", "HTTP requests that were answered, or left by their caller", ("route", "outcome")
)
REQUEST_SECONDS = Metric(
    "histogram", "reco_reason_request_seconds", "from a request's head to its answer's end", ("route",), REQUEST_BUCKETS_S
)
INFLIGHT = Metric("gauge", "reco_reason_inflight", "HTTP requests inside a replica of api")
SHED = Metric("counter", "reco_reason_shed_total", "requests told to come again later, by the problem's code", ("reason",))
ITEMS = Metric(
    "counter",
    "reco_reason_items_total",
    "items answered, by where the text is from; verdict is accepted, why a template is shown, or the code of the item's error",
    ("source", "verdict"),
)
DEADLINE_LEFT = Metric(
    "histogram", "reco_reason_deadline_remaining_seconds", "left of the deadline when a page was answered", (), LEFT_BUCKETS_S
)
STAGE_SECONDS = Metric(
    "histogram", "reco_reason_stage_seconds", "of a page, by stage; generate and judge once a round", ("stage",), STAGE_BUCKETS_S
)
CANDIDATES = Metric("counter", "reco_reason_candidates_total", "texts that were judged", ("verdict",))
GUARD_BLOCKS = Metric("counter", "reco_reason_guard_blocks_total", "texts that a check refused, once for each such check", ("rule_group",))
CACHE_LOOKUPS = Metric("counter", "reco_reason_cache_lookups_total", "kept reasons that were looked for", ("result",))
HOP_FAILURES = Metric(
    "counter", "reco_reason_hop_failures_total", "attempts of a call to a deployment that brought nothing", ("deployment", "kind")
)
REDIS_FAILURES = Metric(
    "counter", "reco_reason_redis_failures_total", "times that Redis did not answer; then it is not asked for 5 s", ("use",)
)
AUDIT_PENDING = Metric("gauge", "reco_reason_audit_pending", "texts shown that are not on record yet")
AUDIT_LOST = Metric("counter", "reco_reason_audit_lost_total", "texts shown that will never be on record")
BUNDLE_INFO = Metric(
    "gauge", "reco_reason_bundle_info", "1 for the bundle and policy that a replica answers with, 0 for one before", ("bundle", "policy")
)
POLICY_REFUSED = Metric("gauge", "reco_reason_policy_refused", "1 while what is published as policy was refused, and the one before stands")
BUNDLE_LOAD_SECONDS = Metric("gauge", "reco_reason_bundle_load_seconds", "that loading the bundle took, canaries included")
CANARY_NATS = Metric(
    "gauge", "reco_reason_canary_nats", "a token's mean difference of log-probability: from trained, from base, and allowed", ("from",)
)
ENGINE_SEQUENCES = Metric("gauge", "reco_reason_engine_sequences", "texts that a generator is writing")
ENGINE_SEQUENCE_SECONDS = Metric("gauge", "reco_reason_engine_sequence_seconds", "of stepping that a finished text took lately")

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))


def nothing(metric: Metric, value: float = 1.0, labels: Mapping[str, str] | None = None) -> None:
    """For whoever has no Ray around: keeps nothing."""


VALUES: dict[str, tuple[str, ...]] = {
    "route": ("/v1/reasons", "/v1/reasons:warm", "/v1/reasons:verify", "/v1/keys", "/v1/models", "/livez", "/readyz", "other"),
    "outcome": ("ok", "degraded", "refused", "limited", "unavailable", "failed", "left"),
    "reason": ("rate_limited", "overloaded", "unavailable", "deadline_exceeded"),
    "source": ("cache", "model", "template", "none"),
    "stage": ("doors", "cache", "features", "generate", "judge", "sign"),
    "rule_group": ("facts", "controls", "compliance", "length", "language", "repetition", *NAMES, "discriminator"),
    "result": ("hit", "miss"),
    "deployment": ("features", "generator", "quality"),
    "kind": ("timeout", "failed", "full", "lost"),
    "use": ("limits", "cache"),
    "from": ("trained", "base", "allowed"),
}
"""All that a label can say, where that is a list. `verdict` of items: accepted, a reason for templates, or a code of common/errors.py."""
