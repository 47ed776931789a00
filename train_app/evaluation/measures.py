"""Names and takes the measures of a set of texts: rules, the ground truth where there is one, overlap, diversity, realism."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from common.bundle.manifest import Metric
from common.domain.context import Context
from common.domain.reason import QualityVerdict
from common.metrics.calibration import auc, brier, expected_calibration_error
from common.metrics.diversity import distinct, repeated_share, self_bleu4, unique_share
from common.metrics.explanation import feature_coverage_ratio, feature_diversity, feature_matching_ratio
from common.metrics.intervals import Interval, bootstrap, paired_difference, share
from common.metrics.overlap import bleu4, chrf, rouge_l, sentence_bleu4
from common.metrics.realism import c2st

Measures = dict[str, Interval]
Truth = Callable[[str, Context], bool]
"""Whether a text is free of every fault that only a ground truth sees; on the sample shop the writer's judge."""

RISK = "answer.risk"
"""Share of the accepted answers, templates left out, that the ground truth calls bad: the realised risk."""
MIN_C2ST = 50
"""Texts a side below which a classifier two-sample test says nothing."""


def proportion(outcomes: Sequence[bool]) -> Interval:
    return share(sum(outcomes), len(outcomes))


def of_verdicts(prefix: str, verdicts: Sequence[QualityVerdict], clean: Sequence[bool] | None) -> Measures:
    """PREFIX.checks, PREFIX.NAME for each check and, where the truth is known, PREFIX.judge_clean and PREFIX.joint (both at once: S)."""
    measures = {f"{prefix}.checks": proportion([verdict.checks_passed for verdict in verdicts])}
    for name in verdicts[0].checks if verdicts else ():
        measures[f"{prefix}.{name}"] = proportion([verdict.checks[name].passed for verdict in verdicts])
    if clean is not None:
        measures[f"{prefix}.judge_clean"] = proportion(clean)
        measures[f"{prefix}.joint"] = proportion([v.checks_passed and c for v, c in zip(verdicts, clean, strict=True)])
    return measures


def of_texts(texts: Sequence[str], references: Sequence[str], *, seed: int = 0) -> Measures:
    """Overlap with the human texts, diversity, realism. Percentages for BLEU, chrF, ROUGE; shares otherwise."""
    n = len(texts)
    values = {
        "text.bleu4": bleu4(texts, references),
        "text.sentence_bleu4": sentence_bleu4(texts, references),
        "text.chrf": chrf(texts, references),
        "text.rouge_l": rouge_l(texts, references),
        "text.distinct1": distinct(texts, 1),
        "text.distinct2": distinct(texts, 2),
        "text.unique": unique_share(texts),
        "text.self_bleu4": self_bleu4(texts, seed=seed),
        "text.repeated": repeated_share(texts),
        "text.chars": float(np.mean([len(text) for text in texts])),
        "reference.distinct2": distinct(references, 2),
        "reference.self_bleu4": self_bleu4(references, seed=seed),
        "reference.repeated": repeated_share(references),
        "reference.chars": float(np.mean([len(text) for text in references])),
    }
    measures = {name: Interval(value=value, n=n) for name, value in values.items()}
    if n >= MIN_C2ST:
        measures["text.c2st_auc"] = c2st(references, texts, seed=seed)
    return measures


def of_shown(texts: Sequence[str], references: Sequence[str]) -> Measures:
    """Overlap of what would have been shown, chosen among k and templates included."""
    values = {"answer.bleu4": bleu4(texts, references), "answer.rouge_l": rouge_l(texts, references)}
    return {name: Interval(value=value, n=len(texts)) for name, value in values.items()}


def of_attributes(prefix: str, texts: Sequence[str], references: Sequence[str], contexts: Sequence[Context], *, seed: int = 0) -> Measures:
    """What texts say of their products' attribute values, taken as PETER's features; nothing where no product has attributes.

    PREFIX.coverage: mean share of a product's own values that its text names. PREFIX.fmr: share of texts that name the first value which
    the human text names. PREFIX.fcr: values named anywhere over all values. PREFIX.div: values that two texts share; lower is more diverse.
    """
    values = [tuple(dict.fromkeys(attribute.value for attribute in context.product.attributes)) for context in contexts]
    features = {value for own in values for value in own}
    covered = [sum(value in text for value in own) / len(own) for text, own in zip(texts, values, strict=True) if own]
    if not covered:
        return {}
    mentioned = [{value for value in features if value in text} for text in texts]
    firsts = [next((value for value in own if value in reference), None) for own, reference in zip(values, references, strict=True)]
    pairs = [(text, first) for text, first in zip(texts, firsts, strict=True) if first is not None]
    ratio = feature_matching_ratio([text for text, _ in pairs], [first for _, first in pairs])
    return {
        f"{prefix}.coverage": bootstrap(covered, seed=seed),
        f"{prefix}.fmr": Interval(value=ratio, n=len(pairs)),
        f"{prefix}.fcr": Interval(value=feature_coverage_ratio(mentioned, features), n=len(texts)),
        f"{prefix}.div": Interval(value=feature_diversity(mentioned), n=len(texts)),
    }


