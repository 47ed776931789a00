"""Raw tables -> a snapshot folder, and a snapshot without one user. Swaps folders at the end: a broken build leaves the old one."""

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import orjson
import pyarrow as pa
from pydantic import BaseModel, JsonValue

from common.artifacts.digest import canonical_json, sha256_bytes
from common.domain.event import Event
from common.domain.product import Product
from common.domain.user import User
from common.errors import BadInput, LiyouError, NotFound
from common.features.column_map import ColumnMap
from common.features.preferences import count
from common.features.rows import EVENTS, PREFERENCES, PRODUCTS, REASONS, USERS, PreferenceRow, ReasonRow, Table
from common.features.snapshot import ID_COLUMNS, MANIFEST, REJECTS, Snapshot, SnapshotManifest, TableSummary, microseconds, read_manifest
from common.features.sorted_file import KEY, hash64, write_sorted
from common.features.tables import Reject, find_table, read_table

NOTES = "provenance.json"
CHUNK_ROWS = 20_000
Row = TypeVar("Row", bound=BaseModel)
OnProgress = Callable[[str, int], None]
"""Called with a table's name and the rows read so far, once a chunk."""

TEXT = pa.large_string()  # 32-bit offsets end at 2 GiB of text a column
KEYED = (KEY, pa.uint64())
SCHEMAS = {
    "products": pa.schema([KEYED, ("product_id", TEXT), ("data", TEXT)]),
    "events": pa.schema(
        [
            KEYED,
            ("user_id", TEXT),
            ("at", pa.int64()),
            ("event_id", TEXT),
            ("product_id", TEXT),
            ("kind", TEXT),
            ("rating", pa.float64()),
            ("text", TEXT),
        ]
    ),
    "users": pa.schema([KEYED, ("user_id", TEXT), ("persona", TEXT)]),
    "preferences": pa.schema([KEYED, ("user_id", TEXT), ("data", TEXT)]),
    "reasons": pa.schema([KEYED, ("product_id", TEXT), ("user_id", TEXT), ("data", TEXT)]),
}
ORDER = {"products": (), "events": ("at", "event_id"), "users": (), "preferences": ("data",), "reasons": ("data",)}
"""What orders the rows of one id: content, so that the order of the raw rows changes nothing."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What `forget` took out: table -> rows."""

    rows: dict[str, int]
    digest_before: str
    digest_after: str


def build_snapshot(
    source: Path | str, out: Path | str, *, mapping: ColumnMap | None = None, on_progress: OnProgress = lambda table, rows: None
) -> SnapshotManifest:
    """The raw folder `source` as a snapshot in `out`, which is replaced when it is one. Raises BadInput when there are no products."""
    source = Path(source)
    if not source.is_dir():
        raise BadInput(
            f"{source}: no such folder; expected one with products.jsonl (or .csv, .parquet) and, if there are, events, users, ..."
        )
    with _replacing(Path(out)) as folder, (folder / REJECTS).open("wb") as rejects:
        product_ids: set[str] = set()

        def product(row: Product) -> dict[str, object]:
            product_ids.add(row.product_id)
            return {"product_id": row.product_id, "data": _json(row)}

        def event(row: Event) -> dict[str, object]:
            return {**row.model_dump(mode="python"), "kind": row.kind.value, "at": microseconds(row.at)}

        def user(row: User) -> dict[str, object]:
            return {"user_id": row.user_id, "persona": row.persona}

        def preference(row: PreferenceRow) -> dict[str, object]:
            return {"user_id": row.user_id, "data": _json(row)}

        reader = _Reader(source, folder, mapping, rejects.write, product_ids, on_progress)
        tables = {
            "products": reader.load(PRODUCTS, product),
            "events": reader.load(EVENTS, event),
            "users": reader.load(USERS, user),
            "preferences": reader.load(PREFERENCES, preference),
            "reasons": reader.load(REASONS, _reason),
        }
        if tables["products"].rows == 0:
            problem = "no products table" if tables["products"].source is None else f"not one readable row in {tables['products'].source}"
            raise BadInput(f"{source}: {problem}; a snapshot needs products (product_id, title, category, ...)")
        return _write_manifest(folder, tables, notes=_notes(source))


