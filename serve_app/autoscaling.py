"""How many replicas the graph needs: one decision for the whole application, from what its generators measure. No model, no torch.

Named in a Serve config as `autoscaling_policy: {policy_function: "serve_app.autoscaling:Policy"}` beside the application's `args`. Serve
keeps each deployment's bounds and delays around what is decided here, and leaves deployments alone whose bounds are equal.
"""

import math
from collections.abc import Mapping
from statistics import fmean

from ray.serve._private.common import DeploymentID
from ray.serve.config import AutoscalingContext

GENERATOR = "generator"
SEQUENCES, SECONDS_A_SEQUENCE = "sequences", "seconds_a_sequence"
"""What a generator replica reports: sequences submitted and not finished, and seconds of stepping that a finished one took."""

Contexts = Mapping[DeploymentID, AutoscalingContext]


class Policy:
    """The generator gets as many replicas as finish what waits within `target_wait_s`; the others grow with it, bound for bound.

    Work in seconds: (sequences in all engines) x (seconds a sequence), and for pages that still wait in a caller, as much as for those
    that run. By Little's law that is the wait of a sequence that comes now, times the replicas there are.
    """

    def __init__(self, target_wait_s: float = 2.0, slack: float = 0.7) -> None:
        """`target_wait_s`: what a new sequence may wait, its own decoding included: a part of the storefront's deadline. `slack`: replicas
        are taken away only when the rest would still need less than this part of it, so that a load at the edge does not flap."""
        if not (target_wait_s > 0 and 0 < slack <= 1):
            raise ValueError(f"policy_kwargs: target_wait_s={target_wait_s}, slack={slack}; expected target_wait_s > 0 and 0 < slack <= 1")
        self.target_wait_s, self.slack = target_wait_s, slack

    def __call__(self, contexts: Contexts) -> tuple[dict[DeploymentID, int], dict[DeploymentID, dict[str, object]]]:
        wanted = {deployment: on_its_own(context) for deployment, context in contexts.items()}
        for deployment, generator in contexts.items():
            if deployment.name == GENERATOR:
                wanted[deployment] = self.generators(generator)
                share = grown(generator, wanted[deployment])
                for other, context in contexts.items():
                    if other != deployment:
                        wanted[other] = max(wanted[other], at(context, share))
        return wanted, {}

    def generators(self, context: AutoscalingContext) -> int:
        now, work = context.target_num_replicas, work_s(context)
        if work is None:
            return now
        load = min(work / self.target_wait_s, context.total_num_requests)  # a page runs on one replica; more would only stand by
        if load > now:
            return math.ceil(load)
        return min(now, max(1, math.ceil(load / self.slack)))


def work_s(context: AutoscalingContext) -> float | None:
    """Seconds that one replica would need for all sequences there are. None where nothing says so: no replica has reported, or pages wait
    and none runs."""
    metrics = context.aggregated_metrics or {}
    sequences, seconds = metrics.get(SEQUENCES, {}), [value for value in metrics.get(SECONDS_A_SEQUENCE, {}).values() if value > 0]
    running, queued = context.total_running_requests, context.total_queued_requests
    if not seconds or (queued and not running):
        return None
    waiting = queued / running if running else 0.0
    return sum(sequences.values()) * (1 + waiting) * fmean(seconds)


def on_its_own(context: AutoscalingContext) -> int:
    """By Serve's own rule, pages in flight over `target_ongoing_requests`: a deployment's need where the generator says nothing of it."""
    target = context.config.target_ongoing_requests if context.config else 1.0
    return max(1, math.ceil(context.total_num_requests / target))


def grown(context: AutoscalingContext, replicas: int) -> float:
    """Where between its bounds a deployment is with so many replicas; 0 to 1."""
    least, most = context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
    return min(1.0, max(0.0, (replicas - least) / (most - least))) if most > least else 0.0


def at(context: AutoscalingContext, share: float) -> int:
    least, most = context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
    return least + math.ceil(share * (most - least) - 1e-9)
