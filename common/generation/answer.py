"""One reason for every product of a page: write, judge, decide, until each item has one. Who writes and judges is passed in, and the clock.

Serving and evaluation run this same function; evaluation passes a clock that stands still. It loads no model and knows no HTTP.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.domain.context import Context
from common.domain.reason import QualityVerdict, Reason
from common.errors import BadInput, LiyouError
from common.generation.acceptance import Accept, Bar, Template, decide
from common.generation.candidates import Candidate

ENGINE_UNAVAILABLE = "engine_unavailable"
DEADLINE = "deadline"
OVERLOADED = "overloaded"
Items = list[tuple[int, Context]]
"""Place on the page and context."""
Written = list[Candidate] | None
"""What a round wrote for an item; None: it was not begun, for too much is being written already."""
Tell = Callable[[int, Reason], None]
"""Hears of each item's reason as soon as there is one, by its place."""


def _nobody(at: int, reason: Reason) -> None: ...


class Write(Protocol):
    async def __call__(self, items: Items, *, k: int, attempt: int) -> Sequence[Written]:
        """k candidates an item, in the order given; fewer, or none, where time ran out."""


class Judge(Protocol):
    async def __call__(self, contexts: list[Context], candidates: list[list[Candidate]]) -> list[list[QualityVerdict]]:
        """A verdict on each candidate against its own context."""


Fill = Callable[[Context], tuple[str, QualityVerdict]]
"""A context's template and the verdict on it; what is shown when all else failed, so it does not fail."""


class Beside(Protocol):
    """What else is shown, and what must not be, as far as an accepted text has to do with it."""

    def bars(self, context: Context, text: str) -> Bar | None:
        """Why it is not shown, or None."""

    def add(self, text: str) -> None:
        """It is shown from now on."""


@dataclass(frozen=True, slots=True)
class AnswerPolicy:
    k: int = 4
    """candidates an item and round"""
    max_attempts: int = 2
    expected_s: float = 0.5
    """what a round of writing and judging is expected to take; one that would not end in time is not begun"""
    reserve_s: float = 0.03
    """kept back from a round's time for filling templates"""


@dataclass(frozen=True, slots=True)
class Judged:
    candidates: list[Candidate]
    verdicts: list[QualityVerdict]


Outcome = Judged | str
"""What a round brought for an item, or why it brought nothing."""


async def answer(
    contexts: Sequence[Context],
    *,
    write: Write,
    judge: Judge,
    fill: Fill,
    clock: Callable[[], float],
    deadline_s: float,
    policy: AnswerPolicy,
    beside: Beside | None = None,
    tell: Tell = _nobody,
) -> list[Reason]:
    """A reason for each context, in order; `deadline_s` is the reading of `clock` by which they are due (math.inf: no hurry).
    `beside`: what bars a text that was accepted; None: nothing does.

    An item whose writer or judge cannot be reached, that was not begun, or for which no candidate or no time was left, gets a template
    whose `degraded` says why; one that is wrong in itself (a prompt too long) gets a template with that error's code and costs its
    neighbours nothing. Other errors rise.
    """
    reasons: dict[int, Reason] = {}
    outcomes: dict[int, Outcome] = {index: Judged([], []) for index in range(len(contexts))}
    attempts = 0
    while len(reasons) < len(contexts):
        undecided: Items = []
        for index, outcome in outcomes.items():
            left_s = deadline_s - clock()
            settled = _settled(contexts[index], outcome, fill=fill, attempts=attempts, time_left_s=left_s, policy=policy, beside=beside)
            if settled is None:
                undecided.append((index, contexts[index]))
            else:
                reasons[index] = settled
                tell(index, settled)
                if settled.source == "template":
                    await asyncio.sleep(0)  # filling one takes milliseconds: who else waits for the loop goes between
        if undecided:
            time_s = deadline_s - clock() - policy.reserve_s
            found = await _in_time(_round(undecided, write=write, judge=judge, k=policy.k, attempt=attempts), time_s, num=len(undecided))
            outcomes = {index: outcome for (index, _), outcome in zip(undecided, found, strict=True)}
            attempts += 1
    return [reasons[index] for index in range(len(contexts))]


def _settled(
    context: Context, outcome: Outcome, *, fill: Fill, attempts: int, time_left_s: float, policy: AnswerPolicy, beside: Beside | None
) -> Reason | None:
    """The item's reason, or None: it is to be written again."""
    if isinstance(outcome, str):
        return _template(context, outcome, fill=fill, attempts=attempts)
    barred = {
        at: why
        for at, verdict in enumerate(outcome.verdicts)
        if beside and verdict.accepted and (why := beside.bars(context, outcome.candidates[at].text))
    }
    decision = decide(
        outcome.verdicts,
        attempts=attempts,
        max_attempts=policy.max_attempts,
        time_left_s=time_left_s,
        expected_s=policy.expected_s,
        barred=barred,
    )
    if isinstance(decision, Accept):
        if beside:
            beside.add(outcome.candidates[decision.index].text)
        return Reason(
            text=outcome.candidates[decision.index].text,
            source="model",
            controls=context.controls,
            verdict=outcome.verdicts[decision.index],
            attempts=attempts,
        )
    return _template(context, decision.reason, fill=fill, attempts=attempts) if isinstance(decision, Template) else None


def _template(context: Context, why: str, *, fill: Fill, attempts: int) -> Reason:
    text, verdict = fill(context)
    return Reason(text=text, source="template", controls=context.controls, verdict=verdict, attempts=attempts, degraded=why)


async def _in_time(outcomes: Coroutine[object, object, list[Outcome]], time_s: float, *, num: int) -> list[Outcome]:
    """What the round brought, or for all its items that time ran out; the round is cancelled then."""
    try:
        return await asyncio.wait_for(outcomes, None if math.isinf(time_s) else time_s)
    except TimeoutError:
        return [DEADLINE] * num


async def _round(items: Items, *, write: Write, judge: Judge, k: int, attempt: int) -> list[Outcome]:
    contexts = [context for _, context in items]
    try:
        candidates = await write(items, k=k, attempt=attempt)
        assert len(candidates) == len(items), f"{len(candidates)} lists of candidates for {len(items)} items"
        begun = [(at, own) for at, own in enumerate(candidates) if own is not None]
        judged = await judge([contexts[at] for at, _ in begun], [own for _, own in begun]) if begun else []
    except BadInput as error:
        if len(items) == 1:
            return [error.code]
        # Somebody on this page is wrong in itself. Asked one by one, each fares as it would have fared alone.
        alone = await asyncio.gather(*(_round([item], write=write, judge=judge, k=k, attempt=attempt) for item in items))
        return [outcome for [outcome] in alone]
    except LiyouError as error:
        if not error.retryable:
            raise
        return [ENGINE_UNAVAILABLE] * len(items)
    outcomes: list[Outcome] = [OVERLOADED] * len(items)
    for (at, own), verdicts in zip(begun, judged, strict=True):
        outcomes[at] = Judged(own, verdicts)
    return outcomes
