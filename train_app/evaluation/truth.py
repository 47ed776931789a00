"""Where a ground truth exists, by name. It is asked by reports alone: no reward, filter, selection or served verdict may know it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from common.domain.context import Context
from train_app.evaluation.measures import Truth
from train_app.sample_shop.judge import judge

TruthName = Literal["sample_shop"]
FACTS = frozenset({"brand", "category", "price", "number", "attribute", "rating", "history"})
"""Agreements with the request: who breaks one says something of the product or the customer that is not so."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What a ground truth finds in a text."""

    clean: bool
    hidden_clean: bool
    """None of the faults that no quality check is meant to see."""
    hallucinated: bool


def truth_of(name: TruthName | None) -> Truth | None:
    """`sample_shop`: the writer's judge finds nothing broken and understands every clause."""
    return None if name is None else lambda text, context: judge(text, context).clean


def faults_of(name: TruthName | None) -> Callable[[str, Context], Faults] | None:
    """The same in more words."""

    def found(text: str, context: Context) -> Faults:
        judgement = judge(text, context)
        return Faults(
            clean=judgement.clean,
            hidden_clean=not judgement.broken_hidden and not judgement.unparsed,
            hallucinated=not FACTS.isdisjoint(judgement.broken),
        )

    return None if name is None else found
