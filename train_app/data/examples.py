"""Annotated reasons -> what training learns from: the context as it stood when a reason was written, and its text. Knows no prompt."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from common.artifacts.digest import canonical_json, sha256_bytes
from common.domain.context import BehaviorSummary, Context
from common.domain.controls import Controls, ControlVocabulary
from common.errors import BadControl, BadRow
from common.features.rows import ReasonRow
from common.features.snapshot import Snapshot
from common.features.summarize import shop_day
from common.text.normalise import normalise

GROUP = "group"
"""Key of a reason's provenance: rows with the same value never part in a split. Without it, rows of one product stay together."""
PSEUDO_LABELS = "pseudo_labels"
"""Key of a reason's provenance: control -> what `liyou data label` read off the text, where no person labelled it."""

WRITTEN_BY = "written_by"
"""Key of a row's provenance: the bundle that wrote it again, so that it is not forgotten."""


@dataclass(frozen=True, slots=True)
class Example:
    """`text` is normalised in form only: typos are part of what people write. The context's controls are the labels."""

    example_id: str
    context: Context
    text: str
    labels: Controls
    product_id: str
    provenance: Mapping[str, JsonValue]

    @property
    def given(self) -> Controls:
        """The labels that people gave."""
        pseudo = self.provenance.get(PSEUDO_LABELS)
        return {name: value for name, value in self.labels.items() if not isinstance(pseudo, dict) or name not in pseudo}

    @property
    def by_people(self) -> bool:
        return WRITTEN_BY not in self.provenance

    @property
    def group(self) -> str:
        given = self.provenance.get(GROUP)
        return given if isinstance(given, str) else self.product_id


@dataclass(frozen=True, slots=True)
class RowProblem:
    """An annotated reason that cannot be learnt from, and why."""

    example_id: str
    product_id: str
    problem: str


def examples(snapshot: Snapshot, *, vocabulary: ControlVocabulary, problems: list[RowProblem] | None = None) -> list[Example]:
    """All reasons of the snapshot, in its order. A row that cannot be learnt from is added to `problems`; without a list it raises BadRow.

    The behaviour in a context ends strictly before the reason's `at`, or after the last event when it has none. A reason without a user,
    or for one the snapshot does not know, is an example of a new user.
    """
    found = []
    for row in snapshot.reasons():
        try:
            found.append(_example(row, snapshot, vocabulary))
        except (BadRow, BadControl) as error:
            if problems is None:
                raise BadRow(f"reason for product {row.product_id} ({row.text[:20]!r}): {error}") from error
            problems.append(RowProblem(example_id=example_id(row), product_id=row.product_id, problem=str(error)))
    return found


def example_id(row: ReasonRow) -> str:
    """Sixteen hex digits over what the row says: the same in every snapshot that holds it."""
    said = [row.product_id, row.user_id, row.text, row.labels, row.at.isoformat() if row.at else None]
    return sha256_bytes(canonical_json(said))[:16]


def _example(row: ReasonRow, snapshot: Snapshot, vocabulary: ControlVocabulary) -> Example:
    product = snapshot.product(row.product_id)
    if product is None:
        raise BadRow(
            f"product_id: got {row.product_id!r}; expected one of the products table, without which nothing in the text can be true"
        )
    text = normalise(row.text).replace("\n", " ")
    if not text:
        raise BadRow("text: nothing is left once invisible characters are taken out")
    labels = vocabulary.check(row.labels)
    user = row.user_id if row.user_id is not None and snapshot.knows_user(row.user_id) else None
    return Example(
        example_id=example_id(row),
        context=Context(
            product=product,
            behavior=snapshot.behavior(user, at=row.at) if user is not None else BehaviorSummary(),
            controls=labels,
            persona=snapshot.persona(user) if user is not None else None,
            on=shop_day(row.at) if row.at else None,
        ),
        text=text,
        labels=labels,
        product_id=row.product_id,
        provenance=row.provenance,
    )
