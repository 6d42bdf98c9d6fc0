"""csv and tsv: every cell as it is written, every fault with its line and without its content."""

from __future__ import annotations

import io
import random

import pyarrow as pa
import pytest
from export_files import as_delimited, gzipped, refusal, rows, table, tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ometria_source.export import compression, csv_reader

PERSON = "ada@shop.test"

# A header is sought in the first 64 KiB, so blocks become small only behind a record of this length.
FILLER = "x" * 70_000


@pytest.fixture(params=[(97, 13), (1000, 100), (1, 1000), (4096, 1 << 20)], ids=str)
def small_blocks(request, monkeypatch):
    """Blocks and pieces so small that records cross their borders."""
    block_bytes, piece_bytes = request.param
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(compression, "PIECE_BYTES", piece_bytes)


# --- cells


@pytest.mark.parametrize(
    "cell",
    [
        "007", "+44", "1e5", "1.50", "-0", "0x1F", "99999999999999999999999",  # would be numbers
        "NaN", "null", "NULL", "None", "N/A", "nan", "inf", r"\N",  # would be nulls
        "true", "FALSE", "2024-02-03", "2024-02-03 04:05:06+00",
        " padded ", "  ", "\u00a0", "plain", "naïve café", "日本", "👩‍👩‍👧", "\ufeffmark", "5'", "back\\slash",
        '5" pipe', 'say "hi"', "#comment", "=1+1",
    ],
)  # fmt: skip
@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_a_cell_is_text_exactly_as_written(cell, suffix, delimiter):
    content = f"a{delimiter}b{delimiter}c\n{cell}{delimiter}{cell}{delimiter}{cell}\n"
    assert rows(content, f"events.{suffix}") == [{"a": cell, "b": cell, "c": cell}]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", None),
        ('""', ""),
        ('" "', " "),
        ('"007"', "007"),
        ('"a,b"', "a,b"),
        ('"say ""hi"""', 'say "hi"'),
        ('""""', '"'),
        ('"two\nlines"', "two\nlines"),
        ('"two\r\nlines"', "two\r\nlines"),
        ('"two\rlines"', "two\rlines"),
        ('"\n"', "\n"),
        ('"\n\n"', "\n\n"),
        ('"null"', "null"),
        ('"tab\there"', "tab\there"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_quotes_are_undone_and_null_is_not_empty_text(written, expected, newline):
    content = f"a,b{newline}{written},x{newline}x,{written}{newline}"
    assert rows(content, "events.csv") == [{"a": expected, "b": "x"}, {"a": "x", "b": expected}]


def test_tsv_keeps_commas_and_csv_keeps_tabs():
    assert rows("a\tb\n1,5\t\n", "events.tsv") == [{"a": "1,5", "b": None}]
    assert rows("a,b\n1\t5,\n", "events.csv") == [{"a": "1\t5", "b": None}]


def test_every_column_is_text_even_one_without_values():
    assert table("a,b\n1,\n2,\n", "events.csv").schema == pa.schema([("a", pa.string()), ("b", pa.string())])


# --- the shape of a file


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1,2\n3,4\n",
        "a,b\n1,2\n3,4",  # the last line has no newline
        "a,b\r\n1,2\r\n3,4\r\n",
        "a,b\r\n1,2\r\n3,4",
        "a,b\r1,2\r3,4\r",  # as old Excel for Mac writes
        "a,b\r\n1,2\n3,4\r\n",
        "\ufeffa,b\n1,2\n3,4\n",
        '\ufeff"a","b"\n"1","2"\n"3","4"',
        "a,b\n\n1,2\n\n\n3,4\n\n",
        "\n\na,b\n1,2\n3,4\n",
        "a,b\r\n\r\n1,2\r\n\r\n3,4\r\n\r\n",
    ],
)
def test_line_ends_blank_lines_and_a_byte_order_mark_change_nothing(content):
    assert rows(content, "events.csv") == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


@pytest.mark.parametrize("content", ["", "\n", "\r\n\r\n", "\ufeff"])
@pytest.mark.parametrize("path", ["events.csv", "events.csv.gz"])
def test_a_file_without_text_gives_nothing(content, path):
    data = content.encode()
    assert tables(gzipped(data) if path.endswith("gz") else data, path) == []


