"""What happens to an item after each round: accept a candidate, write again, or show a template. Nobody else decides. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from common.domain.reason import QualityVerdict

Bar = Literal["too_alike", "taken_down"]
"""Why a text that was accepted is not shown on this page, or not any more."""
TemplateReason = Literal["deadline", "no_candidate_accepted"] | Bar


NOTHING: Mapping[int, Bar] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Accept:
    index: int


@dataclass(frozen=True, slots=True)
class Regenerate:
    """Write new candidates."""


@dataclass(frozen=True, slots=True)
class Template:
    reason: TemplateReason


Decision = Accept | Regenerate | Template


def decide(
    verdicts: Sequence[QualityVerdict],
    *,
    attempts: int,
    max_attempts: int,
    time_left_s: float,
    expected_s: float,
    barred: Mapping[int, Bar] = NOTHING,
) -> Decision:
    """`verdicts` on the last round's candidates (none before the first), `attempts` rounds so far, `expected_s` what another would take;
    `barred`: accepted candidates that are not taken, and why.

    Of the accepted those that meet most wishes, and of them the discriminator's best; one without a score comes after those with one; the
    first of equals. A candidate that was
    accepted is shown even when the time is up: it costs nothing more.
    """
    accepted = [index for index, verdict in enumerate(verdicts) if verdict.accepted and index not in barred]
    if accepted:
        return Accept(max(accepted, key=lambda index: (len(verdicts[index].met), _score(verdicts[index]), -index)))
    if attempts >= max_attempts:
        return Template(next(iter(barred.values()), "no_candidate_accepted"))
    if time_left_s < expected_s:
        return Template("deadline")
    return Regenerate()


def _score(verdict: QualityVerdict) -> float:
    return -math.inf if verdict.score is None else verdict.score
