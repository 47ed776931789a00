"""Reads raw tables (.jsonl, .csv, .parquet) row by row through a column map; a bad row becomes a reject with a remedy."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import orjson
import pyarrow.parquet as pq
from pydantic import BaseModel, Field

from common.config import Frozen
from common.errors import BadInput, ConfigError
from common.features.column_map import ColumnMap, TableMap
from common.features.rows import FieldProblem, RawRow, Table, parse_row, value_of
from common.features.sorted_file import hash64

FORMATS = (".jsonl", ".csv", ".parquet")
BATCH_ROWS = 4096
MAX_CELL_CHARS = 1 << 20
GOT_CHARS = 200

Row = TypeVar("Row", bound=BaseModel)


class Reject(Frozen):
    """A row that did not become a record; a line of `rejects.jsonl`."""

    table: str
    file: str = Field(description="name of the file, without its folder")
    row: int = Field(ge=1, description="line of a .jsonl file; data row, from 1, of the others")
    field: str
    got: str
    remedy: str
    user_id: str | None = Field(None, description="whose row it was, as far as it says; `forget` takes it out with its user")


@dataclass(slots=True)
class TableRead(Generic[Row]):
    """`rows` is a stream; the rest fills while it is consumed. Whoever streams a large table takes `rejects` out as they come."""

    rows: Iterator[Row]
    rejects: list[Reject] = field(default_factory=list)
    unknown_columns: dict[str, int] = field(default_factory=dict)
    """Column -> rows that have a value in it, though nothing reads it."""
    cut: dict[str, int] = field(default_factory=dict)
    """Column -> rows whose text was cut, because the map says so."""
    num_rows: int = 0
    """Data rows seen, good and bad."""


def read_table(path: Path | str, table: Table[Row], *, mapping: ColumnMap | None = None) -> TableRead[Row]:
    """The file as records of `table`. A second row with the same id is a reject. Raises BadInput for what is wrong with the file itself."""
    path = Path(path)
    if path.suffix not in FORMATS:
        raise BadInput(f"{path}: cannot read a table of kind {path.suffix or '(no suffix)'!r}; expected one of {', '.join(FORMATS)}")
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    read: TableRead[Row] = TableRead(rows=iter(()))
    read.rows = _records(path, table, mapping or ColumnMap(), read)
    return read


def find_table(folder: Path | str, table: Table[Row], *, mapping: ColumnMap | None = None) -> Path | None:
    """The file of a table in a folder: the one the map names, else NAME.jsonl, .csv or .parquet. Raises BadInput when there are two."""
    folder = Path(folder)
    named = mapping.table(table.name).file if mapping else None
    if named is not None:
        if not (folder / named).is_file():
            raise BadInput(f"{folder / named}: no such file; the map names it under {table.name}.file")
        return folder / named
    found = [path for suffix in FORMATS if (path := folder / f"{table.name}{suffix}").is_file()]
    if len(found) > 1:
        raise BadInput(f"{folder}: {', '.join(path.name for path in found)} are the same table; keep one, or name it in the map")
    return found[0] if found else None


def _records(path: Path, table: Table[Row], mapping: ColumnMap, read: TableRead[Row]) -> Iterator[Row]:
    own = mapping.table(table.name)
    theirs = {own.columns.get(column, column) for column in table.columns if column not in own.constants}
    theirs |= {*own.attributes.values(), *own.labels.values(), *own.ignore}
    known = theirs | {column.split(".")[0] for column in theirs}
    seen: dict[int, int] = {}
    for number, raw in _raw_rows(path, mapping.encoding, needed={*own.columns.values(), *own.attributes.values(), *own.labels.values()}):
        read.num_rows = number
        if isinstance(raw, FieldProblem):
            read.rejects.append(_reject(path, table, number, raw))
            continue
        for column, value in raw.items():
            if column not in known and value not in (None, ""):
                read.unknown_columns[column] = read.unknown_columns.get(column, 0) + 1
        try:
            record, cut = parse_row(raw, table, mapping=mapping)
        except FieldProblem as problem:
            read.rejects.append(_reject(path, table, number, problem, user=_user(raw, table, own)))
            continue
        if table.identity is not None:
            identity = str(getattr(record, table.identity))
            key = hash64(identity)
            if key in seen:
                remedy = f"row {seen[key]} has the same {table.identity}; it was kept, this one was not"
                repeated = FieldProblem(table.identity, identity, remedy)
                read.rejects.append(_reject(path, table, number, repeated, user=_user(raw, table, own)))
                continue
            seen[key] = number
        for column in cut:
            read.cut[column] = read.cut.get(column, 0) + 1
        yield record


def _reject(path: Path, table: Table[Row], number: int, problem: FieldProblem, *, user: str | None = None) -> Reject:
    got = ("(nothing)" if problem.got is None else str(problem.got))[:GOT_CHARS]
    return Reject(table=table.name, file=path.name, row=number, field=problem.field, got=got, remedy=problem.remedy, user_id=user)


def _user(raw: RawRow, table: Table[Row], own: TableMap) -> str | None:
    user = value_of(raw, "user_id", own) if "user_id" in table.columns else None
    return user if isinstance(user, str) else None


def _raw_rows(path: Path, encoding: str, *, needed: set[str]) -> Iterator[tuple[int, RawRow | FieldProblem]]:
    """Data rows numbered from 1. `needed` are columns that the map names: a file with a header that lacks one is refused at once."""
    if path.suffix == ".parquet":
        file = pq.ParquetFile(path)
        _check_header(path, list(file.schema_arrow.names), needed)
        number = 0
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield number, row
        return
    try:
        with path.open(encoding=encoding, newline="") as text:
            if path.suffix == ".csv":
                yield from _csv_rows(path, csv.DictReader(text, restkey=EXTRA, restval=MISSING, strict=True), needed)
            else:
                for number, line in enumerate(text, start=1):
                    if line.strip():
                        yield number, _json_row(line)
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not {encoding} at byte {error.start}; set `encoding: gb18030` (or yours) in the map") from error


EXTRA, MISSING = "(extra)", "\0(missing)"
"""Where csv puts cells that have no column, and what it gives columns that have no cell."""


def _csv_rows(path: Path, reader: "csv.DictReader[str]", needed: set[str]) -> Iterator[tuple[int, RawRow | FieldProblem]]:
    csv.field_size_limit(MAX_CELL_CHARS)
    _check_header(path, list(reader.fieldnames or ()), needed)
    number = 0
    while True:
        number += 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield number, FieldProblem("(row)", None, f"not CSV: {error}")
            continue
        if row is None:
            return
        if EXTRA in row:
            yield number, FieldProblem("(row)", row[EXTRA], "more cells than the header has; quote cells that hold a comma")
        elif MISSING in row.values():
            yield (
                number,
                FieldProblem("(row)", None, "fewer cells than the header has; write empty cells, and end the row with a line break"),
            )
        else:
            yield number, row


def _json_row(line: str) -> RawRow | FieldProblem:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return FieldProblem("(row)", line.strip(), f"not JSON: {error}; a .jsonl file holds one object a line")
    return row if isinstance(row, dict) else FieldProblem("(row)", line.strip(), "a .jsonl file holds one object a line")


def _check_header(path: Path, header: list[str], needed: set[str]) -> None:
    if twice := sorted({column for column in header if header.count(column) > 1}):
        raise ConfigError(f"{path.name}: the header names {twice[0]!r} more than once; which of them counts, nobody can tell")
    missing = sorted(column for column in needed if column not in header and column.split(".")[0] not in header)
    if missing:
        raise ConfigError(f"{path.name}: the map names the column {missing[0]!r}, which the file does not have; it has {', '.join(header)}")
