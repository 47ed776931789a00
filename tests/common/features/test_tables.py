import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.domain.money import Money
from common.errors import BadInput, ConfigError
from common.features.column_map import ColumnMap, PairFormat, load_column_map
from common.features.rows import EVENTS, PREFERENCES, PRODUCTS, REASONS, FieldProblem, Table, attribute_pairs
from common.features.tables import TableRead, find_table, read_table

PRODUCT = {"product_id": "p1", "title": "云杉耳机", "category": "耳机", "attributes": {"续航": 30}, "price": 299.0, "currency": "CNY"}
EVENT = {"event_id": "e1", "user_id": "u1", "product_id": "p1", "kind": "view", "at": "2026-01-01T08:00:00+08:00"}


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
            writer.writeheader()
            writer.writerows(
                {k: json.dumps(v, ensure_ascii=False) if isinstance(v, dict | list) else v for k, v in row.items()} for row in rows
            )
    return path


def nested(depth: int) -> object:
    return [nested(depth - 1)] if depth else "深"


def read(path: Path, table: Table, **mapping: object) -> tuple[list, TableRead]:
    result = read_table(path, table, mapping=ColumnMap.model_validate(mapping))
    return list(result.rows), result


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_every_format_gives_the_same_records(tmp_path: Path, suffix: str) -> None:
    products, report = read(write(tmp_path / f"products{suffix}", [PRODUCT]), PRODUCTS)
    assert not report.rejects
    assert products[0].price == Money(minor=29900)
    assert products[0].values("续航") == ("30",)
    events, report = read(write(tmp_path / f"events{suffix}", [EVENT]), EVENTS)
    assert not report.rejects
    assert events[0].at == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_shops_own_columns_and_words_become_ours(tmp_path: Path) -> None:
    row = {"log_id": 7, "uid": 42, "item": {"sku": "p1"}, "action": "buy", "ts": 1767225600000, "ip": "10.0.0.1", "site": "a"}
    events, report = read(
        write(tmp_path / "events.jsonl", [row]),
        EVENTS,
        events={
            "columns": {"event_id": "log_id", "user_id": "uid", "product_id": "item.sku", "kind": "action", "at": "ts"},
            "values": {"kind": {"buy": "purchase"}},
            "time_unit": "ms",
            "ignore": ["site"],
        },
    )
    assert (events[0].event_id, events[0].user_id, events[0].product_id, events[0].kind) == ("7", "42", "p1", "purchase")
    assert events[0].at == datetime(2026, 1, 1, tzinfo=UTC)
    assert report.unknown_columns == {"ip": 1}


def test_attributes_in_one_text_and_in_columns_and_constants(tmp_path: Path) -> None:
    row = {"id": "p1", "title": "阔腿裤", "content": "类型#裤*版型#宽松*版型#高腰", "color": "黑"}
    products, _ = read(
        write(tmp_path / "products.jsonl", [row]),
        PRODUCTS,
        products={
            "columns": {"product_id": "id", "attributes": "content"},
            "attributes": {"颜色": "color"},
            "constants": {"category": "裤", "currency": "CNY"},
        },
    )
    assert [(one.key, one.value) for one in products[0].attributes] == [("类型", "裤"), ("版型", "宽松"), ("版型", "高腰"), ("颜色", "黑")]


def test_labels_come_from_columns_through_a_value_map(tmp_path: Path) -> None:
    row = {"product_id": "p1", "text": "好", "len": "短", "topic": "外观"}
    reasons, report = read(
        write(tmp_path / "reasons.jsonl", [row]),
        REASONS,
        reasons={
            "labels": {"style": "len", "topic": "topic"},
            "values": {"labels.style": {"短": "concise"}, "labels.topic": {"外观": "look"}},
            "constants": {"provenance": "shop"},
        },
    )
    assert reasons[0].labels == {"style": "concise", "topic": "look"}
    assert reasons[0].provenance == {"source": "shop"}
    assert not report.unknown_columns


