"""A shop's tables at rest, as serving and training look them up: sorted Arrow files mapped into memory. Keeps evidence, no resolved codes.

manifest.json  products.arrow  events.arrow  users.arrow  preferences.arrow  reasons.arrow  rejects.jsonl
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, JsonValue

from common.artifacts.registry import local_folder
from common.config import Frozen
from common.domain.context import BehaviorSummary
from common.domain.event import Event, EventKind
from common.domain.product import Product
from common.errors import BadInput
from common.features.preferences import Counts
from common.features.rows import PreferenceRow, ReasonRow
from common.features.sorted_file import SortedFile
from common.features.summarize import summarize

FORMAT = 2
MANIFEST = "manifest.json"
REJECTS = "rejects.jsonl"
ID_COLUMNS = {"products": "product_id", "events": "user_id", "users": "user_id", "preferences": "user_id", "reasons": "product_id"}
"""Table -> the column it is looked up by."""
KEPT_PRODUCTS = 4096
NEWEST_EVENTS = 2000
"""Of a user's events as many are summarised: an id that a shop gives to all its guests has no end of them."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TableSummary(Frozen):
    rows: int = Field(ge=0)
    digest: str = Field(description="sha256 of the rows as canonical JSON lines, in the order of the file")
    source: str | None = Field(None, description="name of the raw file; None when the shop has no such table")
    rejected: int = Field(0, ge=0)
    unknown_products: int = Field(
        0, ge=0, description="rows that name a product the catalogue does not have; kept, and never told in a sentence"
    )
    unknown_columns: dict[str, int] = Field({}, description="column nobody reads -> rows with a value in it")
    cut: dict[str, int] = Field({}, description="text column -> rows whose text the map had cut")


class SnapshotManifest(Frozen):
    format: int = FORMAT
    digest: str = Field(description="sha256 over the tables' digests: the same for the same content, wherever and whenever it was built")
    tables: dict[str, TableSummary]
    population: Counts = Field({}, description="control -> value -> weighted number of observations over all users")
    notes: dict[str, JsonValue] = Field({}, description="origin, licence and other provenance, as provenance.json of the raw folder says")

    @property
    def num_rejects(self) -> int:
        return sum(table.rejected for table in self.tables.values())


class Snapshot:
    """Read-only and safe to share between threads; processes on one machine share its pages."""

    def __init__(self, path: Path, manifest: SnapshotManifest) -> None:
        self.path = path
        self.manifest = manifest
        self.files = {name: SortedFile(path / f"{name}.arrow", id_column=column) for name, column in ID_COLUMNS.items()}
        self._product = lru_cache(maxsize=KEPT_PRODUCTS)(self._read_product)

    @classmethod
    def open(cls, path: Path | str) -> "Snapshot":
        """A folder, or s3://BUCKET/REGISTRY/VERSION, of which a verified copy is kept on this machine. Takes the same time for any number
        of users. Raises BadInput when there is no snapshot, or one of another format; ArtifactNotFound, DigestMismatch."""
        folder = local_folder(path)
        return cls(folder, read_manifest(folder))

    @property
    def digest(self) -> str:
        return self.manifest.digest

    def product(self, product_id: str) -> Product | None:
        return self._product(product_id)

    def products(self) -> Iterator[Product]:
        """In the order of the file, which is that of the ids' hashes."""
        return (Product.model_validate_json(data) for data in _texts(self.files["products"].batch))

    def events(self, user_id: str) -> list[Event]:
        """Oldest first; of equal times in the order of event ids."""
        return [event_from(row) for row in self.files["events"].find(user_id).to_pylist()]

    def behavior(self, user_id: str, *, at: datetime | None = None) -> BehaviorSummary:
        """What was known of the user strictly before `at` (None: all of it), by the newest 2,000 events; empty for a user nobody knows."""
        rows = self.files["events"].find(user_id)
        before = rows if at is None else rows.filter(pc.less(rows.column("at"), microseconds(at)))
        events = [event_from(row) for row in before.slice(max(0, before.num_rows - NEWEST_EVENTS)).to_pylist()]
        products = {event.product_id: product for event in events if (product := self.product(event.product_id)) is not None}
        return summarize(events, at=at, products=products)

    def persona(self, user_id: str) -> str | None:
        rows = self.files["users"].find(user_id).to_pylist()
        return rows[0]["persona"] if rows else None

    def knows_user(self, user_id: str) -> bool:
        return any(self.files[name].find(user_id).num_rows for name in ("users", "events", "preferences"))

    def preferences(self, user_id: str) -> list[PreferenceRow]:
        return [PreferenceRow.model_validate_json(data) for data in _texts(self.files["preferences"].find(user_id))]

    def population(self) -> Counts:
        """The prior of every estimate: control -> value -> weighted number of observations."""
        return self.manifest.population

    def reasons(self) -> Iterator[ReasonRow]:
        """In the order of the file: by product, then by content."""
        return (ReasonRow.model_validate_json(data) for data in _texts(self.files["reasons"].batch))

    def _read_product(self, product_id: str) -> Product | None:
        found = self.files["products"].find(product_id)
        return Product.model_validate_json(found.column("data")[0].as_py()) if found.num_rows else None


def read_manifest(path: Path | str) -> SnapshotManifest:
    file = Path(path) / MANIFEST
    if not file.is_file():
        raise BadInput(f"{path}: no snapshot ({MANIFEST} is missing); build one with `liyou data build RAW_FOLDER --out {path}`")
    try:
        manifest = SnapshotManifest.model_validate_json(file.read_bytes())
    except ValueError as error:
        raise BadInput(f"{file}: not a snapshot of this release: {error}; build it again from the raw tables") from error
    if manifest.format != FORMAT:
        raise BadInput(f"{file}: snapshot format {manifest.format}; this build reads {FORMAT}. Build it again from the raw tables")
    return manifest


def microseconds(moment: datetime) -> int:
    """Since 1970 UTC, exactly."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def event_from(row: dict[str, object]) -> Event:
    at = row["at"]
    assert isinstance(at, int)
    fields = {name: row[name] for name in ("event_id", "user_id", "product_id", "rating", "text")}
    return Event.model_validate({**fields, "kind": EventKind(str(row["kind"])), "at": EPOCH + timedelta(microseconds=at)})


def _texts(batch: pa.RecordBatch) -> Iterator[str]:
    return (value.as_py() for value in batch.column("data"))
