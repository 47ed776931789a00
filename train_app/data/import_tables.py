"""A shop's tables, read through its column map, written as raw tables with our columns. After it no map is needed any more."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
from pydantic import BaseModel

from common.config import Frozen
from common.domain.product import Product
from common.errors import BadInput
from common.features.column_map import ColumnMap
from common.features.rows import EVENTS, PREFERENCES, PRODUCTS, REASONS, USERS, Table
from common.features.snapshot import REJECTS
from common.features.tables import find_table, read_table

OnProgress = Callable[[str, int], None]
PROGRESS_ROWS = 5_000


class TableImport(Frozen):
    source: str
    rows: int
    rejected: int
    unknown_columns: dict[str, int]
    cut: dict[str, int]


def import_tables(
    source: Path | str, out: Path | str, *, mapping: ColumnMap, on_progress: OnProgress = lambda table, rows: None
) -> dict[str, TableImport]:
    """Table -> what was read of it; rejects stand in `rejects.jsonl` of the new folder `out`, which is there when all is read.

    Raises BadInput when no table is found.
    """
    source, out = Path(source), Path(out)
    if not source.is_dir():
        raise BadInput(f"{source}: no such folder; expected the one that holds the shop's tables")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out}: exists and is not empty; name a new folder for the imported tables")
    tables: tuple[Table[BaseModel], ...] = (PRODUCTS, EVENTS, USERS, REASONS, PREFERENCES)  # type: ignore[assignment]  # Table only gives rows out
    found = [(table, path) for table in tables if (path := find_table(source, table, mapping=mapping)) is not None]
    if not found:
        names = ", ".join(f"{table.name}.jsonl" for table in tables)
        raise BadInput(f"{source}: no table found; expected {names} (or .csv, .parquet), or their names under TABLE.file in the map")
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".importing-", dir=out.parent) as temporary:
        folder = Path(temporary) / "raw"
        folder.mkdir()
        report = _written(found, folder, mapping=mapping, on_progress=on_progress)
        if out.exists():
            out.rmdir()
        folder.rename(out)
    return report


def _written(
    found: Sequence[tuple[Table[BaseModel], Path]], folder: Path, *, mapping: ColumnMap, on_progress: OnProgress
) -> dict[str, TableImport]:
    report = {}
    with (folder / REJECTS).open("wb") as rejects:
        for table, path in found:
            read = read_table(path, table, mapping=mapping)
            rows = rejected = 0
            with (folder / f"{table.name}.jsonl").open("wb") as file:
                for row in read.rows:
                    file.write(orjson.dumps(raw_row(row)) + b"\n")
                    rows += 1
                    if rows % PROGRESS_ROWS == 0:
                        on_progress(table.name, read.num_rows)
                for reject in read.rejects:
                    rejects.write(reject.model_dump_json().encode() + b"\n")
                    rejected += 1
            on_progress(table.name, read.num_rows)
            report[table.name] = TableImport(
                source=path.name, rows=rows, rejected=rejected, unknown_columns=read.unknown_columns, cut=read.cut
            )
    return report


def raw_row(record: BaseModel) -> dict[str, object]:
    """The record with our raw columns: prices in the currency's unit, attributes as pairs, absent fields left out."""
    row = record.model_dump(mode="json", exclude_none=True)
    if isinstance(record, Product):
        row["attributes"] = [[attribute.key, attribute.value] for attribute in record.attributes]
        if record.price is not None:
            row |= {"price": str(record.price.amount()), "currency": record.price.currency}
    return row