@pytest.mark.parametrize(
    ("table", "row", "field", "remedy"),
    [
        (PRODUCTS, {**PRODUCT, "price": "299元"}, "price", "without sign, unit"),
        (PRODUCTS, {**PRODUCT, "price": -1}, "price", "in the currency's unit"),
        (PRODUCTS, {**PRODUCT, "price": True}, "price", "in the currency's unit"),
        (PRODUCTS, {**PRODUCT, "currency": None}, "currency", "constants.currency"),
        (PRODUCTS, {**PRODUCT, "currency": "元"}, "currency", "ISO 4217"),
        (PRODUCTS, {**PRODUCT, "title": ""}, "title", "products.columns.title"),
        (PRODUCTS, {**PRODUCT, "title": "长" * 301}, "title", "300"),
        (PRODUCTS, {**PRODUCT, "rating": 9}, "rating", "0 to 5"),
        (PRODUCTS, {**PRODUCT, "price": "1e1000000"}, "price", "in the currency's unit"),
        (PRODUCTS, {**PRODUCT, "attributes": 3}, "attributes", "mapping"),
        (PRODUCTS, {**PRODUCT, "attributes": {"材质": nested(600)}}, "attributes", "mapping"),
        (EVENTS, {**EVENT, "kind": "pv"}, "kind", "events.values.kind"),
        (EVENTS, {**EVENT, "at": "yesterday"}, "at", "time_format or time_unit"),
        (EVENTS, {**EVENT, "at": "2026-01-01 08:00:00"}, "at", "timezone"),
        (EVENTS, {**EVENT, "at": 20260101}, "at", "timezone"),
        (EVENTS, {**EVENT, "at": "0001-01-01T00:00:00+08:00"}, "at", "time_format or time_unit"),
        (EVENTS, {key: EVENT[key] for key in EVENT if key != "user_id"}, "user_id", "events.columns.user_id"),
        (PREFERENCES, {"user_id": "u1", "source": "survey", "control": "style", "value": "concise"}, "source", "preferences.values.source"),
        (PREFERENCES, {"user_id": "u1", "source": "ab_test"}, "(row)", "winner and loser"),
        (REASONS, {"product_id": "p1", "text": "好", "labels": "短"}, "labels", "not JSON"),
        (REASONS, {"product_id": "p1", "text": "好", "provenance": {"source": nested(600)}}, "provenance", "cannot be kept"),
    ],
)
def test_a_bad_row_is_kept_with_field_and_remedy(tmp_path: Path, table: Table, row: dict[str, object], field: str, remedy: str) -> None:
    rows, report = read(write(tmp_path / f"{table.name}.jsonl", [row]), table)
    assert rows == []
    (reject,) = report.rejects
    assert (reject.table, reject.file, reject.row, reject.field) == (table.name, f"{table.name}.jsonl", 1, field)
    assert remedy in reject.remedy


def test_a_line_that_is_not_json_is_a_reject_and_the_next_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event_id": \n\n' + json.dumps(EVENT) + "\n[1]\n", encoding="utf-8")
    rows, report = read(path, EVENTS)
    assert len(rows) == 1
    assert [(reject.row, reject.field) for reject in report.rejects] == [(1, "(row)"), (4, "(row)")]


