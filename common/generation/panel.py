"""Verdicts on whole pages of candidates: the rules and the discriminator together, for training, evaluation and serving alike."""

from collections.abc import Sequence
from typing import Protocol

from common.domain.context import Context
from common.domain.reason import QualityVerdict
from common.generation.candidates import Candidate
from common.quality.verdict import Checker


class Scorer(Protocol):
    """The discriminator, as far as a verdict needs it."""

    def score(self, contexts: Sequence[Context], candidates: Sequence[Candidate]) -> list[float]:
        """Calibrated probability, per candidate, that a person would have written it in its context."""


class Panel:
    """`scorer` None: the rules alone decide, and every score is None."""

    def __init__(self, checker: Checker, scorer: Scorer | None) -> None:
        self.checker, self.scorer = checker, scorer

    def verdicts(self, contexts: Sequence[Context], candidates: Sequence[Sequence[Candidate]]) -> list[list[QualityVerdict]]:
        """One verdict per candidate, in the order given; all candidates of all contexts are scored in one batch."""
        flat = [(context, candidate) for context, group in zip(contexts, candidates, strict=True) for candidate in group]
        if not flat:
            return [[] for _ in contexts]
        scores: Sequence[float | None] = [None] * len(flat)
        if self.scorer is not None:
            scores = self.scorer.score([context for context, _ in flat], [candidate for _, candidate in flat])
        judged = iter(
            [self.checker.judge(candidate.text, context=context, score=score) for (context, candidate), score in zip(flat, scores, strict=True)]
        )
        return [[next(judged) for _ in group] for group in candidates]
