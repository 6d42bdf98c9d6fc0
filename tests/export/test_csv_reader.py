"""csv and tsv: every cell as written, every fault with its line and without its content."""

from __future__ import annotations

import io
import traceback

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export import csv as csv_reader
from ometria_source.export import read as reading
from ometria_source.export.read import read_tables

SECRET = "ada@shop.test"


def read(data, file_format="csv"):
    return list(read_tables("a/events.csv", io.BytesIO(data), file_format))


def rows(data, file_format="csv"):
    tables = read(data, file_format)
    assert all(set(table.schema.types) == {pa.string()} for table in tables)
    return [tuple(row.values()) for table in tables for row in table.to_pylist()]


@pytest.fixture
def tiny_blocks(monkeypatch):
    """Blocks so small that every boundary falls inside something."""
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 64)
    monkeypatch.setattr(csv_reader, "MAX_RECORD_BYTES", 1000)
    monkeypatch.setattr("ometria_source.export.compression.PIECE_BYTES", 7)


CELLS = [
    "007",
    "+44",
    "1e5",
    "NaN",
    "null",
    "NULL",
    " padded ",
    "2024-01-01",
    "TRUE",
    "é€😀",
    'say "hi"',
    "a,b",
    "a\tb",
]


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_stays_as_it_is_written(cell):
    quoted = '"' + cell.replace('"', '""') + '"'
    assert rows(f"a,b\n{quoted},x\n".encode()) == [(cell, "x")]
    assert rows(f"a\tb\n{quoted}\tx\n".encode(), "tsv") == [(cell, "x")]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'a,b\n,""\n', [(None, "")]),
        (b'a,b\n1,"x\ny"\n', [("1", "x\ny")]),
        (b'a,b\n1,"x\r\ny"\r\n2,z\r\n', [("1", "x\r\ny"), ("2", "z")]),
        (b"a,b\n1,2", [("1", "2")]),
        (b"a,b\n1,", [("1", None)]),
        (b"a,b\r1,2\r3,4\r", [("1", "2"), ("3", "4")]),
        (b"a,b\n,\n", [(None, None)]),
        # a BOM is no part of the first name, nor of any cell but its own
        (b"\xef\xbb\xbfa,b\n1,2\n", [("1", "2")]),
        (b'\xef\xbb\xbf"a",b\n1,2\n', [("1", "2")]),
        (b"a,b\n\xef\xbb\xbf1,2\n", [("\ufeff1", "2")]),
        # lines with nothing on them
        (b"\n\na,b\n\n1,2\n\r\n\n3,4\n\n", [("1", "2"), ("3", "4")]),
        # one column: an empty line is the only way to write a null
        (b"a\n1\n\n2\n", [("1",), (None,), ("2",)]),
        (b'a\r\n1\r\n\r\n""\r\n', [("1",), (None,), ("",)]),
        (b"a\n\n", [(None,)]),
        # a quote inside an unquoted cell is a plain character
        (b'a,b\n5" pipe,2\nx,y\n', [('5" pipe', "2"), ("x", "y")]),
    ],
)
def test_rows_are_read(data, expected):
    assert rows(data) == expected


def test_header_names_may_be_quoted():
    (table,) = read(b'"a ""b""","c,d","e\nf"\n1,2,3\n')
    assert table.column_names == ['a "b"', "c,d", "e\nf"]


@pytest.mark.parametrize("data", [b"a,b", b"a,b\n", b"a,b\r\n", b"\xef\xbb\xbfa,b\n\n\n"])
def test_a_header_without_rows_gives_its_columns(data):
    (table,) = read(data)
    assert table.num_rows == 0
    assert table.schema == pa.schema({"a": pa.string(), "b": pa.string()})


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\n\r\n"])
def test_a_file_without_text_gives_nothing(data):
    assert read(data) == []


