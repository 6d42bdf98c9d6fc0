"""JSON lines: each value in the type it is written in, every fault with its line and without its content."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from export_files import gzipped, refusal, rows, table, tables

from ometria_source.export import compression
from ometria_source.export import jsonl as jsonl_reader
from ometria_source.export.json_text import json_columns

PERSON = "ada@shop.test"


def column(*values):
    """The column of a file whose lines hold these JSON texts."""
    return table("".join(f'{{"n": {number}, "a": {value}}}\n' for number, value in enumerate(values)), "e.jsonl")["a"]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        # text stays text, whatever it looks like
        (['"007"', '"+44"'], pa.string(), ["007", "+44"]),
        (['"2024-02-03T04:05:06Z"'], pa.string(), ["2024-02-03T04:05:06Z"]),
        (['"2024-02-03"', '"04:05:06"'], pa.string(), ["2024-02-03", "04:05:06"]),
        (['""', '" "', "null", '"null"', '"NaN"'], pa.string(), ["", " ", None, "null", "NaN"]),
        (['"a\\nb"', '"\\u0000"', '"\\ud83d\\udc69"', '"é"'], pa.string(), ["a\nb", "\0", "👩", "é"]),
        # numbers and truth
        (["1", "-1", "null"], pa.int64(), [1, -1, None]),
        (["9223372036854775807", "-9223372036854775808"], pa.int64(), [2**63 - 1, -(2**63)]),
        (["1.5", "-0.25", "1e3"], pa.float64(), [1.5, -0.25, 1000.0]),
        (["1", "1.5", "null"], pa.float64(), [1.0, 1.5, None]),
        (["true", "false", "null"], pa.bool_(), [True, False, None]),
        # what no number type holds is text
        (["9223372036854775808", "1"], pa.string(), ["9223372036854775808", "1"]),
        (["-9223372036854775809"], pa.string(), ["-9223372036854775809"]),
        (["123456789012345678901234567890"], pa.string(), ["123456789012345678901234567890"]),
        (["9007199254740993", "0.5"], pa.string(), ["9007199254740993", "0.5"]),
        # types that are mixed
        (['"007"', "7"], pa.string(), ["007", "7"]),
        (['"x"', "1.5", "1.0", "null"], pa.string(), ["x", "1.5", "1", None]),
        (["true", "1"], pa.string(), ["true", "1"]),
        (['"x"', "false"], pa.string(), ["x", "false"]),
        (['"x"', '{"b": [1, 2], "a": null}'], pa.string(), ["x", '{"a":null,"b":[1,2]}']),
    ],
)  # fmt: skip
def test_a_value_keeps_the_type_that_it_is_written_in(values, kind, expected):
    found = column(*values)
    assert found.type == kind
    assert found.to_pylist() == expected


def test_an_integer_of_thousands_of_digits_keeps_them_all():
    assert column("7" * 4300).to_pylist() == ["7" * 4300]
    with pytest.raises(jsonl_reader.UnreadableFileError) as caught:
        column("7" * 5000)
    assert caught.value.line == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('{"b": 1, "a": [true, null, "x"]}', '{"a":[true,null,"x"],"b":1}'),
        ("[]", "[]"),
        ("{}", "{}"),
        ('["é", "\\n"]', '["é","\\n"]'),
    ],
)
def test_lists_and_objects_become_marked_json_text(value, expected):
    found = table(f'{{"a": {value}, "b": "[1]"}}\n{{"a": null, "b": null}}\n', "e.jsonl")
    assert found["a"].to_pylist() == [expected, None]
    assert json_columns(found) == ["a"]  # text that looks like JSON is text


def test_a_deeply_nested_value_is_read_and_is_text_from_level_255_on():
    deep = "[" * 300 + "]" * 300
    found = json.loads(column(deep).to_pylist()[0])
    for _ in range(254):
        (found,) = found
    assert found == "[" * 46 + "]" * 46


@pytest.mark.parametrize(
    "content",
    [
        '{"a": 1}\n{"a": 2}\n',
        '{"a": 1}\n{"a": 2}',
        '{"a": 1}\r\n{"a": 2}\r\n',
        '\ufeff{"a": 1}\n{"a": 2}\n',
        '\n{"a": 1}\n\n  \r\n{"a": 2}\n\n',
        ' {"a" : 1 } \n\t{"a":2}\n',
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 3, 1 << 20])
def test_line_ends_blank_lines_and_a_byte_order_mark_change_nothing(content, piece_bytes, monkeypatch):
    monkeypatch.setattr(compression, "PIECE_BYTES", piece_bytes)
    assert rows(content, "events.jsonl") == [{"a": 1}, {"a": 2}]
    assert rows(gzipped(content.encode()), "events.ndjson.gz") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("content", ["", "\n", "\r\n\r\n", "\ufeff"])
def test_a_file_without_text_gives_nothing(content):
    assert tables(content, "events.jsonl") == []


def test_a_field_that_a_line_lacks_is_null():
    assert rows('{"a": 1}\n{"b": "x"}\n{"b": null, "a": 2}\n', "events.jsonl") == [
        {"a": 1, "b": None},
        {"a": None, "b": "x"},
        {"a": 2, "b": None},
    ]


def test_batches_hold_all_rows_in_order(monkeypatch):
    monkeypatch.setattr(jsonl_reader, "BATCH_LINES", 7)
    parts = tables("".join(f'{{"a": {number}}}\n\n' for number in range(50)), "events.jsonl")
    assert [part.num_rows for part in parts] == [7] * 7 + [1]
    assert [value for part in parts for value in part["a"].to_pylist()] == list(range(50))


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (f'{{"a": "{PERSON}", "b', "not one JSON object"),  # half-written
        (f'{{"a": "{PERSON}"', "not one JSON object"),
        (f'[{{"a": "{PERSON}"}}]', "not an object"),
        (f'"{PERSON}"', "not an object"),
        ("null", "not an object"),
        ("7", "not an object"),
        (f'{{"a": "{PERSON}"}} {{"a": 1}}', "not one JSON object"),  # two on a line
        (f'{{"a": "{PERSON}"}},', "not one JSON object"),
        (f"{{'a': '{PERSON}'}}", "not one JSON object"),
        (f'{{"a": NaN, "b": "{PERSON}"}}', "not one JSON object"),
        (f'{{"a": "{PERSON}\udcff"}}', "not one JSON object"),  # a byte that is not UTF-8
        (f"{PERSON},1,2", "not one JSON object"),  # csv
        (f'{{"": "{PERSON}"}}', "no name"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [3, 1 << 20])
def test_a_line_that_is_no_object_is_refused_with_its_line(broken, problem, piece_bytes, monkeypatch):
    monkeypatch.setattr(compression, "PIECE_BYTES", piece_bytes)
    content = f'{{"a": 1}}\n\n{{"a": 2}}\r\n{broken}'.encode(errors="surrogateescape")
    error = refusal(content, "events.jsonl")
    assert error.line == 4
    assert "line 4: " in str(error)
    assert problem in str(error)
    assert PERSON not in str(error)


def test_the_line_of_a_fault_is_right_behind_many_batches(monkeypatch):
    monkeypatch.setattr(jsonl_reader, "BATCH_LINES", 7)
    assert refusal('{"a": 1}\n' * 100 + f'["{PERSON}"]\n', "events.jsonl").line == 101


def test_a_json_array_over_many_lines_is_refused_at_its_first():
    assert refusal(f'[\n{{"a": "{PERSON}"}}\n]\n', "events.json").line == 1


def test_gzip_that_was_cut_off_is_refused():
    content = gzipped("".join(f'{{"a": {number}}}\n' for number in range(1000)).encode())
    assert "cut off" in str(refusal(content[:-4], "events.jsonl.gz"))


def test_gzip_under_a_plain_name_is_told_by_its_first_bytes():
    assert rows(gzipped(b'{"a": 1}\n'), "events.jsonl") == [{"a": 1}]
