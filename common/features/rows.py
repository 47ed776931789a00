"""One raw row -> one record, or what is wrong with which field and how to mend it. Knows our columns and bounds; reads no file."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Generic, Literal, TypeVar, cast
from zoneinfo import ZoneInfo

import orjson
from pydantic import AwareDatetime, BaseModel, Field, JsonValue, ValidationError, model_validator

from common.config import Frozen
from common.domain.event import Event
from common.domain.money import money
from common.domain.product import Product
from common.domain.user import User
from common.errors import BadInput
from common.features.column_map import ColumnMap, PairFormat, TableMap

RawRow = Mapping[str, object]
PreferenceSource = Literal["explicit", "questionnaire", "ab_test"]
UNIT_SECONDS = {"s": 1, "ms": 1_000, "us": 1_000_000}


class ReasonRow(Frozen):
    """A reason that a person or a writer gave: what training learns from."""

    product_id: str = Field(min_length=1, max_length=128)
    text: str = Field(min_length=1, max_length=2000)
    user_id: str | None = Field(None, min_length=1, max_length=128, description="whom it was written for; None: for a new user")
    labels: dict[str, str] = Field({}, description="control -> value")
    provenance: dict[str, JsonValue] = Field({}, description="where it comes from: source, licence, split, group, ...")
    at: AwareDatetime | None = Field(None, description="what the writer could know ends here; None: after all events")


class ShownReason(Frozen):
    labels: dict[str, str]
    text: str | None = Field(None, max_length=2000)
    product_id: str | None = Field(None, min_length=1, max_length=128)


class PreferenceRow(Frozen):
    """Evidence of a taste: a value a user chose, or two reasons of which one won."""

    user_id: str = Field(min_length=1, max_length=128)
    source: PreferenceSource
    control: str | None = Field(None, min_length=1, max_length=32)
    value: str | None = Field(None, min_length=1, max_length=32)
    winner: ShownReason | None = None
    loser: ShownReason | None = None
    at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "PreferenceRow":
        chosen = self.control is not None and self.value is not None and self.winner is None and self.loser is None
        paired = self.winner is not None and self.loser is not None and self.control is None and self.value is None
        if not chosen and not paired:
            raise ValueError("expected control and value, or winner and loser, and not both")
        return self


Row = TypeVar("Row", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Table(Generic[Row]):
    """`columns` are the raw ones, in the order of documentation; `identity` names the column whose values do not repeat."""

    name: str
    record: type[Row]
    columns: tuple[str, ...]
    identity: str | None
    times: tuple[str, ...] = ()
    texts: tuple[tuple[str, int], ...] = ()
    """(column, most characters) of texts that a map may have cut."""


PRODUCT_COLUMNS = "product_id title category attributes price currency rating rating_count description image updated_at"
PRODUCTS = Table(
    "products", Product, tuple(PRODUCT_COLUMNS.split(" ")), "product_id", ("updated_at",), (("title", 300), ("description", 5000))
)
EVENTS = Table(
    "events", Event, ("event_id", "user_id", "product_id", "kind", "at", "rating", "text"), "event_id", ("at",), (("text", 5000),)
)
USERS = Table("users", User, ("user_id", "persona"), "user_id", (), (("persona", 80),))
REASONS = Table("reasons", ReasonRow, ("product_id", "user_id", "text", "labels", "provenance", "at"), None, ("at",), (("text", 2000),))
PREFERENCES = Table("preferences", PreferenceRow, ("user_id", "control", "value", "source", "winner", "loser", "at"), None, ("at",))

REMEDIES = {
    "kind": "one of view, click, cart, purchase, review; map the shop's words under events.values.kind",
    "source": "one of explicit, questionnaire, ab_test; map the shop's words under preferences.values.source",
    "price": "a number in the currency's unit, for example 299.0, without sign, unit or thousands separator",
    "currency": "an ISO 4217 code such as CNY; set products.constants.currency when all rows share one",
    "rating": "a number from 1 to 5 for a review, from 0 to 5 for a product; leave it out when there is none",
    "attributes": 'a mapping {"材质": "纯棉"}, a list of pairs, or one text with products.attribute_format',
    "labels": 'a mapping {"style": "concise"}; or name the columns under reasons.labels',
}


class FieldProblem(Exception):
    """Internal to this room: becomes a Reject, never leaves it."""

    def __init__(self, field: str, got: object, remedy: str) -> None:
        super().__init__(f"{field}: got {got!r:.80}; {remedy}")
        self.field, self.got, self.remedy = field, got, remedy


def parse_row(raw: RawRow, table: Table[Row], *, mapping: ColumnMap) -> tuple[Row, tuple[str, ...]]:
    """The record, and which texts were cut. Raises FieldProblem for the first field that is wrong."""
    own = mapping.table(table.name)
    row = {column: value for column in table.columns if (value := value_of(raw, column, own)) is not None}
    for column in table.times:
        if column in row:
            row[column] = _time(row[column], column, own, mapping.timezone)
    cut = []
    for column, most in table.texts:
        if own.too_long == "cut" and isinstance(text := row.get(column), str) and len(text) > most:
            row[column] = text[:most]
            cut.append(column)
    if table.record is Product:
        _product(row, raw, own)
    elif table.record is ReasonRow:
        _reason(row, raw, own)
    elif table.record is PreferenceRow:
        for column in ("winner", "loser"):
            if column in row:
                row[column] = _decoded(row[column], column)
    try:
        return table.record.model_validate(row), tuple(cut)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"]) or "(row)"
        got = None if problem["type"] == "missing" else problem["input"] if problem["loc"] else {key: row[key] for key in sorted(row)}
        raise FieldProblem(field, got, _remedy(field, problem["msg"], table)) from error


def _remedy(field: str, message: str, table: Table[Row]) -> str:
    top = field.split(".")[0]
    expected = REMEDIES.get(top)
    if message == "Field required":
        return f"the column {top} is missing or empty; name the shop's column under {table.name}.columns.{top}"
    return f"{message}; expected {expected}" if expected else message


def value_of(raw: RawRow, column: str, own: TableMap) -> object:
    """None when absent; an empty cell, a null and a NaN are absent."""
    if column in own.constants:
        return own.constants[column]
    path = own.columns.get(column, column)
    value = raw.get(path)
    if value is None and "." in path:
        value = lookup(raw, path)
    if value is None or value == "" or value != value:
        return None
    if not own.values and type(value) is str:
        return value
    translation = own.values.get(column)
    if translation is not None and isinstance(value, str | int | float):
        return translation.get(_plain(value), value)
    if column.endswith("_id") and isinstance(value, int | float) and not isinstance(value, bool):
        return _plain(value)
    return value


def lookup(raw: RawRow, path: str) -> object:
    """The value of a column; a.b reads b inside a when there is no column a.b."""
    if path in raw or "." not in path:
        return raw.get(path)
    parent, _, rest = path.partition(".")
    inside = raw.get(parent)
    return lookup(cast(RawRow, inside), rest) if isinstance(inside, Mapping) else None


def _plain(value: str | int | float) -> str:
    """A number as people write it: 30.0 is 30."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


