"""Parquet: columns keep their types, in the few spellings that every destination knows."""

# ruff: noqa: DTZ001 -- timestamps without a zone are what is tested
from __future__ import annotations

import io
import sys
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal

import pyarrow as pa
import pytest
from export_files import as_parquet, gzipped, refusal, rows, table, tables

from ometria_source.export import parquet as parquet_reader
from ometria_source.export.canonical import canonical_text
from ometria_source.export.json_text import json_columns
from ometria_source.export.read import read_tables
from ometria_source.export.row_keys import row_keys

PERSON = "ada@shop.test"
UTC = pa.timestamp("us", tz="UTC")
NOON = datetime(2024, 2, 3, 12, 0, 0, 250_000)


def read_column(array, **settings):
    """A column, written as Parquet and read."""
    return table(as_parquet(pa.table({"a": array}), **settings), "events.parquet")["a"]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (pa.string(), ["007", "", None, "é"], pa.string()),
        (pa.large_string(), ["x", None], pa.string()),
        (pa.bool_(), [True, False, None], pa.bool_()),
        (pa.int8(), [-128, None], pa.int64()),
        (pa.uint32(), [2**32 - 1], pa.int64()),
        (pa.int64(), [-(2**63), 2**63 - 1, None], pa.int64()),
        (pa.uint64(), [2**63 - 1, None], pa.int64()),
        (pa.float32(), [1.5, None], pa.float64()),
        (pa.float64(), [0.1, None], pa.float64()),
        (pa.decimal128(10, 2), [Decimal("1.50"), None], pa.decimal128(10, 2)),
        (pa.date32(), [date(2024, 2, 3), None], pa.date32()),
        (pa.date64(), [date(2024, 2, 3), None], pa.date32()),
        (pa.time32("s"), [time(4, 5, 6), None], pa.time64("us")),
        (pa.time64("us"), [time(4, 5, 6, 7), None], pa.time64("us")),
        (pa.binary(), [b"text", None], pa.string()),
        (pa.binary(), [b"\xff\xfe", None], pa.binary()),
        (pa.null(), [None, None], pa.null()),
    ],
)
def test_a_column_keeps_its_type(kind, values, expected):
    found = read_column(pa.array(values, kind))
    assert found.type == expected
    assert found.to_pylist() == [v.decode() if v == b"text" else v for v in values]


def test_an_unsigned_integer_beyond_64_signed_bits_is_text():
    assert read_column(pa.array([2**64 - 1, 1], pa.uint64())).to_pylist() == ["18446744073709551615", "1"]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Paris", "+02:00"])
def test_timestamps_are_the_same_instants_in_microseconds(unit, zone):
    """A timestamp with a zone counts from 1970 in UTC; one without is UTC."""
    micros = 1_706_962_800_250_000
    array = pa.array([micros, None], UTC).cast(pa.timestamp(unit, tz="UTC"), safe=False)
    array = array.cast(pa.timestamp(unit, tz=zone))
    (found,) = tables(as_parquet(pa.table({"a": array})), "events.parquet")
    assert pa.types.is_timestamp(found["a"].type)
    assert found["a"].type.unit == "us"
    expected = "2024-02-03T12:20:00Z" if unit == "s" else "2024-02-03T12:20:00.25Z"
    assert canonical_text(found["a"].combine_chunks()).to_pylist() == [expected, None]


def test_nanoseconds_are_cut_off():
    assert read_column(pa.array([1_999], pa.timestamp("ns"))).cast(pa.int64()).to_pylist() == [1]