def test_a_csv_row_with_too_many_cells_is_a_reject(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("event_id,user_id,product_id,kind,at\ne1,u1,p1,view,2026-01-01T00:00:00Z,x\n", encoding="utf-8")
    rows, report = read(path, EVENTS)
    assert rows == []
    assert report.rejects[0].field == "(row)"


def test_a_csv_row_with_too_few_cells_is_a_reject(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("event_id,user_id,product_id,kind,at,rating\ne1,u1,p1,view,2026-01-01T00:00:00Z,\ne2,u1,p1,view,2026", encoding="utf-8")
    rows, report = read(path, EVENTS)
    assert [row.event_id for row in rows] == ["e1"]
    assert (report.rejects[0].row, "fewer cells" in report.rejects[0].remedy) == (2, True)


def test_a_header_that_names_a_column_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("event_id,kind,kind\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="'kind' more than once"):
        read(tmp_path / "events.csv", EVENTS)


def test_a_second_row_with_the_same_id_is_reported_with_the_row_that_was_kept(tmp_path: Path) -> None:
    rows, report = read(write(tmp_path / "events.jsonl", [EVENT, {**EVENT, "kind": "click"}]), EVENTS)
    assert [row.kind for row in rows] == ["view"]
    assert (report.rejects[0].row, report.rejects[0].field) == (2, "event_id")
    assert "row 1 has the same event_id" in report.rejects[0].remedy


def test_a_text_is_cut_only_where_the_map_says_so_and_that_is_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "products.jsonl", [{**PRODUCT, "description": "字" * 5001}])
    assert read(path, PRODUCTS)[1].rejects[0].field == "description"
    rows, report = read(path, PRODUCTS, products={"too_long": "cut"})
    assert len(rows[0].description) == 5000
    assert report.cut == {"description": 1}


@pytest.mark.parametrize("at", ["20260102", 20260102, 20260102.0, "20260102.0"])
def test_eight_digits_are_a_day_and_no_seconds_of_1970(tmp_path: Path, at: object) -> None:
    rows, _ = read(write(tmp_path / "events.jsonl", [{**EVENT, "at": at}]), EVENTS, timezone="Asia/Shanghai")
    assert rows[0].at == datetime(2026, 1, 1, 16, tzinfo=UTC)


def test_times_without_a_zone_take_the_maps_zone_and_format(tmp_path: Path) -> None:
    path = write(tmp_path / "events.csv", [{**EVENT, "at": "2026/01/01 08:00"}])
    rows, _ = read(path, EVENTS, timezone="Asia/Shanghai", events={"time_format": "%Y/%m/%d %H:%M"})
    assert rows[0].at == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_wrong_encoding_names_the_remedy_and_the_right_one_reads(tmp_path: Path) -> None:
    path = tmp_path / "products.csv"
    path.write_text("product_id,title,category\np1,云杉耳机,耳机\n", encoding="gb18030")
    with pytest.raises(BadInput, match="encoding: gb18030"):
        read(path, PRODUCTS)
    assert read(path, PRODUCTS, encoding="gb18030")[0][0].title == "云杉耳机"


def test_a_mapped_column_that_the_header_lacks_is_refused_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "events.csv", [EVENT])
    with pytest.raises(ConfigError, match="'action', which the file does not have; it has event_id"):
        read(path, EVENTS, events={"columns": {"kind": "action"}})
    for path, table, mapping in (
        (write(tmp_path / "products.csv", [PRODUCT]), PRODUCTS, {"products": {"attributes": {"品牌": "brnd"}}}),
        (
            write(tmp_path / "reasons.csv", [{"product_id": "p1", "text": "好", "len": "短"}]),
            REASONS,
            {"reasons": {"labels": {"style": "lenn"}}},
        ),
    ):
        with pytest.raises(ConfigError, match="which the file does not have"):
            read(path, table, **mapping)


def test_two_files_of_one_table_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "events.csv", [EVENT])
    write(tmp_path / "events.jsonl", [EVENT])
    with pytest.raises(BadInput, match="same table"):
        find_table(tmp_path, EVENTS)


def test_a_map_with_an_unknown_key_zone_or_encoding_is_refused(tmp_path: Path) -> None:
    for text, name in (("evnets: {}", "evnets"), ("timezone: Mars/Olympus", "timezone"), ("encoding: klingon", "encoding")):
        (tmp_path / "map.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=name):
            load_column_map(tmp_path / "map.yaml")


words = st.text(st.characters(codec="utf-8", exclude_characters="#*"), min_size=1, max_size=12).map(str.strip).filter(bool)
pairs = st.lists(st.tuples(words, words), max_size=8)


@given(pairs)
def test_attributes_read_the_same_from_a_text_a_list_and_json(pairs: list[tuple[str, str]]) -> None:
    form = PairFormat()
    if pairs:
        text = "*".join(f"{key}#{value}" for key, value in pairs)
        if not text.startswith(("{", "[")):
            assert attribute_pairs(text, form) == pairs
    assert attribute_pairs([list(pair) for pair in pairs], form) == pairs
    assert attribute_pairs([{"key": key, "value": value} for key, value in pairs], form) == pairs
    assert attribute_pairs(json.dumps([list(pair) for pair in pairs]), form) == pairs


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(json_values)
def test_no_attribute_value_ends_in_anything_but_pairs_or_a_problem(value: object) -> None:
    try:
        found = attribute_pairs(value, PairFormat())
    except FieldProblem:
        return
    assert all(isinstance(key, str) and isinstance(one, str) for key, one in found)


@given(st.sampled_from([PRODUCTS, EVENTS, REASONS, PREFERENCES]), st.data())
def test_every_row_becomes_a_record_or_a_reject(tmp_path_factory: pytest.TempPathFactory, table: Table, data: st.DataObject) -> None:
    template = {
        **PRODUCT,
        **EVENT,
        "text": "好",
        "labels": {"style": "concise"},
        "source": "explicit",
        "control": "style",
        "value": "concise",
    }
    row = {column: template[column] for column in table.columns if column in template}
    row |= data.draw(st.dictionaries(st.sampled_from(table.columns), json_values, max_size=2))
    path = tmp_path_factory.mktemp("rows") / f"{table.name}.jsonl"
    rows, report = read(write(path, [row]), table)
    assert len(rows) + len(report.rejects) == report.num_rows == 1