_BASIC_DATE = re.compile(r"(?:19|20)\d{6}")
"""20240115: as seconds it would be a day of 1970, before any shop's."""


def _time(value: object, column: str, own: TableMap, timezone: str | None) -> datetime:
    written = str(value).removesuffix(".0")  # a column of whole numbers with a hole in it comes as floats
    try:
        if isinstance(value, datetime):
            moment = value
        elif own.time_format is None and _BASIC_DATE.fullmatch(written):
            moment = datetime.strptime(written, "%Y%m%d")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            moment = datetime.fromtimestamp(value / UNIT_SECONDS[own.time_unit], UTC)
        elif isinstance(value, str) and own.time_format is not None:
            moment = datetime.strptime(value, own.time_format)
        elif isinstance(value, str) and value.replace(".", "", 1).lstrip("-").isascii() and value.replace(".", "", 1).lstrip("-").isdigit():
            moment = datetime.fromtimestamp(float(value) / UNIT_SECONDS[own.time_unit], UTC)
        else:
            moment = datetime.fromisoformat(cast(str, value))
        if moment.tzinfo is None:
            if timezone is None:
                raise FieldProblem(column, value, "the time states no zone; set `timezone: Asia/Shanghai` (or yours) in the map")
            moment = moment.replace(tzinfo=ZoneInfo(timezone))
        moment.astimezone(UTC)  # year 1, which some databases write for null, has no such time
    except (ValueError, TypeError, OverflowError, OSError) as error:
        wanted = f"a time of the form {own.time_format!r}" if own.time_format else "ISO 8601, or a number with time_unit s, ms or us"
        raise FieldProblem(column, value, f"expected {wanted}; set time_format or time_unit in the map") from error
    return moment


