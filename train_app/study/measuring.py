"""What an arm is worth on test: sampled, under its own decoding, and with the discriminator choosing. The ground truth is asked here."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from common.domain.context import Context
from common.domain.decoding import DecodingParams
from common.generation.candidates import Candidate, Writer
from common.metrics.calibration import auc
from common.metrics.diversity import distinct
from common.quality.discriminator import Discriminator
from common.quality.threshold import quantile_threshold
from train_app.data.examples import Example
from train_app.evaluation.evaluate import perplexity
from train_app.evaluation.measures import of_attributes, of_texts
from train_app.evaluation.truth import Faults, TruthName, faults_of
from train_app.stages.discriminator.calibration import calibrate
from train_app.stages.discriminator.labels import evaluator
from train_app.stages.discriminator.training import GROUP, judged_as, log_real_of
from train_app.stages.state import State
from train_app.stages.validation import SFT, STUDY_RULER, STUDY_SEED, candidate, loaded, read_as_ruler
from train_app.stages.workbench import Answer, Workbench, written
from train_app.study.config import StudyConfig
from train_app.study.figures import CHOSEN, DECODED, SAMPLED, Bits, Searched, Shown, Texts

NUM_BINS = 10
PERPLEXITY_ROWS = 500
PAGE = 256
DRAWS = 3
"""Texts a validation row whose distinct bigrams are counted, draw by draw, and averaged: a floor on variety that a single draw of 700 rows
misses or meets by chance moves the decoding by a step of the grid, and success by as much as arms differ."""


Said = tuple[str, Answer]
"""A text as words and as tokens."""
Accept = Callable[[Sequence[Said]], list[bool]]


@dataclass(frozen=True, slots=True)
class Measured:
    search: list[Searched]
    decoding: DecodingParams
    varied: bool
    texts: dict[str, Texts]
    auc: float | None
    likelihood_auc: float | None
    reliability: list[tuple[float, float, int]]
    shown: list[Shown]


def measure(state: State, config: StudyConfig, *, bench: Workbench, seed: int, truth: TruthName | None) -> Measured:
    """Of the policy in `state`. All arms of a seed write under one name, hence from the same random numbers: outcomes pair. One
    discriminator reads the texts of all, the start's: an arm's own would have learnt beside what it judges."""
    bench.load(state.group("policy"))
    writer = _Writer(bench, f"study {config.name} {seed}")
    examples = bench.splits.test[: config.prompts]
    search, decoding, varied = searched(state, config, writer)
    bench.load(state.group("policy"))

    sampled = writer(examples, config.train.decoding.model_copy(update={"temperature": 1.0, "top_p": 1.0, "top_k": 0}), k=1)
    asked = examples[: config.best_of_prompts]
    several = writer(asked, decoding, k=config.best_of)
    firsts = [*several, *writer(examples[len(asked) :], decoding, k=1)]  # a text does not depend on how many are drawn beside it
    texts, outcomes = {}, {}
    for taken, groups in ((SAMPLED, sampled), (DECODED, firsts)):
        said = [group[0].text for group in groups]
        outcomes[taken] = judged(said, examples, bench, faults_of(truth))
        texts[taken] = _texts(said, examples, outcomes[taken], seed=seed)
    figures = {name: one.value for name, one in perplexity(writer.plain(decoding), examples[:PERPLEXITY_ROWS], seed=seed).items()}
    texts[DECODED] = texts[DECODED].model_copy(update={"figures": {**texts[DECODED].figures, **figures}})
    ruler = ruler_of(state, config, bench, calibrated=bool(truth)) if asked or truth else None
    if asked:
        said = [best.text for best in chosen(several, asked, bench, ruler)]
        texts[CHOSEN] = _texts(said, asked, judged(said, asked, bench, faults_of(truth)), seed=seed)
    reads = _discriminator(sampled, examples, outcomes[SAMPLED], ruler) if truth and ruler else (None, None, [])
    shown = [
        Shown(product=example.context.product.title, controls=dict(example.context.controls), text=group[0].text, success=success)
        for example, group, success in list(zip(examples, firsts, outcomes[DECODED]["success"], strict=True))[: config.shown]
    ]
    return Measured(search, decoding, varied, texts, *reads, shown)


def reference(config: StudyConfig, *, bench: Workbench, seed: int, truth: TruthName | None) -> Texts:
    """What people wrote, under the same rules: the ceiling of each."""
    examples = bench.splits.test[: config.prompts]
    said = [example.text for example in examples]
    return _texts(said, examples, judged(said, examples, bench, faults_of(truth)), seed=seed)


@dataclass(frozen=True, slots=True)
class _Writer:
    bench: Workbench
    name: str

    def plain(self, decoding: DecodingParams) -> Writer:
        return Writer(self.bench.policy.merged, self.bench.engine, self.bench.vocabulary, decoding, self.name)

    def __call__(self, examples: Sequence[Example], decoding: DecodingParams, *, k: int) -> list[list[Candidate]]:
        groups: list[list[Candidate]] = []
        for start in range(0, len(examples), PAGE):
            groups += self.plain(decoding).write([one.context for one in examples[start : start + PAGE]], k=k, attempt=0)
        return groups


@dataclass(frozen=True, slots=True)
class Ruler:
    """A discriminator and the bench under whose merged policy it reads."""

    bench: Workbench
    discriminator: Discriminator

    def log_real(self, answers: Sequence[Answer]) -> list[float]:
        return log_real_of(self.discriminator, judged_as(self.bench, answers))

    def score(self, answers: Sequence[Answer]) -> list[float]:
        texts = judged_as(self.bench, answers)
        return self.discriminator.score([one.features for one in texts], [one.controls for one in texts])


def ruler_of(state: State, config: StudyConfig, bench: Workbench, *, calibrated: bool) -> Ruler | None:
    """The start's discriminator, if `calibrated` on the start's samples. `bench` reads as SFT from now on. None where it was blind."""
    weights = state.group(STUDY_RULER)
    if not weights:
        return None
    if calibrated:
        own = state.with_group(GROUP, weights).with_group("policy", state.group(candidate(SFT)))
        shared = replace(bench, run=str(state.values[STUDY_SEED]))
        weights = calibrate(own, config.train.calibration, lambda told: None, bench=shared, save=lambda kept: None).group(GROUP)
    read_as_ruler(state, bench)
    return Ruler(bench, loaded(weights, bench))


def searched(state: State, config: StudyConfig, writer: _Writer) -> tuple[list[Searched], DecodingParams, bool]:
    """Every decoding on the same validation rows, and the best by joint success among those varied enough; the most varied where none is,
    and whether one was.

    Joint success is what a shop can see: the checks pass, and `search_by` accepts. The judge is not asked.
    """
    bench = writer.bench
    examples = bench.splits.validation[: config.search_prompts]
    real = [example.text for example in examples]
    drawn: list[tuple[DecodingParams, list[Said], float]] = []
    for decoding in config.decodings:
        groups = writer(examples, decoding, k=DRAWS)
        distinct_2 = float(np.mean([distinct([group[draw].text for group in groups], 2) for draw in range(DRAWS)])) / distinct(real, 2)
        said = [(group[0].text, Answer(one.context, written(group[0]))) for group, one in zip(groups, examples, strict=True)]
        drawn.append((decoding, said, distinct_2))
    accept = _by_evaluator(state, bench) if config.search_by == "evaluator" else _by_ruler(state, config, bench, examples)
    passing = [
        (row, one)
        for row, (_, said, _) in enumerate(drawn)
        for one, example in zip(said, examples, strict=True)
        if _passes(one[0], example, bench)
    ]
    accepted = accept([one for _, one in passing])  # at once: of one prompt they share it
    good = Counter(row for (row, _), fine in zip(passing, accepted, strict=True) if fine)
    found = [
        Searched(decoding=decoding, joint=good[row] / len(examples), distinct_2=distinct_2)
        for row, (decoding, _, distinct_2) in enumerate(drawn)
    ]
    enough = [one for one in found if one.distinct_2 >= config.distinct_floor]
    best = max(enough, key=lambda one: one.joint) if enough else max(found, key=lambda one: one.distinct_2)
    return found, best.decoding, bool(enough)


def _by_evaluator(state: State, bench: Workbench) -> Accept:
    """One for all arms of a seed."""
    classifier = evaluator(replace(bench, run=str(state.values[STUDY_SEED])))
    return lambda said: [not bad for bad in classifier.bad([text for text, _ in said], [answer.context for _, answer in said])]


def _by_ruler(state: State, config: StudyConfig, bench: Workbench, examples: Sequence[Example]) -> Accept:
    """Whether it scores a text above most of people's; everything where it was blind."""
    weights = state.group(STUDY_RULER)
    if not weights:
        return lambda said: [True] * len(said)
    read_as_ruler(state, bench)
    ruler = Ruler(bench, loaded(weights, bench))
    threshold = quantile_threshold(ruler.log_real([bench.real(one) for one in examples]), q=config.train.selection.accept_quantile)
    return lambda said: [score >= threshold for score in ruler.log_real([answer for _, answer in said])] if said else []


