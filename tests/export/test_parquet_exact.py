"""Parquet, exactly: each value arrives as it is, or its file is refused in a sentence that names the column."""

# ruff: noqa: DTZ001 -- timestamps without a zone are what is tested
from __future__ import annotations

import io
import struct
import uuid
from datetime import date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from export_files import as_parquet, gzipped, refusal, rows, table, tables, zipped, zstandard
from pyarrow import parquet
from pyarrow.parquet import encryption

from ometria_source.export.row_keys import row_keys

NEVER, FIRST = datetime(9999, 12, 31), datetime(1, 1, 1)
NOT_UTF8 = pa.StringArray.from_buffers(2, pa.py_buffer(struct.pack("<3i", 0, 1, 3)), pa.py_buffer(b"a\xff\xfe"))


def read(array, **settings):
    """The cells of a column, written as Parquet and read."""
    return table(as_parquet(pa.table({"a": array}), **settings), "events.parquet")["a"].combine_chunks()


def problem(array, **settings):
    """The sentence with which a file of this column is refused."""
    return str(refusal(as_parquet(pa.table({"a": array}), **settings), "events.parquet"))


def in_list(array):
    """Each value in a list of its own."""
    return pa.ListArray.from_arrays(pa.array(range(len(array) + 1), pa.int32()), array)


def in_struct(array):
    """Each value in a struct."""
    return pa.StructArray.from_arrays([array], ["x"])


def in_map(array):
    """Each value in a map."""
    return pa.MapArray.from_arrays(pa.array(range(len(array) + 1), pa.int32()), pa.array(["k"] * len(array)), array)


NESTINGS = [in_list, in_struct, in_map, lambda array: in_struct(in_list(in_map(array)))]


# Instants


@pytest.mark.parametrize("value", [NEVER, FIRST, datetime(2024, 2, 3, 4, 5, 6, 7)])
def test_int96_holds_every_year(value):
    """What Spark writes for "never" does not wrap in 64 bits of nanoseconds, nested neither."""
    array = pa.array([value, None], pa.timestamp("us"))
    written = {"use_deprecated_int96_timestamps": True}
    assert read(array, **written).to_pylist() == [value, None]
    assert read(in_list(array), **written).to_pylist() == [f'["{value.isoformat()}"]', "[null]"]
    assert read(in_struct(array), **written)[0].as_py() == f'{{"x":"{value.isoformat()}"}}'


@pytest.mark.parametrize("nested", [None, *NESTINGS])
@pytest.mark.parametrize("kind", [pa.timestamp("ms"), pa.timestamp("ms", "UTC"), pa.duration("s"), pa.duration("ms")])
def test_no_cast_wraps(nested, kind):
    """Milliseconds beyond 64 bits of microseconds are refused."""
    array = pa.array([2**62, 1]).cast(kind)
    assert "column `a` holds an instant or duration" in problem(nested(array) if nested else array)


@pytest.mark.parametrize(
    ("array", "texts"),
    [
        (pa.array([2_932_897, -719_163, 0], pa.date32()), ["10000-01-01", "0000-12-31", "1970-01-01"]),
        (
            pa.array([253_402_300_800_000, -62_135_596_800_001, 0], pa.timestamp("ms")),
            ["10000-01-01T00:00:00Z", "0000-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z"],
        ),
        (
            pa.array([253_402_300_800_000_000, 1], pa.timestamp("us", "Europe/Paris")),
            ["10000-01-01T00:00:00Z", "1970-01-01T00:00:00.000001Z"],
        ),
    ],
    ids=["date", "naive", "zone"],
)
def test_years_that_python_lacks_are_text(array, texts):
    """The text is the canonical one, so the key is that of the instant; `to_pylist` and every warehouse can hold it."""
    assert read(array).to_pylist() == texts
    plain = pa.table({"a": array.cast(pa.timestamp("us", array.type.tz)) if array.type != pa.date32() else array})
    assert row_keys(table(as_parquet(pa.table({"a": array})), "e.parquet")).to_pylist() == row_keys(plain).to_pylist()


