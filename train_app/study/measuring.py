"""What an arm is worth on test: sampled, under its own decoding, and with the discriminator choosing. The ground truth is asked here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
from train_app.stages.discriminator.training import GROUP, judged_as, log_real_of
from train_app.stages.state import State
from train_app.stages.validation import RULER, STUDY_RULER, loaded, read_as_ruler
from train_app.stages.workbench import Answer, Workbench, written
from train_app.study.config import StudyConfig
from train_app.study.figures import CHOSEN, DECODED, SAMPLED, Bits, Searched, Shown, Texts

NUM_BINS = 10
PERPLEXITY_ROWS = 500
PAGE = 256


@dataclass(frozen=True, slots=True)
class Measured:
    search: list[Searched]
    decoding: DecodingParams
    texts: dict[str, Texts]
    auc: float | None
    likelihood_auc: float | None
    reliability: list[tuple[float, float, int]]
    shown: list[Shown]


def measure(state: State, config: StudyConfig, *, bench: Workbench, seed: int, truth: TruthName | None) -> Measured:
    """Of the policy in `state`. All arms of a seed write under one name, hence from the same random numbers: outcomes pair."""
    bench.load(state.group("policy"))
    writer = _Writer(bench, f"study {config.name} {seed}")
    discriminator = loaded(state.group(GROUP), bench)
    examples = bench.splits.test[: config.prompts]
    search, decoding = searched(state, config, writer)
    bench.load(state.group("policy"))

    sampled = writer(examples, config.train.decoding.model_copy(update={"temperature": 1.0, "top_p": 1.0, "top_k": 0}), k=1)
    firsts = writer(examples, decoding, k=1)
    texts, outcomes = {}, {}
    for taken, groups in ((SAMPLED, sampled), (DECODED, firsts)):
        said = [group[0].text for group in groups]
        outcomes[taken] = judged(said, examples, bench, faults_of(truth))
        texts[taken] = _texts(said, examples, outcomes[taken], seed=seed)
    figures = {name: one.value for name, one in perplexity(writer.plain(decoding), examples[:PERPLEXITY_ROWS], seed=seed).items()}
    texts[DECODED] = texts[DECODED].model_copy(update={"figures": {**texts[DECODED].figures, **figures}})
    if config.best_of_prompts:
        asked = examples[: config.best_of_prompts]
        groups = writer(asked, decoding, k=config.best_of)
        said = [best.text for best in chosen(groups, asked, bench, discriminator)]
        texts[CHOSEN] = _texts(said, asked, judged(said, asked, bench, faults_of(truth)), seed=seed)
    reads = _discriminator(sampled, examples, outcomes[SAMPLED], discriminator) if truth else (None, None, [])
    shown = [
        Shown(product=example.context.product.title, controls=dict(example.context.controls), text=group[0].text, success=success)
        for example, group, success in list(zip(examples, firsts, outcomes[DECODED]["success"], strict=True))[: config.shown]
    ]
    return Measured(search, decoding, texts, *reads, shown)


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


def searched(state: State, config: StudyConfig, writer: _Writer) -> tuple[list[Searched], DecodingParams]:
    """Every decoding on the same validation rows, and the best by joint success among those varied enough; the most varied where none is.

    Joint success is what selection uses: the checks pass and the ruler, the first discriminator, accepts. No ground truth is asked.
    """
    bench = writer.bench
    examples = bench.splits.validation[: config.search_prompts]
    real = [example.text for example in examples]
    ruler = state.group(STUDY_RULER) or state.group(RULER)
    drawn = []
    for decoding in config.decodings:
        groups = writer(examples, decoding, k=1)
        passed = [_passes(group[0].text, example, bench) for group, example in zip(groups, examples, strict=True)]
        drawn.append((decoding, [group[0] for group in groups], passed))
    accepted = [[True] * len(examples) for _ in drawn]
    if ruler:
        read_as_ruler(state, bench)
        judge = loaded(ruler, bench)
        on_real = log_real_of(judge, judged_as(bench, [bench.real(example) for example in examples]))
        threshold = quantile_threshold(on_real, q=config.train.selection.accept_quantile)
        for row, (_, texts, _) in enumerate(drawn):
            answers = [Answer(example.context, written(one)) for example, one in zip(examples, texts, strict=True)]
            accepted[row] = [score >= threshold for score in log_real_of(judge, judged_as(bench, answers))]
    found = [
        Searched(
            decoding=decoding,
            joint=float(np.mean([a and b for a, b in zip(passed, ok, strict=True)])),
            distinct_2=distinct([one.text for one in texts], 2) / distinct(real, 2),
        )
        for (decoding, texts, passed), ok in zip(drawn, accepted, strict=True)
    ]
    varied = [one for one in found if one.distinct_2 >= config.distinct_floor]
    best = max(varied, key=lambda one: one.joint) if varied else max(found, key=lambda one: one.distinct_2)
    return found, best.decoding


def chosen(
    groups: Sequence[Sequence[Candidate]], examples: Sequence[Example], bench: Workbench, discriminator: Discriminator
) -> list[Candidate]:
    """The discriminator's best among what passes the checks, the first candidate where nothing does."""
    best = []
    for group, example in zip(groups, examples, strict=True):
        passing = [one for one in group if _passes(one.text, example, bench)]
        scores = _log_real(passing, [example] * len(passing), discriminator)
        best.append(passing[int(np.argmax(scores))] if passing else group[0])
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


def _log_real(candidates: Sequence[Candidate], examples: Sequence[Example], discriminator: Discriminator) -> list[float]:
    features = [one.features for one in candidates if one.features is not None]
    return discriminator.log_real(features, [one.context.controls for one in examples]) if features else []


def _discriminator(
    groups: Sequence[Sequence[Candidate]], examples: Sequence[Example], outcomes: dict[str, list[bool]], discriminator: Discriminator
) -> tuple[float | None, float | None, list[tuple[float, float, int]]]:
    """Whether the score knows, among samples that pass the checks, what only the truth does: (AUC, AUC of the samples' own
    log-likelihood, reliability by bins of equal mass)."""
    rows = [row for row, passed in enumerate(outcomes["checks"]) if passed]
    clean = np.array([outcomes["success"][row] for row in rows], bool)
    if clean.all() or not clean.any():
        return None, None, []
    texts = [groups[row][0] for row in rows]
    features = [one.features for one in texts if one.features is not None]
    scores = np.array(discriminator.score(features, [examples[row].context.controls for row in rows]))
    sure = np.array([one.log_likelihood for one in features])
    bins = [part for part in np.array_split(np.argsort(scores, kind="stable"), NUM_BINS) if len(part)]
    reliability = [(float(scores[part].mean()), float(clean[part].mean()), len(part)) for part in bins]
    return auc(scores[clean], scores[~clean]), auc(sure[clean], sure[~clean]), reliability
