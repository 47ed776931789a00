"""Who says which texts are bad: people, in a file that the run writes for them, or the sample shop's evaluator. Never its judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson
from pydantic import Field, ValidationError

from common.artifacts.digest import canonical_json, sha256_bytes
from common.artifacts.storage import open_storage
from common.config import Frozen
from common.errors import BadInput, BadRow
from train_app.config import CalibrationConfig
from train_app.data.examples import Example
from train_app.sample_shop.fault_classifier import FaultClassifier, fit_fault_classifier
from train_app.stages.workbench import Workbench

SAMPLE_SHOP = "sample_shop"


@dataclass(frozen=True, slots=True)
class Asked:
    """A calibration request with what each attempt would show, and its score; -inf and an empty text where nothing passes the checks."""

    example: Example
    scores: tuple[float, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Labels:
    """`bad[r][a]` of `asked[r].texts[a]`. `why`: what is missing, for whoever has to bring it."""

    asked: list[Asked]
    bad: list[list[bool]]
    measures: Mapping[str, float] = field(default_factory=dict)
    why: str | None = None


class LabelRow(Frozen):
    """A line of the labels file. A person fills in `bad`; the rest is there to be read."""

    example_id: str
    controls: dict[str, str]
    text: str = Field(min_length=1)
    bad: bool | None = Field(None, description="whether this text should not have been shown; null: nobody has said")
    product: str = ""
    facts: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, str]:
        return self.example_id, repr(sorted(self.controls.items())), self.text


def labelled(asked: Sequence[Asked], config: CalibrationConfig, *, bench: Workbench) -> Labels:
    """Of `people` the requests whose texts all have a label; none, with a `why`, where nobody can say. Raises BadRow naming file, line."""
    if config.labels == "people":
        return _by_people(asked, str(config.labels_file), writes=bench.parallel.leads)
    try:
        classifier = evaluator(bench)
    except BadInput as error:  # a small shop; hours of training shall not be lost to it
        return Labels([], [], why=str(error))
    places = [(row, attempt) for row, one in enumerate(asked) for attempt, text in enumerate(one.texts) if text]
    flags = [[True] * len(one.texts) for one in asked]
    texts, contexts = [asked[row].texts[attempt] for row, attempt in places], [asked[row].example.context for row, _ in places]
    for (row, attempt), bad in zip(places, classifier.bad(texts, contexts), strict=True):
        flags[row][attempt] = bad
    return Labels(list(asked), flags, classifier.measures)


def evaluator(bench: Workbench) -> FaultClassifier:
    """Of the sample shop: the same for all that a bench of one `run` asks. Raises BadInput for other data, or too few products."""
    rows = bench.splits.evaluator
    if not all(example.provenance.get("source") == SAMPLE_SHOP for example in rows):
        raise BadInput("calibration.labels: evaluator knows the sample shop alone; expected people or none for these data")
    return fit_fault_classifier([example.context for example in rows], seed=bench.seed("evaluator", 0) % (1 << 31))


def labels_digest(place: str) -> str:
    """Of what people have said so far; empty while they have said nothing."""
    said = sorted((row.key, row.bad) for row in _read(place) if row.bad is not None)
    return sha256_bytes(canonical_json([[*key, bad] for key, bad in said])) if said else ""


def _by_people(asked: Sequence[Asked], place: str, *, writes: bool) -> Labels:
    rows = _read(place)
    said = {row.key: row.bad for row in rows if row.bad is not None}
    flagged = [(one, [said.get(_row(one.example, text).key) if text else True for text in one.texts]) for one in asked]
    last = max((place for place, (one, flags) in enumerate(flagged) if any(one.texts) and None not in flags), default=-1)
    # A request without a text needs no label and counts as not accepted: as far as people came, neither more nor less.
    whole = [(one, [bool(bad) for bad in flags]) for one, flags in flagged[: last + 1] if None not in flags]
    kept, bad = [one for one, _ in whole], [flags for _, flags in whole]
    folder, _, name = place.rpartition("/")  # the manifest repeats `why`, and holds no path
    why = f"{len(kept)} of {len(asked)} requests have all their texts labelled in {name}"
    if not rows:
        if writes:
            lines = {row.key: row for one in asked for text in one.texts if text for row in [_row(one.example, text)]}
            open_storage(folder or ".").put(name, b"\n".join(orjson.dumps(row.model_dump()) for row in lines.values()) + b"\n")
        why = f"{name} was written: fill in `bad` and start the same run again, which goes on from here"
    elif not kept:
        why += "; its texts are another run's or nobody has filled in `bad`"
    return Labels(kept, bad, why=why)


def _row(example: Example, text: str) -> LabelRow:
    product = example.context.product
    facts = [f"{one.key}: {one.value}" for one in product.attributes]
    if product.price:
        facts.append(f"{product.price.amount()} {product.price.currency}")
    return LabelRow(example_id=example.example_id, controls=example.context.controls, text=text, product=product.title, facts=tuple(facts))


def _read(place: str) -> list[LabelRow]:
    folder, _, name = place.rpartition("/")
    storage = open_storage(folder or ".")
    if not storage.exists(name):
        return []
    rows = []
    for number, line in enumerate(storage.get(name).splitlines(), start=1):
        try:
            rows.append(LabelRow.model_validate(orjson.loads(line)))
        except (orjson.JSONDecodeError, ValidationError) as error:
            raise BadRow(f"{place}, line {number}: {error}") from error
    return rows