@pytest.mark.parametrize("nested", NESTINGS)
@pytest.mark.parametrize(
    ("array", "text"),
    [
        (pa.array([2_932_897, 0], pa.date32()), "10000-01-01"),
        (pa.array([253_402_300_800_000, 0], pa.timestamp("ms")), "10000-01-01T00:00:00Z"),
        (pa.array([253_402_300_799_000, 0], pa.timestamp("ms", "+05:00")), "9999-12-31T23:59:59Z"),
    ],
    ids=["date", "naive", "zone"],
)
def test_nested_years_that_python_lacks_are_text(nested, array, text):
    """Neighbours keep their form."""
    first, second = read(nested(array)).to_pylist()
    assert f'"{text}"' in first
    assert '"1970-01-01' in second


@pytest.mark.parametrize("nested", [None, *NESTINGS])
@pytest.mark.parametrize(
    "array", [pa.array([2**31 - 1, 0], pa.date32()), pa.array([2**62, 0], pa.timestamp("us"))], ids=["date", "instant"]
)
def test_years_that_arrow_cannot_write_are_refused(nested, array):
    """Its text for them would be the same in no other format."""
    assert "column `a` holds a date beyond the year 32767" in problem(nested(array) if nested else array)


@pytest.mark.parametrize("nested", [None, *NESTINGS])
def test_a_time_of_day_beyond_midnight_is_refused(nested):
    """Nothing behind the reader can hold 24:00."""
    array = pa.array([86_400_000_000, 1]).view(pa.time64("us"))
    assert "column `a` holds a value that its type cannot have" in problem(nested(array) if nested else array)


# Text and bytes


@pytest.mark.parametrize("nested", [None, *NESTINGS])
@pytest.mark.parametrize(
    "array",
    [
        NOT_UTF8,
        pa.LargeStringArray.from_buffers(2, pa.py_buffer(struct.pack("<3q", 0, 1, 3)), pa.py_buffer(b"a\xff\xfe")),
        pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), NOT_UTF8),
        NOT_UTF8.view(pa.binary()).cast(pa.binary_view()).view(pa.string_view()),
    ],
    ids=["string", "large", "dictionary", "view"],
)
def test_text_that_is_not_utf8_is_refused(nested, array):
    """With it, the package of the load could never be loaded."""
    error = problem(nested(array) if nested else array)
    assert "column `a` is declared as text, but holds bytes that are not UTF-8" in error


def test_a_name_that_is_not_utf8_is_refused():
    """Of a column, or of a field in one."""
    for array in (pa.array([1]), pa.StructArray.from_arrays([pa.array([1])], ["name_here"])):
        content = as_parquet(pa.table({"name_here": array}), store_schema=False)
        broken = content.replace(b"name_here", b"name_her\xff")
        error = refusal(broken, "events.parquet")
        assert "the name of a column, or of a field in one, is not UTF-8" in str(error)


def test_two_fields_of_one_name_are_refused():
    """One of them would be lost."""
    array = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"])
    assert "two fields in column `a` have the same name" in problem(in_list(array))


def test_bytes_in_nested_values_are_base64():
    """In base64 no two of them have one text; a column of bytes stays one."""
    array = pa.array([b"\xff\x00", rb"\xff\x00", b"", None], pa.binary())
    assert read(in_list(array)).to_pylist() == ['["/wA="]', '["XHhmZlx4MDA="]', '[""]', "[null]"]
    assert read(in_list(array.cast(pa.large_binary())))[0].as_py() == '["/wA="]'
    assert read(in_struct(pa.array([b"\xff\x00"], pa.binary(2)))).to_pylist() == ['{"x":"/wA="}']
    assert read(array.slice(0, 1)).to_pylist() == [b"\xff\x00"]


ID = uuid.UUID("0123abcd-0000-4000-8000-00000000ffff")