BAD = [
    (b"a,b\n1,2\n%s,2,3\n", 3, "3 cells where the header has 2"),
    (b"a,b\n1,2\n%s\n4,5\n", 3, "1 cells"),
    (b'a,b\n1,"x\ny"\n\n%s\n', 5, "1 cells"),
    (b'a,b\r\n1,"x\r\ny"\r\n\r\n%s\r\n', 5, "1 cells"),
    (b"a,b\r1,2\r%s\r", 3, "1 cells"),
    (b"\n\na,b\n%s\n", 4, "1 cells"),
    (b'"a\nx",b\n1,2\n"%s\n",1,3\n', 4, "3 cells"),
    (b'a,b\n1,2\n%s,"3\n4,5\n', 3, "never closed"),
    (b'a,b\n1,2\n%s,"3', 3, "never closed"),
    (b'a,b\n1,2\n"%s,3,4\n,,\n', 3, "never closed"),
    # what looks like the end mark, and an open quote behind it
    (b'a,b\n1,2\n,,\n%s,"3\n', 4, "never closed"),
    (b'a,"b\n%s,2\n', 1, "never closed"),
    (b"a,b\n1,2\n\xff%s,3\n", 3, "not UTF-8"),
    (b'a,b\n1,2\n"%s\n\xff",3\n', 3, "not UTF-8"),
    (b"a,b\n1,2\n%s\xff\n", 3, "not UTF-8"),
    (b"a,b\n1,2\n%s,\0\n", 3, "NUL"),
    (b"a,b\0%s\n1,2\n", 1, "NUL"),
    (b"%s,%s\n1,2\n", 1, "columns 1 and 2 have the same name"),
    (b"%s,\n1,2\n", 2, "column 2 has no name"),
    (b"%s,  \n1,2\n", 2, "column 2 has no name"),
    (b",%s\n1,2\n", 1, "column 1 has no name"),
    (b"a\x01%s,b\n1,2\n", 1, "control characters"),
    (b"\xff\xfea\0,\0b\0\n\0%s", 1, "not"),
]


@pytest.mark.parametrize(("data", "line", "problem"), BAD)
def test_a_fault_is_told_with_its_line_and_without_content(data, line, problem):
    data = data.replace(b"%s", SECRET.encode())
    with pytest.raises(UnreadableFileError, match=problem) as caught:
        read(data)
    assert caught.value.line == line
    assert_no_content(caught.value)


def assert_no_content(error):
    shown = "".join(traceback.format_exception(error, chain=True))
    assert SECRET not in shown
    assert error.__cause__ is None
    assert error.__context__ is None


def test_lines_are_right_behind_many_blocks(tiny_blocks):
    good = b"".join(b'%d,"l\n%d"\n\n' % (i, i) for i in range(300))
    assert len(rows(b"a,b\n" + good)) == 300
    with pytest.raises(UnreadableFileError, match="3 cells") as caught:
        read(b"a,b\n" + good + b"1,2,3\n" + good)
    assert caught.value.line == 902
    with pytest.raises(UnreadableFileError, match="UTF-8") as caught:
        read(b"a,b\n" + good + b"1,\xff\n" + good)
    assert caught.value.line == 902
    with pytest.raises(UnreadableFileError, match="never closed") as caught:
        read(b"a,b\n" + good + b'1,"2\n' + b"x\n" * 50)
    assert caught.value.line == 902


def test_a_record_may_be_longer_than_a_block_but_not_endless(tiny_blocks):
    before = b"a,b\n" + b"1,2\n" * 100
    long = "x\ny" * 200
    assert rows(before + f'3,"{long}"\n4,5\n'.encode())[-2:] == [("3", long), ("4", "5")]
    with pytest.raises(UnreadableFileError, match="longer than") as caught:
        read(before + f'{SECRET},"{long * 3}"\n4,5\n'.encode())
    assert caught.value.line == 102
    assert_no_content(caught.value)


def test_stray_quotes_do_not_hide_the_ends_of_records(tiny_blocks):
    lines = [f'{i},5" pipe' if i % 3 else f'{i},"two\nlines"' for i in range(500)]
    expected = [(str(i), '5" pipe' if i % 3 else "two\nlines") for i in range(500)]
    assert rows(("a,b\n" + "\n".join(lines) + "\n").encode()) == expected


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("last", [b"", b"end"])
def test_every_cut_gives_the_same_rows(tiny_blocks, end, last):
    """The header, each end of line and each quoted cell meets a boundary in some of these files."""
    for width in range(1, 80):
        cells = [b"x" * width, b'"%s%s"' % (b"y" * width, end), b"", b'""'] * 5
        data = b"a,b" + end + b"".join(b"k," + cell + end for cell in cells) + (b"k," + last if last else b"")
        expected = ["x" * width, "y" * width + end.decode(), None, ""] * 5 + (["end"] if last else [])
        assert [row[1] for row in rows(data)] == expected


def test_a_wide_header_is_read_whole(monkeypatch):
    monkeypatch.setattr(reading, "MAX_COLUMNS", 20_000)
    names = [f"column_{i:05}" for i in range(20_000)]
    data = ",".join(names).encode() + b"\n" + b",".join([b"1"] * len(names))
    (table,) = read(data)
    assert table.column_names == names


def test_binary_files_are_refused():
    parquet = io.BytesIO()
    pq.write_table(pa.table({"a": ["x"] * 1000}), parquet)
    noise = bytes(range(256)) * 8192
    for data in (
        parquet.getvalue(),
        noise,
        b"x" * (3 << 20),
        b"PK\x03\x04\n\0\0",
    ):
        with pytest.raises(UnreadableFileError):
            read(data)