def test_zero_bytes_under_a_gzip_name_give_nothing():
    assert tables(b"", "events.csv.gz") == []


@pytest.mark.parametrize("content", ["a,b", "a,b\n", "a,b\r\n", "\ufeffa,b\n\n\n", "a,b\r"])
def test_a_header_without_rows_gives_the_columns(content):
    (only,) = tables(content, "events.csv")
    assert (only.column_names, only.num_rows) == (["a", "b"], 0)


def test_in_a_file_of_one_column_an_empty_line_is_a_null():
    assert rows('a\nx\n\n""\n\n', "events.csv") == [{"a": "x"}, {"a": None}, {"a": ""}, {"a": None}]
    assert rows("a\r\n\r\nx", "events.csv") == [{"a": None}, {"a": "x"}]


def test_a_header_may_be_quoted_and_hold_anything_but_control_characters():
    content = '"a,b","say ""hi""", padded ,日本\n1,2,3,4\n'
    assert rows(content, "events.csv") == [{"a,b": "1", 'say "hi"': "2", " padded ": "3", "日本": "4"}]


def test_a_header_longer_than_the_first_reading_is_read_whole():
    names = [f"column_{number}" for number in range(20_000)]
    content = ",".join(names) + "\n" + ",".join("7" for _ in names) + "\n"
    (only,) = tables(content, "events.csv")
    assert only.column_names == names
    assert only.num_rows == 1


# --- blocks


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_records_that_cross_blocks_arrive_whole(small_blocks, newline):
    """Quotes, newlines and marks at every place relative to a block's end."""
    chance = random.Random(7)
    texts = ["", None, "x", '5" pipe', "a\nb", "a\r\nb", '"', '""', "\n", ",", "\ufeffmark", "é", "y" * 300, "z\r"]
    cells = [[FILLER, "first"], *([chance.choice(texts), chance.choice(texts)] for _ in range(300))]
    content = as_delimited(["a", "b"], cells, ",", newline)
    assert rows(content, "events.csv") == [{"a": a, "b": b} for a, b in cells]


def test_plain_quotes_inside_cells_do_not_confuse_blocks(small_blocks):
    cells = [(FILLER, "first"), *((f'{number}" pipe', 'x"') for number in range(400))]
    content = "a,b\n" + "".join(f"{a},{b}\n" for a, b in cells)
    assert rows(content, "events.csv") == [{"a": a, "b": b} for a, b in cells]


def test_nulls_of_one_column_survive_blocks(small_blocks):
    cells = [[FILLER], *([None] if number % 3 else [str(number)] for number in range(500))]
    assert rows(as_delimited(["a"], cells, ",", "\n"), "events.csv") == [{"a": a} for (a,) in cells]


def test_a_record_longer_than_a_block_is_read(monkeypatch):
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 1000)
    long = 'lines, and "quotes"\n' * 20_000
    content = as_delimited(["a", "b"], [["1", "2"], [long, "x"], ["3", long]], ",", "\n")
    expected = [{"a": "1", "b": "2"}, {"a": long, "b": "x"}, {"a": "3", "b": long}]
    assert rows(content, "events.csv") == expected


def test_a_file_of_many_blocks_gives_tables_of_bounded_size(monkeypatch):
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 10_000)
    monkeypatch.setattr(compression, "PIECE_BYTES", 1000)
    parts = tables("a,b\n" + "1,2\n" * 50_000, "events.csv")
    assert sum(part.num_rows for part in parts) == 50_000
    assert max(part.num_rows for part in parts[1:]) <= 11_000 // 4


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(alphabet='a,"\n\r é', max_size=60),
    block_bytes=st.integers(1, 40),
    piece_bytes=st.integers(1, 40),
)
def test_the_size_of_a_block_changes_neither_rows_nor_faults(text, block_bytes, piece_bytes):
    """Any text at all, sound or not, in one block and in many."""

    def outcome():
        try:
            return rows(content, "events.csv")
        except csv_reader.UnreadableFileError as error:
            return str(error)

    content = f"a,b\n{FILLER},1\n{text}"
    whole = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_reader, "BLOCK_BYTES", block_bytes)
        patch.setattr(compression, "PIECE_BYTES", piece_bytes)
        assert outcome() == whole


# --- faults


