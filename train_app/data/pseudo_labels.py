"""Labels for reasons that have none: rounds in which a classifier's confident readings become labels and teach the next round's (Lee 2013).

Every pseudo-label says in its row's provenance how sure the classifier was, in which round, and which n-grams weighed most. Learns from
rows of the training purpose that people labelled; labels rows that train the generator or the discriminator; other purposes stay untouched.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pydantic import Field

from common.config import Frozen
from common.domain.controls import Controls, ControlVocabulary
from common.errors import BadInput
from common.features.rows import ReasonRow
from common.features.snapshot import Snapshot
from common.metrics.calibration import expected_calibration_error
from common.metrics.intervals import Interval, share
from train_app.data.examples import PSEUDO_LABELS, Example, example_id, examples
from train_app.data.label_classifier import FOLDS, Ngrams, TrainingRound, self_train
from train_app.data.split import split

CONFIDENCE = 0.9
"""Between Lee's argmax and FixMatch's .95 (Sohn et al. 2020)."""
ROUNDS = 3
ROWS_A_BIN = 20
"""Fewer rows in a bin of the calibration error and it measures chance."""


class PseudoLabel(Frozen):
    """What stands in a row's provenance under `pseudo_labels`, control by control."""

    value: str
    confidence: float = Field(ge=0, le=1, description="calibrated probability of the value")
    round: int = Field(ge=1)
    ngrams: tuple[tuple[str, float], ...] = Field(
        description="what weighed most, and what it added to the value's logit above the others' mean"
    )


class PseudoLabelled(PseudoLabel):
    """A line of the table that `liyou data show --pseudo-labels` prints."""

    example_id: str
    product_id: str
    control: str
    text: str


class Round(Frozen):
    """What a round added, and how it agrees with people on labelled rows of products that it did not learn from (out of fold)."""

    added: int = Field(ge=0, description="rows that got a pseudo-label in this round")
    accuracy: Interval = Field(description="of the classifier on all labelled rows")
    confident: Interval = Field(description="of those that this round, as the first, would have given a pseudo-label")
    ece: float | None = Field(
        description="calibration error of the confidence, [0, 1], on rows no earlier round had read; None without any"
    )


class ControlLabels(Frozen):
    labelled: int = Field(ge=0, description="training rows that people labelled, the classifier's")
    pseudo_labelled: dict[str, int] = Field(description="value -> rows")
    unlabelled: int = Field(ge=0, description="rows left without a label: training reads them without this code")
    rounds: dict[str, Round]


class LabelReport(Frozen):
    """Kept in the snapshot's notes under `pseudo_labels`."""

    confidence: float
    controls: dict[str, ControlLabels]