@pytest.mark.parametrize("store_schema", [True, False])
def test_uuids_are_text(store_schema):
    """The same event has the same key in every format."""
    array = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([ID.bytes, None], pa.binary(16)))
    content = as_parquet(pa.table({"a": array}), store_schema=store_schema)
    assert rows(content, "events.parquet") == [{"a": str(ID)}, {"a": None}]
    jsonl = table(f'{{"a":"{ID}"}}\n', "events.jsonl")
    assert row_keys(table(content, "events.parquet"))[0] == row_keys(jsonl)[0]
    assert read(in_list(array), store_schema=store_schema).to_pylist() == [f'["{ID}"]', "[null]"]
    assert read(in_struct(array), store_schema=store_schema)[0].as_py() == f'{{"x":"{ID}"}}'
    keys = pa.MapArray.from_arrays([0, 1], array.slice(0, 1), pa.array([1]))
    assert read(keys, store_schema=store_schema).to_pylist() == [f'{{"{ID}":1}}']


# Maps


def maps(kind, *cells):
    """A column of maps with these pairs."""
    return pa.array(cells, pa.map_(kind, pa.int64()))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (maps(pa.string(), [("a", 1), ("b", 2)], None, []), ['{"a":1,"b":2}', None, "{}"]),
        (maps(pa.int64(), [(1, 1), (-2, 2)]), ['{"-2":2,"1":1}']),
        (maps(pa.bool_(), [(True, 1), (False, 2)]), ['{"false":2,"true":1}']),
        (maps(pa.date32(), [(date(2024, 2, 3), 1)]), ['{"2024-02-03":1}']),
        (maps(pa.string(), [("a", 1), ("a", 2)], [("a", 3)]), ['[["a",1],["a",2]]', '{"a":3}']),
        (maps(pa.binary(), [(b"\xff", 1), (b"a", 2)]), ['[["/w==",1],["YQ==",2]]']),
        (maps(pa.decimal128(5, 2), [(Decimal("1.50"), 1)]), ['[["1.5",1]]']),
        (maps(pa.struct([("x", pa.int64())]), [({"x": 1}, 1), ({"x": 1}, 2)]), ['[[{"x":1},1],[{"x":1},2]]']),
        (maps(pa.list_(pa.int64()), [([1], 1)]), ["[[[1],1]]"]),
        (maps(pa.duration("us"), [(timedelta(seconds=5), 1)]), ['[["0:00:05",1]]']),
        (maps(pa.float64(), [(float("nan"), 1), (float("nan"), 2)]), ['[["NaN",1],["NaN",2]]']),
        (maps(pa.float64(), [(float("nan"), 1), (1.5, 2)]), ['{"1.5":2,"NaN":1}']),
        (maps(pa.float64(), [(0.0, 1), (-0.0, 2)]), ["[[0.0,1],[-0.0,2]]"]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_no_entry_of_a_map_is_lost(array, expected):
    """An object where its keys are distinct and have a text in JSON, as before, else pairs."""
    assert read(array).to_pylist() == expected


def test_maps_inside_other_values_are_pairs():
    """As before, whatever their keys: no entry is lost."""
    array = maps(pa.string(), [("a", 1), ("a", 2)], None)
    assert read(in_list(array)).to_pylist() == ['[[["a",1],["a",2]]]', "[null]"]
    assert read(in_struct(array)).to_pylist() == ['{"x":[["a",1],["a",2]]}', '{"x":null}']


# Numbers


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.float16()])
def test_nested_numbers_that_json_lacks_are_text(kind):
    """They are three values, not the null that JSON writers make of them."""
    array = pa.array([float("nan"), float("inf"), float("-inf"), 1.5, None], kind)
    found = read(pa.ListArray.from_arrays([0, 5], array)).to_pylist()
    assert found == ['["NaN","Infinity","-Infinity",1.5,null]']
    assert read(in_map(array)).to_pylist()[0] == '{"k":"NaN"}'


# Whole files


def as_declared(content, **changes):
    """The file with another number of rows in its footer."""
    (length,) = struct.unpack("<I", content[-8:-4])
    footer = content[-8 - length : -8]
    for before, after in changes.values():
        assert before in footer
        footer = footer.replace(before, after)
    return content[: -8 - length] + footer + content[-8:]


def varint(number):
    """A zigzag number of Thrift's compact protocol, in two bytes."""
    number *= 2
    return bytes([number & 127 | 128, number >> 7])