def with_reasons(snapshot: Snapshot, out: Path | str, *, reasons: Iterable[ReasonRow], notes: dict[str, JsonValue]) -> SnapshotManifest:
    """The snapshot with other reasons in `out`, which is replaced when it is a snapshot; `notes` join the old ones."""
    with _replacing(Path(out)) as folder:
        for name in SCHEMAS:
            if name != REASONS.name:
                shutil.copyfile(snapshot.path / f"{name}.arrow", folder / f"{name}.arrow")
        shutil.copyfile(snapshot.path / REJECTS, folder / REJECTS)
        batches = [_batch([_reason(row) for row in chunk], REASONS.name) for chunk in _chunks(reasons)]
        whole = pa.Table.from_batches(batches, schema=SCHEMAS[REASONS.name])
        old = snapshot.manifest.tables
        summary = old[REASONS.name].model_copy(update={"rows": whole.num_rows, "digest": _store(whole, REASONS.name, folder)})
        return _write_manifest(folder, {**old, REASONS.name: summary}, notes={**snapshot.manifest.notes, **notes})


def forget(path: Path | str, user_id: str) -> Forgotten:
    """Rewrites the snapshot without a user's events, persona, preferences and the reasons written for that user. Raises NotFound.

    The raw tables and bundles trained before are not touched: whoever answers a deletion request has to see to those as well.
    """
    old = Snapshot.open(path)
    removed: dict[str, int] = {}
    tables: dict[str, TableSummary] = {}
    with _replacing(Path(path)) as folder:
        for name in SCHEMAS:
            before = pa.Table.from_batches([old.files[name].batch])
            kept = before.filter(_not_of(before, user_id)) if "user_id" in before.schema.names else before
            removed[name] = before.num_rows - kept.num_rows
            rows = _store(kept, name, folder)
            tables[name] = old.manifest.tables[name].model_copy(update={"rows": kept.num_rows, "digest": rows})
        rejects = _copy_rejects_without(Path(path) / REJECTS, folder / REJECTS, user_id)
        for name, table in tables.items():
            tables[name] = table.model_copy(update={"rejected": table.rejected - rejects[name]})
        removed["rejects"] = rejects.total()
        if not any(removed.values()):
            raise NotFound(f"user {user_id!r}: not in the snapshot {path}; nothing was changed")
        manifest = _write_manifest(folder, tables, notes=old.manifest.notes)
    return Forgotten(rows=removed, digest_before=old.digest, digest_after=manifest.digest)


@dataclass(frozen=True, slots=True)
class _Reader:
    source: Path
    folder: Path
    mapping: ColumnMap | None
    write_reject: Callable[[bytes], int]
    product_ids: set[str]
    on_progress: OnProgress

    def load(self, table: Table[Row], columns: Callable[[Row], dict[str, object]]) -> TableSummary:
        """Reads, sorts and writes one table; a missing file is an empty table."""
        path = find_table(self.source, table, mapping=self.mapping)
        if path is None:
            return TableSummary(rows=0, digest=_store(SCHEMAS[table.name].empty_table(), table.name, self.folder))
        read = read_table(path, table, mapping=self.mapping)
        rejected = unknown = 0
        batches = []
        for chunk in _chunks(read.rows):
            rows = [columns(record) for record in chunk]
            unknown += sum(row["product_id"] not in self.product_ids for row in rows if "product_id" in row)
            batches.append(_batch(rows, table.name))
            rejected += self._drain(read.rejects)
            self.on_progress(table.name, read.num_rows)
        rejected += self._drain(read.rejects)
        whole = pa.Table.from_batches(batches, schema=SCHEMAS[table.name])
        return TableSummary(
            rows=whole.num_rows,
            digest=_store(whole, table.name, self.folder),
            source=path.name,
            rejected=rejected,
            unknown_products=unknown,
            unknown_columns=read.unknown_columns,
            cut=read.cut,
        )

    def _drain(self, rejects: list[Reject]) -> int:
        for reject in rejects:
            self.write_reject(canonical_json(reject) + b"\n")
        number = len(rejects)
        rejects.clear()
        return number


