"""Types of columns: what a user declares, and one type a column whatever the files hold."""

# ruff: noqa: DTZ001 -- timestamps without a zone are what is tested
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, time, timezone
from decimal import Decimal

import pyarrow as pa
import pytest
from dlt.common.normalizers.naming.snake_case import NamingConvention

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.json_text import json_columns, json_field
from ometria_source.export.types import ColumnTypes, cast_declared
from ometria_source.naming import ColumnNames

PERSON = "ada@shop.test"
EXPECTED_TYPES = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "decimal": pa.decimal128(38, 9),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "json": pa.string(),
}


def declared(values, data_type):
    """A column of a file, brought to a declared type."""
    return cast_declared(pa.table({"a": values}), "events.csv", 1, {"a": data_type})["a"]


def utc(*parts):
    return datetime(*parts, tzinfo=timezone.utc)


def column_types(known):
    """The types of a table that has columns of these types."""
    stored = {name: {"name": name, "data_type": data_type} for name, data_type in known.items()}
    return ColumnTypes(known, ColumnNames(stored, NamingConvention()))


def conformed(types, **columns):
    return types.conform(pa.table(columns)).to_pydict()


# --- declared types


@pytest.mark.parametrize(
    ("data_type", "text", "expected"),
    [
        ("text", "007", "007"),
        ("text", " padded ", " padded "),
        ("bigint", "7", 7),
        ("bigint", "-9223372036854775808", -(2**63)),
        ("bigint", "007", 7),
        ("double", "1.5", 1.5),
        ("double", "1e5", 100000.0),
        ("decimal", "1.50", Decimal("1.5")),
        ("decimal", "-0.000000001", Decimal("-0.000000001")),
        ("bool", "true", True),
        ("bool", "FALSE", False),
        ("bool", "1", True),
        ("date", "2024-02-03", date(2024, 2, 3)),
        ("time", "04:05:06", time(4, 5, 6)),
        ("time", "04:05:06.000007", time(4, 5, 6, 7)),
        ("time", "04:05:06.123456789", time(4, 5, 6, 123456)),
        ("time", "04:05", time(4, 5)),
        ("json", '{"b": 1}', '{"b": 1}'),
        ("json", "null", "null"),
    ],
)
def test_a_cell_becomes_its_declared_type(data_type, text, expected):
    found = declared([text, None], data_type)
    assert found.type == EXPECTED_TYPES[data_type]
    assert found.to_pylist() == [expected, None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-02-03 04:05:06+00", utc(2024, 2, 3, 4, 5, 6)),  # unsubscribes
        ("2024-02-03T06:05:06+02:00", utc(2024, 2, 3, 4, 5, 6)),  # profiles and lists
        ("2024-02-03T06:05:06+0200", utc(2024, 2, 3, 4, 5, 6)),
        ("2024-02-02 23:05:06-05", utc(2024, 2, 3, 4, 5, 6)),
        ("2024-02-03 04:05:06.123456+00", utc(2024, 2, 3, 4, 5, 6, 123456)),
        ("2024-02-03T06:05:06.5+02:00", utc(2024, 2, 3, 4, 5, 6, 500000)),
        ("2024-02-03T04:05:06Z", utc(2024, 2, 3, 4, 5, 6)),
        ("2024-02-03T04:05:06.123Z", utc(2024, 2, 3, 4, 5, 6, 123000)),
        ("2024-02-03T04:05:06", utc(2024, 2, 3, 4, 5, 6)),
        ("2024-02-03 04:05:06.123456", utc(2024, 2, 3, 4, 5, 6, 123456)),
        ("2024-02-03T04:05:06.123456789+00:00", utc(2024, 2, 3, 4, 5, 6, 123456)),
        ("2024-02-03 06:05:06 +02:00", utc(2024, 2, 3, 4, 5, 6)),
        ("2024-02-03 04:05:06 UTC", utc(2024, 2, 3, 4, 5, 6)),
        ("2024-02-03T04:05", utc(2024, 2, 3, 4, 5)),
        ("2024-02-03", utc(2024, 2, 3)),
        ("1969-12-31T23:59:59Z", utc(1969, 12, 31, 23, 59, 59)),
        ("", None),
    ],
)
def test_every_documented_timestamp_form_becomes_utc(text, expected):
    # Among others of every form: a column may mix them
    found = declared(["2024-01-01", text, "2024-01-01T00:00:00+01:00", None], "timestamp")
    assert found.type == EXPECTED_TYPES["timestamp"]
    assert found.to_pylist()[1] == expected