def of_perplexity(logprobs: Sequence[float], num_tokens: Sequence[int], num_chars: Sequence[int], *, seed: int = 0) -> Measures:
    """Perplexity of unseen human text per token and per character (nats in), with a bootstrap over texts."""

    def perplexity(lengths: Sequence[int]) -> Interval:
        rows = np.stack([np.asarray(logprobs, float), np.asarray(lengths, float)], 1)
        return bootstrap(rows, lambda drawn: float(np.exp(-drawn[:, 0].sum() / drawn[:, 1].sum())), seed=seed, rounds=500)

    return {"reference.perplexity_token": perplexity(num_tokens), "reference.perplexity_char": perplexity(num_chars)}


LOWER = {
    RISK,
    *("reference.perplexity_char", "reference.perplexity_token", "text.c2st_auc", "text.self_bleu4", "text.repeated", "text.div"),
    *("answer.div", "discriminator.ece_judge", "discriminator.brier_judge"),
}
DESCRIBING = ("reference.", "likelihood.", "changes.", "text.chars", "text.coverage", "answer.coverage")
"""Beginnings of measures that describe the data or a control, and are compared with nothing; perplexity of human texts is the model's."""


def direction(name: str) -> Literal["higher", "lower", "neither"]:
    """Which way a measure is better: promotion refuses a bundle that is worse."""
    if name in LOWER:
        return "lower"
    return "neither" if name.startswith(DESCRIBING) else "higher"


SELECTION = (
    "best.first_passing",
    "best.by_likelihood",
    "best.by_discriminator",
    "best.gain",
    "best.over_likelihood",
    "likelihood.auc",
    "discriminator.auc",
)
"""Of `of_selection`, in the order in which a person reads them."""


def of_selection(
    groups: Sequence[Sequence[QualityVerdict]], clean: Sequence[Sequence[bool]], likelihoods: Sequence[Sequence[float]], *, seed: int = 0
) -> Measures:
    """What the discriminator adds on top of the rules, by the ground truth, among candidates that pass every check.

    best.first_passing: the first candidate that passes, as one would do without a discriminator. best.by_discriminator: the passing one it
    scores highest. best.gain: their paired difference. discriminator.auc: judge-broken against judge-clean, where there are both.
    best.by_likelihood and likelihood.auc are the control: the generator's own log-likelihood (`likelihoods`) instead of the score;
    best.over_likelihood is what the discriminator adds to it, paired.
    """
    first, best, control, scored = [], [], [], []
    for verdicts, truths, sure in zip(groups, clean, likelihoods, strict=True):
        passing = [i for i, verdict in enumerate(verdicts) if verdict.checks_passed]
        scored += [(verdicts[i].score, truths[i], sure[i]) for i in passing if verdicts[i].score is not None]
        if passing:
            first.append(truths[passing[0]])
            best.append(truths[max(passing, key=lambda i: (verdicts[i].score or 0.0, -i))])
            control.append(truths[max(passing, key=lambda i: (sure[i], -i))])
    measures = {
        "best.first_passing": proportion(first),
        "best.by_discriminator": proportion(best),
        "best.by_likelihood": proportion(control),
    }
    if first:
        measures["best.gain"] = paired_difference(best, first, seed=seed)
        measures["best.over_likelihood"] = paired_difference(best, control, seed=seed)
    if scored:
        scores, outcome = np.array([s for s, _, _ in scored], float), np.array([t for _, t, _ in scored], bool)
        sure_N = np.array([s for _, _, s in scored], float)
        n = len(scores)
        if outcome.any() and not outcome.all():
            measures["discriminator.auc"] = Interval(value=auc(scores[outcome], scores[~outcome]), n=n)
            measures["likelihood.auc"] = Interval(value=auc(sure_N[outcome], sure_N[~outcome]), n=n)
        measures["discriminator.ece_judge"] = Interval(value=expected_calibration_error(scores, outcome), n=n)
        measures["discriminator.brier_judge"] = Interval(value=brier(scores, outcome), n=n)
    return measures


def as_metrics(measures: Mapping[str, Interval]) -> dict[str, Metric]:
    """For a bundle's manifest."""
    return {
        name: Metric(value=measure.value, low=measure.low, high=measure.high, num=measure.n, better=direction(name))
        for name, measure in measures.items()
    }


def as_numbers(measures: Mapping[str, Interval]) -> dict[str, float]:
    """For trackers and tables that hold one number a name."""
    return {name: measure.value for name, measure in measures.items()}