@pytest.mark.parametrize(
    ("content", "problem", "line"),
    [
        ("a,b,a\n1,2,3\n", "columns 1 and 3 have the same name in the header", 1),
        ('a,"a"\n1,2\n', "columns 1 and 2 have the same name in the header", 1),
        ("a,,b\n1,2,3\n", "column 2 has no name in the header", 1),
        ("a, \n1,2\n", "column 2 has no name in the header", 1),
        ("a,b,\n1,2,\n", "column 3 has no name in the header", 1),
        ("\n\na,,b\n", "column 2 has no name in the header", 3),
        (",\n", "column 1 has no name in the header", 1),
        ('"a\x01",b\n', "control characters in its header", 1),
        ('a,"b\n1,2\n', "a quoted cell that begins in this record is never closed", 1),
        (f"{PERSON},{PERSON}\n", "columns 1 and 2 have the same name in the header", 1),
    ],
)
def test_a_header_that_cannot_name_columns_is_refused(content, problem, line):
    error = refusal(content, "events.csv")
    assert problem in str(error)
    assert error.line == line
    assert PERSON not in str(error)


@pytest.mark.parametrize(
    ("content", "line", "found"),
    [
        (f"a,b\n{PERSON}\n", 2, 1),
        (f"a,b\n{PERSON},1,2\n", 2, 3),
        (f"a,b\n1,2\n{PERSON},1,2", 3, 3),
        (f"a,b\n\n\n{PERSON},1,2\n", 4, 3),
        (f"a,b\r\n1,2\r\n{PERSON},1,2\r\n", 3, 3),
        (f"a,b\r1,2\r{PERSON},1,2\r", 3, 3),
        (f'a,b\n"1\n1\r\n1",2\n{PERSON},1,2\n', 5, 3),  # a quoted cell covers lines 2 to 4
        (f'\n"a",b\n{PERSON},"x\ny",2\n', 3, 3),  # the line on which the record begins
        (f'a,b\n5" pipe,2\n{PERSON},1,2\n', 3, 3),
        (f"a,b\n1,2\n   \n{PERSON},2\n", 3, 1),  # spaces are a cell
        (f"a\n{PERSON},2\n", 2, 2),
        (f"a\n\n\n{PERSON},2\n", 4, 2),
        (f"a,b\n{PERSON},2,3\n1\n", 2, 3),  # the first of two
    ],
)
def test_a_record_with_the_wrong_number_of_cells_is_refused_with_its_line(content, line, found):
    error = refusal(content, "events.csv")
    assert error.line == line
    assert f"line {line}: this record has {found} cells" in str(error)
    assert PERSON not in str(error)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("place", [0, 1, 150, 299])
def test_the_line_of_a_fault_is_right_behind_many_blocks(small_blocks, newline, place):
    records = [f'"two{newline}lines",{number}' for number in range(300)]
    records[place] = f"{PERSON},1,2"
    content = newline.join(["a,b", f"{FILLER},1", *records])
    error = refusal(content, "events.csv")
    assert error.line == 3 + 2 * place
    assert PERSON not in str(error)


@pytest.mark.parametrize(
    ("content", "problem", "line"),
    [
        (f"a,b\n1,2\n{PERSON},\0\n".encode(), "NUL byte", 3),
        (f'a,b\n1,2\n{PERSON},"x\ny\0"\n'.encode(), "NUL byte", 3),
        (f"a,b\n1,2\n{PERSON},".encode() + b"caf\xe9\n", "is not UTF-8", 3),  # Latin-1
        (f"a,b\n1,2\n{PERSON},".encode() + b"caf\xe9,3\n", "is not UTF-8", 3),  # with a cell too many
        (f"a,b\n{PERSON},".encode() + b"\xed\xa0\x80\n", "is not UTF-8", 2),  # a lone surrogate
        (b"a,caf\xe9\n1,2\n", "is not UTF-8", 1),
        ("a,b\n1,2\n".encode("utf-16"), "is not UTF-8", 1),
        (f'a,b\n1,2\n{PERSON},"open\n3,4\n'.encode(), "never closed", 3),
        (f'a,b\n1,2\n"{PERSON},2\n3,4'.encode(), "never closed", 3),
        (f'a\n1\n"{PERSON}\n'.encode(), "never closed", 3),
    ],
)
def test_text_that_is_broken_is_refused_with_its_line(content, problem, line):
    error = refusal(content, "events.csv")
    assert problem in str(error)
    assert error.line == line
    assert PERSON not in str(error)