def test_dictionaries_are_decoded():
    assert read_column(pa.array(["open", "click", None, "open"]).dictionary_encode()).type == pa.string()
    array = pa.DictionaryArray.from_arrays(pa.array([0, None, 0]), pa.array([[1, 2]]))
    assert rows(as_parquet(pa.table({"a": pa.array(["x", None]).dictionary_encode()})), "e.parquet") == [
        {"a": "x"},
        {"a": None},
    ]
    assert array.dictionary_decode().to_pylist() == [[1, 2], None, [1, 2]]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([[1, 2], None, []]), ["[1,2]", None, "[]"]),
        (pa.array([{"b": "x", "a": 1}, None]), ['{"a":1,"b":"x"}', None]),
        (pa.array([[{"a": [True]}]]), ['[{"a":[true]}]']),
        (pa.array([["é"]], pa.large_list(pa.string())), ['["é"]']),
    ],
)
def test_nested_columns_become_marked_json_text(array, expected):
    found = table(as_parquet(pa.table({"a": array, "b": pa.array(["[]"] * len(array))})), "events.parquet")
    assert found["a"].type == pa.string()
    assert found["a"].to_pylist() == expected
    assert json_columns(found) == ["a"]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([[NOON, None]], pa.list_(pa.timestamp("us"))),
        pa.array([[1_001]], pa.list_(pa.timestamp("ns"))),
        pa.array([[Decimal("1.50")]], pa.list_(pa.decimal128(10, 2))),
        pa.array([[b"\xff"]], pa.list_(pa.binary())),
        pa.array([[timedelta(seconds=5)]], pa.list_(pa.duration("us"))),
        pa.array([[date(2024, 2, 3)]], pa.list_(pa.date32())),
        pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
    ],
    ids=lambda array: str(array.type),
)
def test_any_type_may_be_nested(array):
    (text,) = read_column(array).to_pylist()
    assert isinstance(text, str)


def test_batches_hold_all_rows_in_order(monkeypatch):
    monkeypatch.setattr(parquet_reader, "BATCH_ROWS", 7)
    content = as_parquet(pa.table({"a": list(range(50))}), row_group_size=20)
    parts = tables(content, "events.parquet")
    assert max(part.num_rows for part in parts) <= 7
    assert [value for part in parts for value in part["a"].to_pylist()] == list(range(50))


LONG = ["Invented/5.0 " * 300 + str(number) for number in range(20)] * 500


@pytest.mark.parametrize(
    ("array", "settings"),
    [
        (pa.array(LONG), {}),
        (pa.array(LONG).cast(pa.large_string()), {}),
        (pa.array(LONG).cast(pa.binary()), {}),
        (pa.array(LONG).dictionary_encode(), {}),
        (pa.array([[cell] for cell in LONG]), {}),
        (pa.array([{"a": cell} for cell in LONG]), {}),
        (pa.array(LONG), {"use_dictionary": False, "compression": "zstd"}),
        (
            pa.array(LONG),
            {"use_dictionary": False, "compression": "none", "column_encoding": {"a": "DELTA_BYTE_ARRAY"}},
        ),
    ],
    ids=["dictionary", "large", "binary", "dictionary type", "list", "struct", "compressed", "delta"],
)
def test_a_small_file_of_long_cells_takes_little_memory(array, settings):
    """What its metadata tells of its size is without the repetitions: 40 MiB here."""
    content = as_parquet(pa.table({"a": array, "b": list(range(len(array)))}), **settings)
    assert len(content) < 1 << 20
    before = pa.total_allocated_bytes()
    found, largest, held = [], 0, 0
    for part in read_tables("events.parquet", io.BytesIO(content)):
        held = max(held, pa.total_allocated_bytes() - before)
        largest = max(largest, part.nbytes)
        found += part["b"].to_pylist()
    assert found == list(range(len(array)))
    assert largest <= 8 << 20
    assert held < 24 << 20


def test_cells_that_become_long_late_in_a_file_are_cut_into_tables_too():
    """A cell, which cannot be cut, comes in a table of its own where it is too long to share one."""
    texts = ["open"] * 50_000 + LONG[:5000] + ["x" * (9 << 20)] + ["click"] * 50_000
    parts = tables(as_parquet(pa.table({"a": texts})), "events.parquet")
    assert all(part.nbytes <= 8 << 20 or part.num_rows == 1 for part in parts)
    assert [text for part in parts for text in part["a"].to_pylist()] == texts
    # and large ones again
    assert len(parts) < 60