def chosen(groups: Sequence[Sequence[Candidate]], examples: Sequence[Example], bench: Workbench, ruler: Ruler | None) -> list[Candidate]:
    """The ruler's best among what passes the checks; the first candidate where nothing does, the first that passes without a ruler."""
    passing = [[one for one in group if _passes(one.text, example, bench)] for group, example in zip(groups, examples, strict=True)]
    if ruler is None:
        return [good[0] if good else group[0] for good, group in zip(passing, groups, strict=True)]
    answers = [Answer(example.context, written(one)) for good, example in zip(passing, examples, strict=True) for one in good]
    scores = iter(ruler.log_real(answers) if answers else [])
    best = []
    for good, group in zip(passing, groups, strict=True):
        scored = [next(scores) for _ in good]
        best.append(good[int(np.argmax(scored))] if good else group[0])
    return best


def judged(
    texts: Sequence[str], examples: Sequence[Example], bench: Workbench, faults: Callable[[str, Context], Faults] | None
) -> dict[str, list[bool]]:
    """Name of an outcome -> whether it holds, text by text; see figures.Texts."""
    verdicts = [bench.checker.judge(text, context=one.context, score=None) for text, one in zip(texts, examples, strict=True)]
    checks = [verdict.checks_passed for verdict in verdicts]
    if faults is None:
        return {"success": checks, "checks": checks, "hallucinated": [not verdict.checks["facts"].passed for verdict in verdicts]}
    found = [faults(text, one.context) for text, one in zip(texts, examples, strict=True)]
    return {
        "success": [passed and one.clean for passed, one in zip(checks, found, strict=True)],
        "checks": checks,
        "judge_clean": [one.hidden_clean for one in found],
        "hallucinated": [one.hallucinated for one in found],
    }


