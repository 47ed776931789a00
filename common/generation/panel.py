"""Verdicts on whole pages of candidates: the rules and the discriminator together, for training, evaluation and serving alike."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from common.domain.context import Context
from common.domain.reason import QualityVerdict
from common.domain.token_features import TokenFeatures
from common.generation.candidates import Candidate
from common.quality.verdict import Checker


class Scorer(Protocol):
    """The discriminator, as far as a verdict needs it."""

    def score(self, features: Sequence[TokenFeatures], controls: Sequence[Mapping[str, str]]) -> list[float]:
        """Calibrated probability, per text, that a person would have written it for its context and codes."""


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
            features = [candidate.features for _, candidate in flat]
            assert all(one is not None for one in features), "the engine keeps features where a discriminator reads them"
            scores = self.scorer.score([one for one in features if one is not None], [context.controls for context, _ in flat])
        judged = iter(
            [
                self.checker.judge(candidate.text, context=context, score=score)
                for (context, candidate), score in zip(flat, scores, strict=True)
            ]
        )
        return [[next(judged) for _ in group] for group in candidates]