@pytest.mark.parametrize("data_type", EXPECTED_TYPES)
def test_empty_text_is_null_in_every_type_but_text(data_type):
    assert declared(["", None], data_type).to_pylist() == ["" if data_type == "text" else None, None]


@pytest.mark.parametrize("data_type", EXPECTED_TYPES)
@pytest.mark.parametrize("count", [0, 2])
def test_a_declared_column_that_the_file_lacks_is_null(data_type, count):
    found = cast_declared(pa.table({"b": ["x"] * count}), "events.csv", 1, {"a": data_type})
    assert found.column_names == ["b", "a"]
    assert found["a"].type == EXPECTED_TYPES[data_type]
    assert found["a"].to_pylist() == [None] * count


@pytest.mark.parametrize(
    ("data_type", "bad"),
    [
        ("bigint", PERSON),
        ("bigint", "1.5"),
        ("bigint", "9223372036854775808"),
        ("bigint", "0x10"),
        ("double", PERSON),
        ("double", "1,5"),
        ("decimal", PERSON),
        ("bool", "maybe"),
        ("timestamp", "yesterday"),
        ("timestamp", "03/02/2024"),
        ("timestamp", "2024-02-30"),
        ("date", "03/02/2024"),
        ("time", "25:00:00"),
        ("json", f'{{"a": "{PERSON}"'),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 50, 99])
def test_a_cell_that_cannot_be_read_is_named_by_its_row(data_type, bad, place):
    good = {"bool": "true", "timestamp": "2024-02-03", "date": "2024-02-03", "time": "04:05:06"}.get(data_type, "1")
    values = [good, "", None, good] * 25
    values[place] = bad
    chunked = pa.chunked_array([values[:30], values[30:]], pa.string())
    with pytest.raises(UnreadableFileError) as caught:
        cast_declared(pa.table({"a": chunked}), "events.csv", 201, {"a": data_type})
    assert f"row {201 + place}, column `a`" in str(caught.value)
    assert bad not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_column_that_has_its_type_already_is_kept():
    assert declared(pa.array([1, None], pa.int64()), "bigint").to_pylist() == [1, None]
    assert declared(pa.array([1.0], pa.float64()), "bigint").to_pylist() == [1]
    assert declared(pa.array([1, 2], pa.int64()), "text").to_pylist() == ["1", "2"]
    assert declared(pa.nulls(2), "date").type == pa.date32()
    marked = cast_declared(pa.table({"a": ["[1]"]}), "e.csv", 1, {"a": "json"})
    assert json_columns(marked) == ["a"]


# --- one type for a column


def test_the_first_type_of_a_column_stays():
    types = column_types({})
    assert conformed(types, a=[1, 2]) == {"a": [1, 2]}
    found = types.conform(pa.table({"a": [3.0]}))
    assert found.schema.field("a").type == pa.int64()


@pytest.mark.parametrize(
    ("known", "column", "expected"),
    [
        ("bigint", pa.array([1.0, None]), {"a": [1, None]}),
        ("double", pa.array([1, None]), {"a": [1.0, None]}),
        ("text", pa.array([1, None]), {"a": ["1", None]}),
        ("text", pa.array([1.0, 1.5]), {"a": ["1", "1.5"]}),
        ("text", pa.array([True, False]), {"a": ["true", "false"]}),
        ("text", pa.array([utc(2024, 2, 3)], pa.timestamp("us", tz="UTC")), {"a": ["2024-02-03T00:00:00Z"]}),
        ("bigint", pa.nulls(2), {}),  # nothing to load
    ],
)
def test_a_value_that_fits_is_cast_without_loss(known, column, expected):
    found = column_types({"a": known}).conform(pa.table({"a": column, "n": ["x"] * len(column)}))
    assert found.drop_columns("n").to_pydict() == expected


