"""Which example serves which purpose, by hash: no group of rows (a product, a title) serves two; some code combinations only test."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from common.domain.controls import Controls
from common.errors import BadRow
from train_app.data.examples import Example

Purpose = Literal["train", "discriminator", "validation", "calibration", "test", "evaluator"]
FRACTIONS: dict[Purpose, float] = {
    "train": 0.60,
    "discriminator": 0.12,
    "validation": 0.06,
    "calibration": 0.05,
    "test": 0.11,
    "evaluator": 0.06,
}
"""Of the groups. The generator never sees `discriminator`, nothing that trains or chooses sees `test`; judges learn on `evaluator`."""

SPLIT = "split"
"""Key of a reason's provenance that asks for a purpose of its whole group ("test", "validation"); "train" asks for nothing."""
HELD_OUT = 1 / 3
FEWEST_COMBINATIONS = 6
"""With fewer than this, a third held out would take a code's only use from training."""

Combination = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Splits:
    train: list[Example] = field(default_factory=list)
    discriminator: list[Example] = field(default_factory=list)
    validation: list[Example] = field(default_factory=list)
    calibration: list[Example] = field(default_factory=list)
    test: list[Example] = field(default_factory=list)
    evaluator: list[Example] = field(default_factory=list)
    held_out: frozenset[Combination] = frozenset()
    """Code combinations that occur in `test` only."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Purpose -> rows taken out of it, because their code combination is held out."""


def combination(labels: Controls) -> Combination:
    return tuple(sorted(labels.items()))


def split(examples: Sequence[Example], *, salt: str = "", held_out: float = HELD_OUT) -> Splits:
    """The order of `examples` is kept and decides nothing. `salt` gives another division; `held_out` 0 holds no combination back.

    A purpose that rows hint at goes to them and their groups alone; "test" wins where the rows of a group disagree. The rest is shared
    out among the other purposes. Rows whose combination is held out are left out of all but the test: moving them would part a group.
    """
    hints = _hints(examples)
    free = [purpose for purpose in FRACTIONS if purpose not in hints.values()]
    purposes = [hints.get(example.group) or _purpose(example.group, free, salt) for example in examples]
    reserved = _held_out(examples, purposes, hinted="test" in hints.values(), share=held_out, salt=salt)
    splits = Splits(held_out=reserved)
    for example, purpose in zip(examples, purposes, strict=True):
        if purpose != "test" and combination(example.labels) in reserved:
            splits.left_out[purpose] += 1
        else:
            rows: list[Example] = getattr(splits, purpose)
            rows.append(example)
    return splits


def _hints(examples: Sequence[Example]) -> dict[str, Purpose]:
    """Group -> purpose, for the groups that ask for one."""
    hints: dict[str, Purpose] = {}
    for example in examples:
        asked = example.provenance.get(SPLIT)
        purpose = next((purpose for purpose in FRACTIONS if purpose == asked), None)
        if asked is not None and purpose is None:
            raise BadRow(f"reason {example.example_id}: provenance.split: got {asked!r}; expected one of {', '.join(FRACTIONS)}, or none")
        if purpose not in (None, "train") and hints.get(example.group) != "test":
            hints[example.group] = purpose
    return hints


def _purpose(group: str, purposes: Sequence[Purpose], salt: str) -> Purpose:
    point = _unit(salt, "group", group) * sum(FRACTIONS[purpose] for purpose in purposes)
    ends = itertools.accumulate(FRACTIONS[purpose] for purpose in purposes)
    return next((purpose for purpose, end in zip(purposes, ends, strict=True) if point < end), purposes[-1])


def _held_out(examples: Sequence[Example], purposes: Sequence[Purpose], *, hinted: bool, share: float, salt: str) -> frozenset[Combination]:
    """A `share` of the combinations, by hash; none whose absence would leave a code without a training row.

    With hints, the combinations that only hinted rows have are held out already, and no more are. Pseudo-labels change none of this.
    """
    tested = {
        combination(example.given) for example, purpose in zip(examples, purposes, strict=True) if purpose == "test" and example.given
    }
    other = {combination(example.given) for example, purpose in zip(examples, purposes, strict=True) if purpose != "test" and example.given}
    if hinted and tested - other:
        return frozenset(tested - other)
    combinations = sorted(tested | other, key=lambda codes: _unit(salt, "codes", repr(codes)))
    if len(combinations) < FEWEST_COMBINATIONS:
        return frozenset()
    uses = Counter(code for codes in combinations for code in codes)
    chosen: list[Combination] = []
    for codes in combinations:
        if len(chosen) + 1 > len(combinations) * share:
            break
        if len(codes) > 1 and all(uses[code] > 1 for code in codes):
            chosen.append(codes)
            uses.subtract(codes)
    return frozenset(chosen)


def _unit(*parts: str) -> float:
    """[0, 1), the same on every machine."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)
