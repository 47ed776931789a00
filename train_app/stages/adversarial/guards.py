"""When an adversarial run has gone wrong. Says why; what to do about it is the round's business."""

from collections.abc import Mapping, Sequence
from math import isfinite

from train_app.config import AdversarialConfig
from train_app.stages.adversarial.vitals import Vitals


def variety(texts: Sequence[str]) -> dict[str, float]:
    """Of one step's samples: share of different texts, and of different character bigrams. Both depend on how many texts there are."""
    bigrams = [text[at : at + 2] for text in texts for at in range(len(text) - 1)]
    return {"unique": len(set(texts)) / max(1, len(texts)), "distinct_2": len(set(bigrams)) / max(1, len(bigrams))}


def tripped(metrics: Mapping[str, float], vitals: Vitals, *, config: AdversarialConfig) -> str | None:
    """A sentence when generator or discriminator has diverged or collapsed. `vitals` are those after the step that `metrics` tell of.

    Distinct bigrams are read as a moving average: one step's few samples fell to 80 % of the first step's by chance.
    """
    for name, value in metrics.items():
        if not isfinite(value):
            return f"{name} is {value}"
    if metrics["kl"] > config.max_kl:
        return f"the policy is {metrics['kl']:.3f} nats a token from SFT; at most {config.max_kl} is allowed"
    if metrics["unique"] < config.min_unique:
        return f"only {metrics['unique']:.0%} of the samples differ from each other; at least {config.min_unique:.0%} must"
    for what, now, first, least in (
        ("distinct bigrams", vitals.distinct, vitals.first_distinct, config.min_distinct),
        ("the entropy of a token", metrics["entropy"], vitals.first_entropy, config.min_entropy),
    ):
        if now is not None and first is not None and now < least * first:
            return f"{what} fell from {first:.3f} to {now:.3f}; {least:.0%} of the start is the least"
    return _collapsed(metrics, vitals, config)


def _collapsed(metrics: Mapping[str, float], vitals: Vitals, config: AdversarialConfig) -> str | None:
    """The discriminator, as far as it stopped being one."""
    if metrics.get("ties", 0.0) == 1:
        return "the discriminator has collapsed: it gives every text of a pair the same logit"
    if vitals.certain >= config.collapse_patience:
        return (
            f"the discriminator has collapsed: its accuracy stood above {config.throttle_certain} for {vitals.certain} steps "
            f"({vitals.accuracy:.3f} now), so it tells no sample from another"
        )
    if vitals.confused >= config.collapse_patience:
        return (
            f"the discriminator has collapsed: for {vitals.confused} steps it put the real text above its counterpart in fewer than "
            f"{config.min_auc:.0%} of the pairs ({vitals.auc:.1%} now)"
        )
    return None