def _reason(row: ReasonRow) -> dict[str, object]:
    return {"product_id": row.product_id, "user_id": row.user_id, "data": _json(row)}


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _batch(rows: list[dict[str, object]], name: str) -> pa.RecordBatch:
    for row in rows:
        row[KEY] = hash64(str(row[ID_COLUMNS[name]]))
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMAS[name])


def _store(table: pa.Table, name: str, folder: Path) -> str:
    """Writes the sorted file; returns the digest of its rows."""
    ordered = write_sorted(table, folder / f"{name}.arrow", id_column=ID_COLUMNS[name], by=ORDER[name])
    digest = hashlib.sha256()
    for batch in ordered.drop_columns([KEY]).to_batches(max_chunksize=CHUNK_ROWS):
        for row in batch.to_pylist():
            digest.update(orjson.dumps(row, option=orjson.OPT_SORT_KEYS) + b"\n")
    return digest.hexdigest()


def _json(row: BaseModel) -> str:
    return canonical_json(row.model_dump(mode="json", exclude_none=True)).decode()


def _write_manifest(folder: Path, tables: dict[str, TableSummary], *, notes: dict[str, JsonValue]) -> SnapshotManifest:
    written = pa.ipc.open_file(pa.memory_map(str(folder / "preferences.arrow"), "rb")).read_all()
    population = count(PreferenceRow.model_validate_json(data.as_py()) for data in written.column("data"))
    digest = sha256_bytes(canonical_json({name: table.digest for name, table in tables.items()}))
    manifest = SnapshotManifest(digest=digest, tables=tables, population=population, notes=notes)
    (folder / MANIFEST).write_bytes(
        orjson.dumps(manifest.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"
    )
    return manifest


def _notes(source: Path) -> dict[str, JsonValue]:
    file = source / NOTES
    if not file.is_file():
        return {}
    try:
        notes = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise BadInput(f"{file}: not JSON: {error}") from error
    if not isinstance(notes, dict):
        raise BadInput(f'{file}: expected an object such as {{"origin": ..., "licence": ...}}, got {type(notes).__name__}')
    return notes


def _not_of(table: pa.Table, user_id: str) -> pa.Array:
    return pa.array([value != user_id for value in table.column("user_id").to_pylist()], pa.bool_())


def _copy_rejects_without(source: Path, target: Path, user_id: str) -> Counter[str]:
    """A rejected row may quote the user. One that says whose it is goes with its user; one that does not (a line that is no JSON) goes
    where it names the id as a whole word. Table -> rejects taken out."""
    names_user = re.compile(rf"(?<![\w-]){re.escape(user_id)}(?![\w-])")
    removed: Counter[str] = Counter()
    with source.open("rb") as lines, target.open("wb") as kept:
        for line in lines:
            reject = Reject.model_validate_json(line)
            if reject.user_id == user_id or (reject.user_id is None and names_user.search(reject.got)):
                removed[reject.table] += 1
            else:
                kept.write(line)
    return removed


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """A new folder that takes the place of `out` when the block ends well. Refuses to replace what is not a snapshot: a bundle, say, whose
    manifest has the same name."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        try:
            read_manifest(out)
        except LiyouError as error:
            raise BadInput(f"{out}: exists and is not a snapshot; name a new folder ({error})") from error
    partial, previous = (out.with_name(f".{out.name}.{suffix}") for suffix in ("partial", "previous"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(previous, ignore_errors=True)
    if out.exists():
        out.rename(previous)
    partial.rename(out)
    shutil.rmtree(previous, ignore_errors=True)