def pseudo_label(
    snapshot: Snapshot,
    *,
    vocabulary: ControlVocabulary,
    controls: Sequence[str] = (),
    confidence: float = CONFIDENCE,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> tuple[list[ReasonRow], LabelReport]:
    """All reasons in their order, those that were read confidently with more labels; and what to think of them.

    `controls` empty: all of the vocabulary. Pseudo-labels that the snapshot has from before are forgotten first. Raises BadRow for a row
    that cannot be learnt from, BadInput for a control of which a value has labelled training rows of fewer than five groups (products).
    """
    rows = [without_pseudo_labels(row) for row in snapshot.reasons()]
    found = [replace(one, labels=one.given) for one in examples(snapshot, vocabulary=vocabulary)]
    splits = split(found, held_out=0)
    train = {one.example_id for one in splits.train}
    pool = train | {one.example_id for one in splits.discriminator}
    chosen = _chosen(controls, vocabulary)
    for control, values in chosen.items():
        _check(control, values, [one for one in splits.train if control in one.labels])
    ngrams = Ngrams([one.text for one in found if one.example_id in train])
    given: dict[int, dict[str, PseudoLabel]] = {}
    reports = {}
    for control in chosen:
        labelled = [one for one in found if one.example_id in train and control in one.labels]
        places = [place for place, one in enumerate(found) if one.example_id in pool and control not in one.labels]
        labels = [one.labels[control] for one in labelled]
        unlabelled = ngrams.of([found[place].text for place in places])
        told: dict[int, PseudoLabel] = {}
        story: dict[str, Round] = {}
        for done in self_train(
            ngrams.of([one.text for one in labelled]),
            labels,
            [one.group for one in labelled],
            unlabelled=unlabelled,
            teaches=[found[place].example_id in train for place in places],
            confidence=confidence,
            rounds=rounds,
            seed=seed,
        ):
            number = len(story) + 1
            readings = done.classifier.readings(unlabelled[done.new], ngrams.names)
            for row, reading in zip(done.new, readings, strict=True):
                told[places[row]] = PseudoLabel(value=reading.value, confidence=reading.confidence, round=number, ngrams=reading.ngrams)
            story[str(number)] = _round(done, confidence)
        for place, label in told.items():
            given.setdefault(place, {})[control] = label
        reports[control] = ControlLabels(
            labelled=len(labelled),
            pseudo_labelled=dict(sorted(Counter(label.value for label in told.values()).items())),
            unlabelled=len(places) - len(told),
            rounds=story,
        )
    both = [_labelled(row, given[place], vocabulary) if place in given else row for place, row in enumerate(rows)]
    return both, LabelReport(confidence=confidence, controls=reports)


def without_pseudo_labels(row: ReasonRow) -> ReasonRow:
    """The row as people labelled it."""
    provenance = dict(row.provenance)
    pseudo = provenance.pop(PSEUDO_LABELS, None)
    if not isinstance(pseudo, dict):
        return row
    return row.model_copy(
        update={"labels": {name: row.labels[name] for name in row.labels if name not in pseudo}, "provenance": provenance}
    )


def pseudo_labelled(snapshot: Snapshot) -> list[PseudoLabelled]:
    """Every pseudo-label of the snapshot, the least sure first."""
    found = list(_told(snapshot.reasons()))
    return sorted(found, key=lambda one: (one.confidence, one.example_id, one.control))


def _told(rows: Iterator[ReasonRow]) -> Iterator[PseudoLabelled]:
    for row in rows:
        pseudo = row.provenance.get(PSEUDO_LABELS)
        for control, label in pseudo.items() if isinstance(pseudo, dict) else ():
            about = {"example_id": example_id(row), "product_id": row.product_id, "control": control, "text": row.text}
            yield PseudoLabelled.model_validate({**about, **PseudoLabel.model_validate(label).model_dump()})


def _chosen(controls: Sequence[str], vocabulary: ControlVocabulary) -> dict[str, list[str]]:
    """Control -> its values."""
    known = {control.name: [value.name for value in control.values] for control in vocabulary.controls}
    if wrong := [control for control in controls if control not in known]:
        raise BadInput(f"control: got {wrong[0]!r}; expected one of {', '.join(known)}")
    return {control: values for control, values in known.items() if control in controls or not controls}


def _check(control: str, values: Sequence[str], rows: Sequence[Example]) -> None:
    groups = {value: len({one.group for one in rows if one.labels[control] == value}) for value in values}
    if few := [value for value in values if groups[value] < FOLDS]:
        have = ", ".join(f"{value} {groups[value]}" for value in values)
        raise BadInput(
            f"controls.{control}: too few products (groups) with labelled training rows: {have}; a classifier needs at least {FOLDS} of "
            f"every value. Label more rows of {', '.join(few)} by hand, or name the other controls with --control"
        )


def _round(done: TrainingRound, confidence: float) -> Round:
    sure = done.left_N & (done.confidence_N >= confidence)
    p, right = done.confidence_N[done.left_N], done.right_N[done.left_N]
    return Round(
        added=len(done.new),
        accuracy=share(int(done.right_N.sum()), len(done.right_N)),
        confident=share(int(done.right_N[sure].sum()), int(sure.sum())),
        ece=expected_calibration_error(p, right, bins=max(1, min(15, len(p) // ROWS_A_BIN))) if len(p) else None,
    )


def _labelled(row: ReasonRow, labels: dict[str, PseudoLabel], vocabulary: ControlVocabulary) -> ReasonRow:
    both: Controls = vocabulary.check({**row.labels, **{control: label.value for control, label in labels.items()}})
    told = {control: label.model_dump(mode="json") for control, label in labels.items()}
    return row.model_copy(update={"labels": both, "provenance": {**row.provenance, PSEUDO_LABELS: told}})
