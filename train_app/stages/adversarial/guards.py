"""When an adversarial run has gone wrong. Says why; what to do about it is the round's business."""

from collections.abc import Mapping, Sequence
from math import isfinite

from train_app.config import AdversarialConfig


def variety(texts: Sequence[str]) -> dict[str, float]:
    """Of one step's samples: share of different texts, and of different character bigrams. Both depend on how many texts there are."""
    bigrams = [text[at : at + 2] for text in texts for at in range(len(text) - 1)]
    return {"unique": len(set(texts)) / max(1, len(texts)), "distinct_2": len(set(bigrams)) / max(1, len(bigrams))}


def tripped(metrics: Mapping[str, float], *, first_distinct: float, config: AdversarialConfig) -> str | None:
    """A sentence when the run has diverged or collapsed; `first_distinct` is `distinct_2` of the first step.

    Distinct bigrams are read as a moving average: one step's few samples fell to 80 % of the first step's by chance.
    """
    for name, value in metrics.items():
        if not isfinite(value):
            return f"{name} is {value}"
    if metrics["kl"] > config.max_kl:
        return f"the policy is {metrics['kl']:.3f} nats a token from SFT; at most {config.max_kl} is allowed"
    if metrics["unique"] < config.min_unique:
        return f"only {metrics['unique']:.0%} of the samples differ from each other; at least {config.min_unique:.0%} must"
    if metrics["distinct_average"] < config.min_distinct * first_distinct:
        fell = f"distinct bigrams fell from {first_distinct:.3f} to {metrics['distinct_average']:.3f}"
        return f"{fell}; {config.min_distinct:.0%} of the start is the least"
    return None