@pytest.mark.parametrize("declared", [1001, 2000])
def test_fewer_rows_than_declared_are_refused(declared):
    """A writer that was interrupted, or a footer of another file."""
    content = as_parquet(pa.table({"a": pa.array(range(1000))}), use_dictionary=False, store_schema=False)
    broken = as_declared(content, rows=(b"\x16" + varint(1000), b"\x16" + varint(declared)))
    assert "rows, but declares" in str(refusal(broken, "events")) or "is damaged" in str(refusal(broken, "events"))
    # the file's number of rows alone
    (length,) = struct.unpack("<I", content[-8:-4])
    footer = content[-8 - length : -8]
    first = footer.index(b"\x16" + varint(1000))
    footer = footer[:first] + b"\x16" + varint(declared) + footer[first + 3 :]
    broken = content[: -8 - length] + footer + content[-8:]
    assert f"holds 1000 rows, but declares {declared}" in str(refusal(broken, "events.parquet"))


def test_page_checksums_are_verified():
    """A flipped bit in a number is otherwise another number."""
    content = as_parquet(
        pa.table({"a": [123_456_789] * 3}), use_dictionary=False, compression="none", write_page_checksum=True
    )
    place = content.index(struct.pack("<3q", *[123_456_789] * 3))
    broken = content[:place] + b"\x00" + content[place + 1 :]
    assert "damaged" in str(refusal(broken, "events.parquet"))


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (b"", "events.parquet"),
        (gzipped(b""), "events.parquet.gz"),
        (zstandard(b""), "events.parquet.zst"),
        (zipped(b"", "events.parquet"), "events.zip"),
        (zipped(b"", "events.parquet"), "events.parquet.zip"),
    ],
    ids=["plain", "gzip", "zstd", "zip", "named zip"],
)
def test_a_file_of_zero_bytes_is_empty(content, path):
    """As in every other format."""
    assert tables(content, path) == []


def encrypted(**settings):
    """An encrypted file."""

    class Kms(encryption.KmsClient):
        def __init__(self, _config):
            super().__init__()

        def wrap_key(self, key, _name):
            return key.hex()

        def unwrap_key(self, key, _name):
            return bytes.fromhex(key)

    properties = encryption.CryptoFactory(Kms).file_encryption_properties(
        encryption.KmsConnectionConfig(), encryption.EncryptionConfiguration(footer_key="f", **settings)
    )
    sink = io.BytesIO()
    content = pa.table({"a": [1, 2], "b": ["x", "y"]})
    with parquet.ParquetWriter(sink, content.schema, encryption_properties=properties) as writer:
        writer.write_table(content)
    return sink.getvalue()


@pytest.mark.parametrize(
    "settings",
    [
        {"uniform_encryption": True},
        {"column_keys": {"c": ["a"]}},
        {"column_keys": {"c": ["a"]}, "plaintext_footer": True},
        {"uniform_encryption": True, "plaintext_footer": True},
    ],
    ids=["footer", "column", "column and plain footer", "all and plain footer"],
)
@pytest.mark.parametrize("path", ["events.parquet", "events.parquet.gz"])
def test_an_encrypted_file_is_named_as_such(settings, path):
    """Mending it would be in vain."""
    content = encrypted(**settings)
    assert "is encrypted" in str(refusal(gzipped(content) if path.endswith("gz") else content, path))


@pytest.mark.parametrize("rows_of_a_group", [100, 1_000, pytest.param(400_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_map_has_one_form(rows_of_a_group, kind):
    """However its keys are stored, and however large the row group is: else a row would have two keys."""
    count = 400_000 if rows_of_a_group == 400_000 else 2_000
    name = "utm_campaign_name_of_fifty_bytes_which_is_ordinary"
    keys = pa.array([name, "b"], pa.string()).take(pa.array([0, 1] * count))
    keys = keys.dictionary_encode() if pa.types.is_dictionary(kind) else keys.cast(kind)
    maps = pa.MapArray.from_arrays(pa.array(range(0, 2 * count + 1, 2), pa.int32()), keys, pa.array(["v", "w"] * count))
    content = as_parquet(pa.table({"a": maps}), row_group_size=rows_of_a_group)
    parts = tables(content, "a.parquet")
    assert {text for part in parts for text in part.column("a").unique().to_pylist()} == {f'{{"b":"w","{name}":"v"}}'}
