"""Chooses the threshold that is served so that what it accepts is bad seldom enough, over the whole procedure that answers a request.

Knows no ground truth: who says what is bad, `labels` does. Where nobody says it, or the risk cannot be kept, the quantile of real texts
that `calibration` found stays, and the value `risk` says so.
"""

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from common.bundle.manifest import Risk
from common.domain.controls import ControlVocabulary
from common.language.tokens import decode
from common.quality.discriminator import Discriminator
from common.quality.threshold import risk_threshold
from train_app.config import CalibrationConfig
from train_app.data.examples import Example
from train_app.stages.discriminator.labels import Asked, Labels, labelled, labels_digest
from train_app.stages.discriminator.training import GROUP
from train_app.stages.pool import CHUNK
from train_app.stages.state import OnProgress, Progress, State
from train_app.stages.validation import loaded, mapped
from train_app.stages.workbench import Workbench, written

STAGE = "risk"
FEWEST_REQUESTS = 1000
"""The platform's own bar: a bound from fewer is valid and says little of products that were not asked about."""


def requests(examples: Sequence[Example], *, vocabulary: ControlVocabulary, num: int, seed: str) -> list[Example]:
    """Up to `num` different requests about the examples' products, every product before one comes again: first as their rows ask, then
    under every other combination of codes, those included that training never sees. The text of such an example is no reference."""
    rng = random.Random(f"requests/{seed}")
    met: Counter[str] = Counter()
    turns: list[tuple[int, Example]] = []
    for example in rng.sample(list(examples), len(examples)):
        turns.append((met[example.product_id], example))
        met[example.product_id] += 1
    order = [example for _, example in sorted(turns, key=lambda turn: turn[0])]
    every = [dict(zip([c.name for c in vocabulary.controls], codes, strict=True)) for codes in itertools.product(*_codes(vocabulary))]

    def asked() -> Iterator[Example]:
        yield from order
        for number in range(len(every)):
            for place, example in enumerate(order):
                codes = every[(number * 7919 + place * 104729) % len(every)]
                if example.labels and codes != example.labels:
                    yield replace(example, context=example.context.model_copy(update={"controls": codes}), labels=codes)

    found: dict[tuple[str, tuple[tuple[str, str], ...]], Example] = {}
    for example in asked():
        if len(found) == num:
            break
        found.setdefault((example.example_id, tuple(sorted(example.labels.items()))), example)
    return list(found.values())


def _codes(vocabulary: ControlVocabulary) -> list[list[str]]:
    return [[value.name for value in control.values] for control in vocabulary.controls]


def stage_name(config: CalibrationConfig) -> str:
    """What people say anew is a stage that no finished run has gone through."""
    said = labels_digest(str(config.labels_file)) if config.labels == "people" else ""
    return f"{STAGE} by labels {said[:12]}" if said else STAGE


def control_risk(
    state: State, config: CalibrationConfig, on_progress: OnProgress, *, stage: str, k: int, max_attempts: int, bench: Workbench
) -> State:
    """Values `threshold` (served) and `risk` (common.bundle.manifest.Risk). Raises BadRow where the labels file is none."""
    state = state.enter(stage)
    quantile = float(str(mapped(state.values["calibration"])["threshold"]))
    risk = Risk(labels=config.labels, alpha=config.alpha, delta=config.delta, min_acceptance=config.min_acceptance)
    if config.labels == "none":
        risk = risk.model_copy(update={"why": "nobody says which texts are bad (calibration.labels: none)"})
    else:
        bench.load(state.group("policy"))
        examples = requests(bench.splits.calibration, vocabulary=bench.vocabulary, num=config.requests, seed=bench.run)
        shown = _shown(examples, loaded(state.group(GROUP), bench), on_progress, stage=stage, k=k, max_attempts=max_attempts, bench=bench)
        risk = _tested(risk, labelled(shown, config, bench=bench))
    threshold = quantile if risk.threshold is None else risk.threshold
    on_progress(Progress(stage=stage, step=1, total=1, metrics={"threshold": threshold}, note=_told(risk, quantile)))
    return state.with_values({"threshold": threshold, "risk": risk.model_dump(mode="json")}).at(1)


