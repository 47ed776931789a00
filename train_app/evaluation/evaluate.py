"""What a generator is worth on contexts it never saw: the road of serving, with a clock that never runs out.

Every text comes from the same `answer` that serves: candidates by the same writer, verdicts by the same panel, acceptance by the same rule.
The measures read what that road produced; only the ground truth, where there is one, is added here and reaches no decision.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from common.config import Frozen
from common.domain.context import Context
from common.domain.reason import QualityVerdict, Reason
from common.generation.answer import AnswerPolicy, Fill, Items, answer
from common.generation.candidates import Candidate, Writer
from common.generation.panel import Panel
from common.language.base_model import teacher_forced
from common.language.prompt import build_prompt
from common.language.tokens import encode_example
from train_app.data.examples import Example
from train_app.evaluation.measures import (
    RISK,
    Measures,
    Truth,
    of_attributes,
    of_perplexity,
    of_selection,
    of_shown,
    of_texts,
    of_verdicts,
    proportion,
)
from train_app.evaluation.readers import Readers

PAGE = 128
"""Contexts answered at once: enough to keep every slot of the engine busy, few enough to tell how far it is."""
FEATURE_BATCH = 32

OnDone = Callable[[int, int], None]
"""Requests answered so far, and in all."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured."""

    writer: Writer
    panel: Panel
    policy: AnswerPolicy
    fill: Fill


class Sample(Frozen):
    """One request, for a person to read."""

    example_id: str
    product: str
    controls: dict[str, str]
    reference: str
    answer: str
    source: str
    score: float | None
    candidates: tuple[str, ...]
    findings: tuple[str, ...]


class Evaluation(Frozen):
    """The names of `measures`:

    sample.* the first candidate of each request; answer.* what would have been shown; best.* choosing among k; reference.* the human texts
    under the same rules (the ceiling of a rule); text.* overlap, diversity, realism and use of attributes of the first candidates;
    discriminator.* its health.
    """

    num_requests: int
    k: int
    measures: Measures
    samples: tuple[Sample, ...]

    def with_measures(self, more: Measures) -> "Evaluation":
        return self.model_copy(update={"measures": self.measures | more})


class _Recorder:
    """Keeps what the first attempt wrote for each request and how it was judged, beside the answer it led to."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.start = 0
        """Requests before the page that is answered now."""
        self.candidates: dict[int, list[Candidate]] = {}
        self.verdicts: dict[int, list[QualityVerdict]] = {}

    async def write(self, items: Items, *, k: int, attempt: int) -> list[list[Candidate]]:
        written = self.subject.writer.write([context for _, context in items], k=k, attempt=attempt)
        if attempt == 0:
            self.candidates |= {self.start + index: group for (index, _), group in zip(items, written, strict=True)}
        return written

    async def judge(self, contexts: list[Context], candidates: list[list[Candidate]]) -> list[list[QualityVerdict]]:
        judged = self.subject.panel.verdicts(contexts, candidates)
        request = {id(group): index for index, group in self.candidates.items()}
        self.verdicts |= {request[id(group)]: verdicts for group, verdicts in zip(candidates, judged, strict=True) if id(group) in request}
        return judged


def evaluate(
    subject: Subject,
    examples: Sequence[Example],
    *,
    truth: Truth | None = None,
    readers: Readers | None = None,
    num_samples: int = 20,
    seed: int = 0,
    on_done: OnDone | None = None,
) -> Evaluation:
    """`examples` bring the contexts and the human texts beside them. `truth` and `readers` are asked about texts and decide nothing.

    Raises PromptTooLong for a context that does not fit the base: on data of one's own that is a mistake, not a request to survive.
    """
    recorder = _Recorder(subject)
    reasons: list[Reason] = []
    for start in range(0, len(examples), PAGE):
        recorder.start = start
        contexts = [example.context for example in examples[start : start + PAGE]]
        reasons += asyncio.run(
            answer(
                contexts,
                write=recorder.write,
                judge=recorder.judge,
                fill=subject.fill,
                clock=lambda: 0.0,
                deadline_s=math.inf,
                policy=subject.policy,
            )
        )
        if on_done:
            on_done(len(reasons), len(examples))
    contexts = [example.context for example in examples]
    references = [example.text for example in examples]
    candidates = [recorder.candidates[index] for index in range(len(examples))]
    verdicts = [recorder.verdicts[index] for index in range(len(examples))]
    firsts = [group[0].text for group in candidates]
    of_reference = [subject.panel.checker.judge(text, context=c) for text, c in zip(references, contexts, strict=True)]

    def known(texts: Sequence[str]) -> list[bool] | None:
        return None if truth is None else [truth(text, context) for text, context in zip(texts, contexts, strict=True)]

    measures = of_verdicts("sample", [group[0] for group in verdicts], known(firsts))
    measures |= of_verdicts("answer", [reason.verdict for reason in reasons], known([reason.text for reason in reasons]))
    measures |= of_verdicts("reference", of_reference, known(references))
    measures["answer.model"] = proportion([reason.source == "model" for reason in reasons])
    shown = [reason.text for reason in reasons]
    measures |= of_texts(firsts, references, seed=seed) | of_shown(shown, references) | perplexity(subject.writer, examples, seed=seed)
    for prefix, texts in (("text", firsts), ("answer", shown), ("reference", references)):
        measures |= of_attributes(prefix, texts, references, contexts, seed=seed)
    if readers is not None:
        measures |= readers.measures("sample", firsts, examples) | readers.measures("reference", references, examples)
    if truth is not None:
        accepted = [(reason.text, context) for reason, context in zip(reasons, contexts, strict=True) if reason.source == "model"]
        measures[RISK] = proportion([not truth(text, context) for text, context in accepted])
        clean = [[truth(c.text, context) for c in group] for context, group in zip(contexts, candidates, strict=True)]
        likelihoods = [[c.features.log_likelihood if c.features else 0.0 for c in group] for group in candidates]
        measures |= of_selection(verdicts, clean, likelihoods, seed=seed)
    samples = [
        Sample(
            example_id=example.example_id,
            product=example.context.product.title,
            controls=reason.controls,
            reference=example.text,
            answer=reason.text,
            source=reason.source,
            score=reason.verdict.score,
            candidates=tuple(candidate.text for candidate in group),
            findings=tuple(finding for verdict in judged for check in verdict.checks.values() for finding in check.findings),
        )
        for example, reason, group, judged in list(zip(examples, reasons, candidates, verdicts, strict=True))[:num_samples]
    ]
    return Evaluation(num_requests=len(examples), k=subject.policy.k, measures=measures, samples=tuple(samples))


def perplexity(writer: Writer, examples: Sequence[Example], *, seed: int) -> Measures:
    """Of the human texts under the generator, each in its own context."""
    encoded = [
        encode_example(build_prompt(example.context, vocabulary=writer.vocabulary), example.text, writer.language) for example in examples
    ]
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index].ids))
    logprobs = [0.0] * len(encoded)
    for start in range(0, len(order), FEATURE_BATCH):
        rows = order[start : start + FEATURE_BATCH]
        with torch.no_grad():
            states = teacher_forced(
                writer.language.model, [encoded[row].ids for row in rows], prompt_lens=[encoded[row].prompt_len for row in rows]
            )
        for row, state in zip(rows, states, strict=True):
            logprobs[row] = float(state.logprob_T.sum())
    return of_perplexity(
        logprobs,
        [len(one.ids) - one.prompt_len for one in encoded],
        [len(example.text) for example in examples],
        seed=seed,
    )