def _product(row: dict[str, object], raw: RawRow, own: TableMap) -> None:
    currency = row.pop("currency", None)
    if "price" in row:
        amount = row["price"]
        if (
            isinstance(amount, bool)
            or not isinstance(amount, str | int | float | Decimal)
            or (isinstance(amount, float) and not math.isfinite(amount))
        ):
            raise FieldProblem("price", amount, f"expected {REMEDIES['price']}")
        if not isinstance(currency, str):
            raise FieldProblem("currency", currency, f"a price needs {REMEDIES['currency']}")
        try:
            row["price"] = money(amount, currency.upper())
        except ValidationError as error:
            raise FieldProblem("currency", currency, f"expected {REMEDIES['currency']}") from error
        except BadInput as error:
            raise FieldProblem("price", amount, f"expected {REMEDIES['price']}") from error
    pairs = attribute_pairs(row.get("attributes"), own.attribute_format)
    for key, column in own.attributes.items():
        pairs += _pair(key, lookup(raw, column))
    row["attributes"] = tuple({"key": key, "value": value} for key, value in pairs)


def attribute_pairs(value: object, form: PairFormat) -> list[tuple[str, str]]:
    """A mapping (values text, number, yes/no or list), a list of pairs, JSON of either, or one text in `form`; empty values say nothing."""
    if isinstance(value, str):
        if value.lstrip().startswith(("{", "[")):
            return attribute_pairs(_decoded(value, "attributes"), form)
        pairs = []
        for part in value.split(form.pair):
            key, separator, text = part.partition(form.key)
            if not separator:
                raise FieldProblem(
                    "attributes", part, f"expected KEY{form.key}VALUE joined by {form.pair!r}; set products.attribute_format"
                )
            pairs += _pair(key.strip(), text.strip())
        return pairs
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [pair for key, one in value.items() for pair in _pair(str(key), one)]
    if isinstance(value, Sequence):
        return [pair for one in value for pair in _listed(one)]
    raise FieldProblem("attributes", value, f"expected {REMEDIES['attributes']}")


def _listed(one: object) -> list[tuple[str, str]]:
    if isinstance(one, Mapping) and set(one) == {"key", "value"}:
        return _pair(str(one["key"]), one["value"])
    if isinstance(one, list | tuple) and len(one) == 2:
        return _pair(str(one[0]), one[1])
    raise FieldProblem("attributes", one, f"expected {REMEDIES['attributes']}")


def _pair(key: str, value: object) -> list[tuple[str, str]]:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return []
    if isinstance(value, bool):
        return [(key, "是" if value else "否")]
    if isinstance(value, str | int | float):
        return [(key, _plain(value))]
    if isinstance(value, list | tuple):
        if any(isinstance(one, list | tuple) for one in value):
            raise FieldProblem("attributes", value, f"expected {REMEDIES['attributes']}")
        return [pair for one in value for pair in _pair(key, one)]
    raise FieldProblem("attributes", value, f"expected {REMEDIES['attributes']}")


def _reason(row: dict[str, object], raw: RawRow, own: TableMap) -> None:
    given = _decoded(row.get("labels", {}), "labels")
    if not isinstance(given, Mapping):
        raise FieldProblem("labels", given, f"expected {REMEDIES['labels']}")
    labels = {**given, **{control: lookup(raw, column) for control, column in own.labels.items()}}
    row["labels"] = {
        str(control): own.values.get(f"labels.{control}", {}).get(str(value), value)
        for control, value in labels.items()
        if value not in (None, "")
    }
    provenance = row.get("provenance", {})
    if isinstance(provenance, str):
        provenance = _decoded(provenance, "provenance") if provenance.lstrip().startswith("{") else {"source": provenance}
    try:
        orjson.dumps(provenance)
    except orjson.JSONEncodeError as error:
        raise FieldProblem("provenance", None, f"cannot be kept as JSON: {error}") from error
    row["provenance"] = provenance


def _decoded(value: object, column: str) -> object:
    """JSON inside a text cell; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        decoded: object = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise FieldProblem(column, value, f"not JSON: {error}") from error
    return decoded
