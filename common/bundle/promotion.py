"""Why a bundle may not go live. Compares what manifests say; loads no model and moves no alias."""

import math

from pydantic import Field

from common.bundle.manifest import BundleManifest, Metric
from common.config import Frozen

NOISE_SIGMAS = 1.96


class Rail(Frozen):
    """Bounds that hold whatever is live now."""

    least: float | None = None
    most: float | None = None


class PromotionRules(Frozen):
    required_metrics: tuple[str, ...] = Field((), description="must have been measured, with an interval; empty asks for any one metric")
    rails: dict[str, Rail] = Field(default_factory=dict, description="metric -> bounds")
    require_signature: bool = False
    least_rows: int = Field(0, ge=0, description="rows that each required metric was measured on")


NO_RULES = PromotionRules()


def reasons_against(
    candidate: BundleManifest,
    live: BundleManifest | None,
    *,
    rules: PromotionRules = NO_RULES,
    canary_failure: str | None = None,
    signed_by: str | None = None,
) -> list[str]:
    """One sentence a reason; empty: it may go live. `canary_failure` is what `load_bundle` raised, `signed_by` whom it verified."""
    reasons = []
    if canary_failure is not None:
        reasons.append(f"its canaries failed: {canary_failure}")
    if rules.require_signature and signed_by is None:
        reasons.append("it is not signed by a trusted key, and signing is demanded; sign it with the bundle key")
    if not candidate.metrics:
        reasons.append("it was never evaluated; run `liyou evaluate` and write the bundle with its metrics")
    reasons += _missing(candidate, rules)
    for name, rail in rules.rails.items():
        metric = candidate.metrics.get(name)
        if metric is not None and rail.least is not None and metric.value < rail.least:
            reasons.append(f"{name} is {metric.value:.4g}; the guard rail asks for at least {rail.least:.4g}")
        if metric is not None and rail.most is not None and metric.value > rail.most:
            reasons.append(f"{name} is {metric.value:.4g}; the guard rail allows at most {rail.most:.4g}")
    return reasons + (_against_live(candidate, live) if live is not None else [])


def _missing(candidate: BundleManifest, rules: PromotionRules) -> list[str]:
    reasons = []
    for name in dict.fromkeys([*rules.required_metrics, *rules.rails]):
        metric = candidate.metrics.get(name)
        if metric is None:
            reasons.append(f"{name} was not measured; it has {', '.join(candidate.metrics) or 'no metrics'}")
        elif name in rules.required_metrics and (metric.low is None or metric.num < rules.least_rows):
            how = "without" if metric.low is None else "with"
            reasons.append(f"{name} was measured on {metric.num} rows {how} an interval; expected one on >= {rules.least_rows} rows")
    return reasons


def _against_live(candidate: BundleManifest, live: BundleManifest) -> list[str]:
    if candidate.bundle_id == live.bundle_id:
        return [f"{live.bundle_id} is live already"]
    theirs, ours = live.origin.data.test_digest, candidate.origin.data.test_digest
    if theirs != ours and live.metrics and candidate.metrics:
        of_others = f"its metrics are of other test rows ({ours}) than those of the live bundle ({theirs})"
        return [f"{of_others}; measure both on the same ones: --snapshot"]
    reasons = []
    for name in live.metrics:
        if name not in candidate.metrics:
            reasons.append(f"{name} was measured for the live bundle and not for this one")
        elif worse_beyond_noise(candidate.metrics[name], live.metrics[name]):
            new, old = candidate.metrics[name], live.metrics[name]
            reasons.append(f"{name} is {_spell(new)}; the live bundle has {_spell(old)}: worse beyond noise")
    return reasons


def worse_beyond_noise(new: Metric, old: Metric) -> bool:
    """Whether `new` is worse by more than 1.96 standard errors of the difference. Without intervals nobody can say: False.

    The errors come from the half widths of the 95 % intervals as if the two were independent, which is careful: on the same rows the
    difference is known better than that. Which way is better the newer measurement says.
    """
    if new.better == "neither":
        return False
    loss = (old.value - new.value) if new.better == "higher" else (new.value - old.value)
    ours, theirs = _standard_error(new), _standard_error(old)
    return ours is not None and theirs is not None and loss > NOISE_SIGMAS * math.hypot(ours, theirs)


def _standard_error(metric: Metric) -> float | None:
    return None if metric.low is None or metric.high is None else (metric.high - metric.low) / (2 * NOISE_SIGMAS)


def _spell(metric: Metric) -> str:
    interval = "" if metric.low is None else f" [{metric.low:.4g}, {metric.high:.4g}]"
    return f"{metric.value:.4g}{interval}"