@pytest.mark.parametrize(
    ("known", "column", "variant"),
    [
        ("bigint", pa.array([1.5, None]), "a__v_double"),
        ("bigint", pa.array(["x", None]), "a__v_text"),
        ("bigint", pa.array(["007", None]), "a__v_text"),
        ("double", pa.array([2**53 + 1, None]), "a__v_bigint"),
        ("bool", pa.array(["maybe", None]), "a__v_text"),
        ("timestamp", pa.array(["yesterday", None]), "a__v_text"),
        ("json", pa.array(["x", None]), "a__v_text"),
    ],
)
def test_a_value_that_does_not_fit_goes_to_a_variant_column(known, column, variant):
    found = conformed(column_types({"a": known}), a=column)
    assert found[variant] == column.to_pylist()
    assert [value for value in found.get("a", []) if value is not None] == []


def test_an_object_is_no_text():
    types = column_types({"a": "text"})
    schema = pa.schema([json_field("a")])
    found = types.conform(pa.Table.from_arrays([pa.array(['{"b":1}', None])], schema=schema))
    assert found.to_pydict() == {"a": [None, None], "a__v_json": ['{"b":1}', None]}
    assert types.conform(pa.Table.from_arrays([pa.nulls(2, pa.string())], schema=schema)).column_names == ["a"]


def test_no_value_is_lost_or_doubled_when_a_column_mixes_what_fits_and_what_does_not():
    found = conformed(column_types({"a": "bigint"}), a=[1.0, 1.5, None, 3.0])
    assert set(found) == {"a", "a__v_double"}
    both = [[v for v in pair if v is not None] for pair in zip(found["a"], found["a__v_double"], strict=True)]
    assert both == [[1], [1.5], [], [3]]


def test_every_type_comes_as_the_same_arrow_type_from_every_file():
    """dlt cannot load one column that comes as two Arrow types."""
    types = column_types({})
    moment = datetime(2024, 2, 3)
    files = [
        {"a": pa.array([moment], pa.timestamp("us")), "b": pa.array([Decimal("1.5")], pa.decimal128(5, 2))},
        {"a": pa.array([moment], pa.timestamp("us", "UTC")), "b": pa.array([Decimal("1.5")], pa.decimal128(9, 4))},
        {"a": pa.array([moment], pa.timestamp("us", "Europe/Paris")), "b": pa.array([1.5])},
    ]
    seen = {}
    for columns in files:
        for field in types.conform(pa.table(columns)).schema:
            assert seen.setdefault(field.name, field.type) == field.type
    assert seen["a"] == pa.timestamp("us", "UTC")
    assert seen["b"] == pa.decimal128(38, 9)


def test_json_stays_marked():
    types = column_types({})
    found = types.conform(pa.Table.from_arrays([pa.array(["[1]"])], schema=pa.schema([json_field("a")])))
    assert json_columns(found) == ["a"]


def test_names_are_normalised_and_two_that_collide_are_both_kept():
    types = column_types({})
    assert conformed(types, **{"Event Type": ["open"]}) == {"event_type": ["open"]}
    found = conformed(types, **{"Opened At": ["x"], "opened_at": ["y"], "opened at": ["z"]})
    assert sorted(value for (value,) in found.values()) == ["x", "y", "z"]
    assert found["opened_at"] == ["y"]


def test_a_column_named_like_a_variant_is_not_overwritten():
    for order in (["a", "a__v_text"], ["a__v_text", "a"]):
        table = pa.table({"a": ["x"], "a__v_text": ["y"]}).select(order)
        found = column_types({"a": "bigint"}).conform(table)
        assert len(set(found.column_names)) == len(found.column_names)
        values = [value for (value,) in found.to_pydict().values() if value is not None]
        assert sorted(values) == ["x", "y"]


def test_files_that_are_read_in_parallel_agree_on_one_type():
    columns = [pa.array([1]), pa.array([1.5]), pa.array(["x"]), pa.array([True])]
    for _ in range(20):
        types = column_types({})
        with ThreadPoolExecutor(8) as pool:
            tables = list(pool.map(lambda n: types.conform(pa.table({"A b": columns[n % 4]})), range(32)))  # noqa: B023  used up in this turn
        seen = {}
        for table in tables:
            for field in table.schema:
                assert seen.setdefault(field.name, field.type) == field.type
            assert sum(value is not None for (value,) in table.to_pydict().values()) == 1