def test_a_broken_byte_behind_many_blocks_has_the_right_line(small_blocks):
    content = f"a,b\n{FILLER},1\n".encode() + b'"1\n1",2\n' * 200 + PERSON.encode() + b",\xff\n" + b"3,4\n" * 50
    error = refusal(content, "events.csv")
    assert error.line == 3 + 2 * 200
    assert PERSON not in str(error)


def test_an_unclosed_quote_behind_many_blocks_has_the_right_line(small_blocks):
    content = f"a,b\n{FILLER},1\n" + '"1\n1",2\n' * 200 + f'{PERSON},"open\n' + "3,4\n" * 50
    error = refusal(content, "events.csv")
    assert "never closed" in str(error)
    assert error.line == 3 + 2 * 200
    assert PERSON not in str(error)


def test_a_quote_that_is_never_closed_costs_no_more_than_the_longest_record(monkeypatch):
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 10_000)
    monkeypatch.setattr(csv_reader, "MAX_RECORD_BYTES", 200_000)
    monkeypatch.setattr(compression, "PIECE_BYTES", 1000)
    content = "a,b\n" + "1,2\n" * 20_000 + f'{PERSON},"open\n' + "3,4\n" * 1_000_000
    error = refusal(content, "events.csv")
    assert "a quote may not be closed" in str(error)
    assert error.line == 20_002
    assert PERSON not in str(error)


def test_a_first_line_without_end_is_no_table():
    error = refusal("x" * (3 << 20), "events.csv")
    assert "not a text table" in str(error)


# --- gzip


def test_gzip_is_undone_by_name(small_blocks):
    content = f"a,b\n{FILLER},1\n" + "".join(f"{number},x\n" for number in range(1000))
    assert rows(gzipped(content.encode()), "events.csv.gz") == rows(content, "events.csv")


def test_every_member_of_a_gzip_file_is_read(small_blocks):
    """As `cat a.gz b.gz > c.gz` makes it, with a record across the joint, an empty member and zeros as padding."""
    content = gzipped(b"a,b\n1,") + gzipped(b"") + gzipped(b"2\n3,4\n") + b"\0" * 512
    assert rows(content, "events.csv.gz") == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


@pytest.mark.parametrize("rest", [1, 4, 8, 9, 30])
def test_gzip_that_was_cut_off_is_refused(rest):
    content = gzipped("".join(f"{number},{number * 7919}\n" for number in range(1000)).encode())
    error = refusal(gzipped(b"a,b\n") + content[:-rest], "events.csv.gz")
    assert "cut off" in str(error)


def test_gzip_that_was_cut_off_after_its_first_bytes_is_refused():
    assert "cut off" in str(refusal(gzipped(b"a,b\n1,2\n")[:5], "events.csv.gz"))


def test_gzip_with_a_wrong_checksum_is_refused():
    content = bytearray(gzipped(b"a,b\n1,2\n"))
    content[-8] ^= 1
    assert "damaged" in str(refusal(bytes(content), "events.csv.gz"))


def test_text_behind_a_gzip_member_is_refused():
    assert "damaged gzip data" in str(refusal(gzipped(b"a,b\n1,2\n") + PERSON.encode(), "events.csv.gz"))


def test_plain_text_under_a_gzip_name_is_refused():
    error = refusal(f"a,b\n{PERSON},2\n", "events.csv.gz")
    assert "is not gzip" in str(error)
    assert PERSON not in str(error)


def test_gzip_under_a_plain_name_is_refused():
    error = refusal(gzipped(f"a,b\n{PERSON},2\n".encode()), "events.csv")
    assert "is not UTF-8" in str(error)
    assert error.line == 1


def test_a_small_file_that_inflates_a_great_deal_comes_in_bounded_pieces():
    bomb = gzipped(b"\n" * (20 << 20))
    sizes = [len(piece) for piece in compression.pieces("events.csv.gz", io.BytesIO(bomb), "gzip")]
    assert sum(sizes) == 20 << 20
    assert max(sizes) <= compression.PIECE_BYTES