def _texts(said: Sequence[str], examples: Sequence[Example], outcomes: dict[str, list[bool]], *, seed: int) -> Texts:
    references, contexts = [one.text for one in examples], [one.context for one in examples]
    figures = of_texts(said, references, seed=seed) | of_attributes("text", said, references, contexts, seed=seed)
    by_code: dict[str, list[bool]] = {}
    for example, success in zip(examples, outcomes["success"], strict=True):
        for name, value in example.context.controls.items():
            by_code.setdefault(f"{name}={value}", []).append(success)
    return Texts(
        outcomes={name: Bits.of(rows) for name, rows in outcomes.items()},
        figures={name: round(one.value, 6) for name, one in figures.items()},
        by_code={code: float(np.mean(rows)) for code, rows in sorted(by_code.items())},
    )


def _passes(text: str, example: Example, bench: Workbench) -> bool:
    return bench.checker.judge(text, context=example.context, score=None).checks_passed


def _discriminator(
    groups: Sequence[Sequence[Candidate]], examples: Sequence[Example], outcomes: dict[str, list[bool]], ruler: Ruler
) -> tuple[float | None, float | None, list[tuple[float, float, int]]]:
    """Whether the score knows, among samples that pass the checks, what only the truth does: (AUC, AUC of the samples' own
    log-likelihood, reliability by bins of equal mass)."""
    rows = [row for row, passed in enumerate(outcomes["checks"]) if passed]
    clean = np.array([outcomes["success"][row] for row in rows], bool)
    if clean.all() or not clean.any():
        return None, None, []
    texts = [groups[row][0] for row in rows]
    scores = np.array(ruler.score([Answer(examples[row].context, written(groups[row][0])) for row in rows]))
    sure = np.array([one.features.log_likelihood for one in texts if one.features is not None])
    bins = [part for part in np.array_split(np.argsort(scores, kind="stable"), NUM_BINS) if len(part)]
    reliability = [(float(scores[part].mean()), float(clean[part].mean()), len(part)) for part in bins]
    return auc(scores[clean], scores[~clean]), auc(sure[clean], sure[~clean]), reliability