def test_a_key_does_not_depend_on_the_table_that_its_row_came_in(monkeypatch):
    content = as_parquet(pa.table({"a": LONG[:100], "b": [None, 1] * 50, "c": [[number] for number in range(100)]}))
    (whole,) = tables(content, "events.parquet")
    monkeypatch.setattr(parquet_reader, "TABLE_BYTES", 20_000)
    parts = tables(content, "events.parquet")
    assert len(parts) > 10
    assert [key for part in parts for key in row_keys(part, None).to_pylist()] == row_keys(whole, None).to_pylist()


def test_a_file_without_rows_gives_no_rows():
    content = as_parquet(pa.table({"a": pa.array([], pa.int64()), "b": pa.array([], pa.list_(pa.int64()))}))
    assert rows(content, "events.parquet") == []


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd"])
def test_parquet_is_read_whatever_its_own_compression(codec):
    assert rows(as_parquet(pa.table({"a": ["x"]}), compression=codec), "events.parquet") == [{"a": "x"}]


def test_parquet_inside_gzip_is_read():
    assert rows(gzipped(as_parquet(pa.table({"a": ["x"]}))), "events.parquet.gz") == [{"a": "x"}]


def sample():
    return as_parquet(
        pa.table({"a": [PERSON] * 1000, "b": list(range(1000))}), compression="none", use_dictionary=False
    )


@pytest.mark.parametrize(
    "content",
    [
        f"a,b\n{PERSON},2\n".encode(),
        b"PAR1",
        sample()[:-1],
        sample()[:-100],
        sample()[: len(sample()) // 2],
        gzipped(sample()),
        sample()[:4] + b"\xff" * 200 + sample()[204:],  # a damaged page header
    ],
    ids=["csv", "magic only", "cut by 1", "cut by 100", "half", "gzip", "damaged"],
)
def test_what_is_not_parquet_is_refused(content):
    error = refusal(content, "events.parquet")
    assert "arquet" in str(error)
    assert PERSON not in str(error)


def test_damaged_gzip_around_parquet_is_refused():
    assert "cut off" in str(refusal(gzipped(sample())[:-5], "events.parquet.gz"))


def test_two_columns_of_one_name_are_refused():
    content = as_parquet(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]))
    assert "same name" in str(refusal(content, "events.parquet"))


def test_a_bucket_that_fails_while_it_is_read_is_not_a_broken_file():
    """Its own error passes, so that a run can be repeated instead of a file mended."""

    class Failing:
        def __init__(self, content):
            self.content, self.place = content, 0

        def __getattr__(self, name):
            raise AttributeError(name)

        closed = False

        def seekable(self):
            return True

        def readable(self):
            return True

        def tell(self):
            return self.place

        def seek(self, offset, whence=0):
            self.place = {0: 0, 1: self.place, 2: len(self.content)}[whence] + offset
            return self.place

        def read(self, _size=-1):
            raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        list(parquet_reader.read_parquet("events.parquet", Failing(sample())))


def test_an_instant_with_a_zone_is_the_same_row_as_in_utc():
    instant = datetime(2024, 2, 3, 12, tzinfo=timezone.utc)
    paris, utc = (pa.array([instant], pa.timestamp("ms", tz=zone)) for zone in ("Europe/Paris", "UTC"))
    texts = [canonical_text(read_column(array).combine_chunks()).to_pylist() for array in (paris, utc)]
    assert texts == [["2024-02-03T12:00:00Z"]] * 2


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([[1_999]], pa.list_(pa.timestamp("ns"))), '["1970-01-01T00:00:00.000001"]'),
        (pa.array([[1_999]], pa.large_list(pa.time64("ns"))), '["00:00:00.000001"]'),
        (
            pa.array([{"a": [{"b": 1_999}]}], pa.struct({"a": pa.list_(pa.struct({"b": pa.timestamp("ns")}))})),
            '{"a":[{"b":"1970-01-01T00:00:00.000001"}]}',
        ),
        (pa.array([[("k", 1_999)]], pa.map_(pa.string(), pa.timestamp("ns"))), '{"k":"1970-01-01T00:00:00.000001"}'),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_nanoseconds_inside_nested_columns_are_cut_off(array, expected, monkeypatch):
    """pandas, which is not a dependency, must not be needed for them."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert read_column(array).to_pylist() == [expected]
