"""How a shop's own columns become ours, as a small YAML file: no shop's logs carry our names. Knows names and formats only.

timezone: Asia/Shanghai
events:
  file: user_log.csv
  columns: {event_id: log_id, user_id: uid, product_id: item_id, kind: action, at: ts}
  values: {kind: {pv: view, buy: purchase}}
  time_unit: ms
products:
  attributes: {品牌: brand_name, 颜色: color}
  constants: {currency: CNY}
"""

from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from common.config import Frozen, load_config

Scalar = str | int | float | bool


class PairFormat(Frozen):
    """How attributes stand in one text: 类型#裤*版型#宽松 is pair="*", key="#"."""

    pair: str = Field("*", min_length=1, max_length=4, description="between two attributes")
    key: str = Field("#", min_length=1, max_length=4, description="between key and value")


class TableMap(Frozen):
    """One table. A column that is not listed is looked for under our own name."""

    file: str | None = Field(None, description="file in the folder; None looks for TABLE.jsonl, .csv or .parquet")
    columns: dict[str, str] = Field({}, description="our column -> theirs; a.b reads b inside a")
    values: dict[str, dict[str, str]] = Field(
        {}, description="our column (or labels.CONTROL) -> {their value: ours}; a value that is not listed stays"
    )
    constants: dict[str, Scalar] = Field({}, description="our column -> value of every row")
    attributes: dict[str, str] = Field({}, description="attribute key -> their column; products only, added to the column `attributes`")
    attribute_format: PairFormat = Field(PairFormat(), description="for attributes that stand in one text")
    labels: dict[str, str] = Field({}, description="control -> their column; reasons only, added to the column `labels`")
    time_format: str | None = Field(None, description="strptime format of times that are text; None expects ISO 8601")
    time_unit: Literal["s", "ms", "us"] = Field("s", description="unit of times that are numbers, since 1970 UTC")
    ignore: tuple[str, ...] = Field((), description="their columns that are not wanted and need no report")
    too_long: Literal["reject", "cut"] = Field("reject", description="for texts beyond our bound: refuse the row, or cut it and count that")


class ColumnMap(Frozen):
    encoding: str = Field("utf-8-sig", description="of .csv and .jsonl; many Chinese exports are gb18030")
    timezone: str | None = Field(None, description="IANA name for times that state none; None refuses such times")
    products: TableMap = TableMap()
    events: TableMap = TableMap()
    users: TableMap = TableMap()
    reasons: TableMap = TableMap()
    preferences: TableMap = TableMap()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        try:
            return name if name is None or ZoneInfo(name) else None
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("expected an IANA name such as Asia/Shanghai") from error

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, name: str) -> str:
        try:
            "".encode(name)
        except LookupError as error:
            raise ValueError("expected a text encoding such as utf-8 or gb18030") from error
        return name

    def table(self, name: str) -> TableMap:
        found: TableMap = getattr(self, name)
        return found


def load_column_map(path: Path | str) -> ColumnMap:
    """Raises ConfigError naming file and field."""
    return load_config(path, ColumnMap)
