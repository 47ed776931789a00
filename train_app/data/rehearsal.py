"""Old examples beside new ones, so that what is learnt anew does not push out what was known. Mixes rows; knows no model.

Rehearsal: Robins 1995; with texts that the old model writes itself, pseudo-rehearsal.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from train_app.data.examples import Example
from train_app.data.split import Purpose, Splits, combination

MIXED: tuple[Purpose, ...] = ("train", "discriminator", "validation", "calibration")
"""Test stays new: what became of the old is measured on the old snapshot's."""


def num_old(num_new: int, *, share: float) -> int:
    """Rows that are `share` of all when they stand beside `num_new` others."""
    return round(num_new * share / (1 - share))


def rehearsed(new: Splits, old: Splits, *, share: float) -> Splits:
    """In each part as many old rows as make up `share`, or all there are, shuffled in: stages read the first rows of a part.

    Left out are old rows of a group that the new test has, and those whose codes are held out for it.
    """
    tested = {example.group for example in new.test}
    parts: dict[Purpose, list[Example]] = {}
    for purpose in MIXED:
        own: list[Example] = getattr(new, purpose)
        known = {example.example_id for example in own}
        usable = [one for one in getattr(old, purpose) if one.example_id not in known and _allowed(one, tested, new)]
        rng = random.Random(f"rehearsal/{purpose}")
        together = [*own, *rng.sample(usable, min(len(usable), num_old(len(own), share=share)))]
        rng.shuffle(together)
        parts[purpose] = together
    return replace(
        new,
        train=parts["train"],
        discriminator=parts["discriminator"],
        validation=parts["validation"],
        calibration=parts["calibration"],
    )


def _allowed(example: Example, tested: set[str], new: Splits) -> bool:
    return example.group not in tested and combination(example.labels) not in new.held_out


def parted(examples: Sequence[Example]) -> Splits:
    """What a bundle wrote itself: to learn from and to measure by. It is no real text, so a discriminator never sees it as one."""
    return Splits(train=[one for number, one in enumerate(examples) if number % 8], validation=list(examples[::8]))
