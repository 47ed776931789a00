"""Writes the raw tables of an imported set: and where they come from. What is dropped is written down as well."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import orjson
from pydantic import JsonValue

from common.config import Frozen
from common.errors import BadInput
from common.features.snapshot_build import NOTES

DROPPED = "dropped.jsonl"
TABLES = ("products", "events", "users", "reasons")


class ImportReport(Frozen):
    """What an import wrote and what it left out, counted."""

    dataset: str
    tables: dict[str, int]
    dropped: dict[str, int]
    """Why -> rows; each stands in dropped.jsonl with file and row."""
    pack: str
    """Name of the pack whose vocabulary the labels use."""


class RawFolder:
    """A context manager; use it for a folder that is new or empty."""

    def __init__(self, out: Path | str, *, dataset: str, pack: str, notes: Mapping[str, JsonValue]) -> None:
        self.out = Path(out)
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise BadInput(f"{self.out}: exists and is not empty; name a new folder for the imported tables")
        self.dataset, self.pack, self.notes = dataset, pack, dict(notes)
        self.rows: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._files: dict[str, BinaryIO] = {}

    def __enter__(self) -> "RawFolder":
        self.out.mkdir(parents=True, exist_ok=True)
        self._files = {name: (self.out / f"{name}.jsonl").open("wb") for name in TABLES}
        self._files[DROPPED] = (self.out / DROPPED).open("wb")
        return self

    def __exit__(self, *ended: object) -> None:
        """Leaves no empty table behind: a table without rows is one that the set does not have."""
        for file in self._files.values():
            file.close()
        for name in TABLES:
            if not self.rows[name]:
                (self.out / f"{name}.jsonl").unlink()
        (self.out / NOTES).write_bytes(orjson.dumps({"dataset": self.dataset, **self.notes}, option=orjson.OPT_INDENT_2) + b"\n")

    def add(self, table: str, row: Mapping[str, object]) -> None:
        self._files[table].write(orjson.dumps(row) + b"\n")
        self.rows[table] += 1

    def drop(self, why: str, *, file: Path, row: int) -> None:
        self._files[DROPPED].write(orjson.dumps({"file": file.name, "row": row, "why": why}) + b"\n")
        self.dropped[why] += 1

    def report(self) -> ImportReport:
        return ImportReport(dataset=self.dataset, tables=dict(self.rows), dropped=dict(self.dropped), pack=self.pack)


def read_lines(path: Path, *fields: str) -> Iterator[tuple[int, dict[str, object]]]:
    """Rows of a public set, numbered from 1. A row that is not as its data card says means that this is another file: BadInput."""
    if not path.is_file():
        raise BadInput(f"{path}: no such file; expected the folder of the data set, as its data card describes it")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise BadInput(f"{path}, row {number}: not JSON: {error}") from error
            missing = [field for field in fields if not isinstance(row, dict) or field not in row]
            if missing:
                raise BadInput(f"{path}, row {number}: no field {missing[0]!r}; expected {', '.join(fields)}: is this another data set?")
            yield number, row