def _shown(
    examples: Sequence[Example],
    discriminator: Discriminator,
    on_progress: OnProgress,
    *,
    stage: str,
    k: int,
    max_attempts: int,
    bench: Workbench,
) -> list[Asked]:
    """What each attempt would show: the discriminator's best of k among those that pass the checks, whatever the threshold."""
    found = []
    for start in range(0, len(examples), CHUNK):
        chunk = examples[start : start + CHUNK]
        mine = [example.context for example in bench.parallel.mine(chunk)]
        texts: list[list[str]] = [[] for _ in chunk]
        scores: list[list[float]] = [[] for _ in chunk]
        for attempt in range(max_attempts):
            groups = bench.write(mine, k=k, stage=f"{STAGE} requests", step=attempt, decoding=bench.served)
            rows = []
            for context, group in zip(mine, groups, strict=True):
                passing = [one for one in group if bench.checker.judge(one.text, context=context, score=None).checks_passed]
                features = [one.features for one in passing if one.features is not None]
                of = discriminator.score(features, [context.controls] * len(features)) if features else []
                best = max(range(len(of)), key=lambda index: (of[index], -index), default=None)
                bits = np.array([-np.inf if best is None else of[best]], np.float32).view(np.int32)
                rows.append([int(bits[0]), *(written(passing[best]) if best is not None else ())])
            for place, (bits_told, *ids) in enumerate(bench.parallel.gather_rows(rows)):
                scores[place].append(float(np.array([bits_told], np.int32).view(np.float32)[0]))
                texts[place].append(decode(ids, bench.policy.language).strip())
        found += [Asked(example, tuple(s), tuple(t)) for example, s, t in zip(chunk, scores, texts, strict=True)]
        on_progress(Progress(stage=stage, step=len(found), total=len(examples)))
    return found


def _tested(risk: Risk, labels: Labels) -> Risk:
    update: dict[str, object] = {"evaluator": dict(labels.measures), "num_requests": len(labels.asked)}
    if not labels.asked:
        return risk.model_copy(update={**update, "why": labels.why or "no request was labelled"})
    scores, bad = [one.scores for one in labels.asked], labels.bad
    groups = [one.example.product_id for one in labels.asked]
    test = risk_threshold(scores, bad, alpha=risk.alpha, delta=risk.delta, min_acceptance=risk.min_acceptance, groups=groups)
    why = None
    if len(labels.asked) < FEWEST_REQUESTS:
        why = f"too few calibration requests: {len(labels.asked)}; expected {FEWEST_REQUESTS} at least"
    elif test.acceptance < risk.min_acceptance:
        why = f"{test.acceptance:.0%} of the requests have a text that passes the checks; expected {risk.min_acceptance:.0%} accepted"
    elif test.threshold is None:
        why = (
            f"at the strictest threshold that accepts {risk.min_acceptance:.0%} of the requests the risk is up to {test.bound:.3f} "
            f"({test.num_bad} of {test.num_accepted} bad)"
        )
    if why is None:
        update |= {"rule": "learn_then_test", "controlled": True, "threshold": test.threshold}
    told = {"num_accepted": test.num_accepted, "num_bad": test.num_bad, "bound": test.bound, "design_effect": test.design_effect}
    return risk.model_copy(update={**update, **told, "why": f"{why}. {labels.why}" if why and labels.why else why})


def _told(risk: Risk, quantile: float) -> str:
    if risk.controlled:
        return (
            f"risk: P(bad | accepted) <= {risk.alpha:g} with confidence {1 - risk.delta:g} from score {risk.threshold:.3f} on, bad by "
            f"{risk.labels}: {risk.num_bad} of {risk.num_accepted} accepted, at most {risk.bound:.3f}; "
            f"{risk.num_accepted / risk.num_requests:.0%} of {risk.num_requests} requests accepted"
        )
    return f"risk: not controlled: {risk.why}. The threshold {quantile:.3f} is the quantile of real texts"
