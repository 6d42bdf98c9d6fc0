"""Dialects of csv: what Arrow would change in silence is refused, what is set is read, and nothing costs the memory."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peak_memory import run_measured

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export import csv as csv_reader
from ometria_source.export import read as reading
from ometria_source.export.csv import CsvDialect
from ometria_source.export.csv_syntax import Syntax, last_line_end_outside_quotes
from ometria_source.export.read import read_tables

MIB = 1 << 20


def read(data, delimiter=None, encoding=None, file_format="csv", left_out=None):
    dialect = CsvDialect(delimiter, encoding)
    tables = list(read_tables("a.csv", io.BytesIO(data), file_format, None, dialect, left_out))
    return tables[0].column_names if tables else [], [tuple(row.values()) for t in tables for row in t.to_pylist()]


def refusal(data, *arguments, **settings):
    with pytest.raises(UnreadableFileError) as caught:
        read(data, *arguments, **settings)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value


# --- text behind a closing quote


@pytest.mark.parametrize(
    ("cell", "delimiter"),
    [
        (b'"a" b', ","),
        (b'"a"b', ","),
        (b'""x', ","),
        (b'"" ', ","),
        (b'"say \\"hi\\""', ","),
        (b'"a,"b', ","),
        (b'"a"" "b"', ","),
        (b'"a\nb"c', ","),
        (b'"a"\tb', ","),
        (b'"a" b', "\t"),
        ('"é"ü'.encode(), ";"),
        (b'"a""b"""c', "|"),
        (b'"a"\x85', ","),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b""])
def test_text_behind_a_closing_quote_is_refused(cell, delimiter, end):
    """With the line of its record, wherever the cell stands; in the header too."""
    sep = delimiter.encode()
    encoding = "latin-1" if b"\x85" in cell else None
    for record, name in ((cell + sep + b"1", cell + sep + b"b"), (b"1" + sep + cell, b"b" + sep + cell)):
        error = refusal(b"a" + sep + b'b\n1,"\n'.replace(b",", sep) + b'x"\n' + record + end, delimiter, encoding)
        assert (error.line, "text behind its closing quote" in str(error)) == (4, True)
        error = refusal(name + b"\n1" + sep + b"2\n", delimiter, encoding)
        assert (error.line, "text behind its closing quote" in str(error)) == (1, True)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'a,b\n"x","y"\r\n"x","y"\r"x","y"\n"x","y"', [("x", "y")] * 4),
        (b'a,b\n"""x""","y"""\n', [('"x"', 'y"')]),
        (b'a,b\n"","""a"\n', [("", '"a')]),
        (b'a,b\n5" pipe,6""\nx"y"z,"a"\n', [('5" pipe', '6""'), ('x"y"z', "a")]),
        (b'a,b\n"x\n""y"",\r\n",","\n', [('x\n"y",\r\n', ",")]),
        (b'a,b\n\n\n"x",y\n\r\n', [("x", "y")]),
    ],
)
def test_sound_quotes_raise_no_alarm(data, expected):
    """Escapes, ends of line, quotes inside unquoted cells, and delimiters inside quoted ones."""
    assert read(data)[1] == expected


def parsed(text):
    """Records by another parser, None where a quote is not closed; and whether text follows a closing quote."""
    records, cells, cell, state, is_bad = [], [], [], "start", False
    place = 0
    while place < len(text):
        character = text[place]
        if state == "quoted":
            if character != '"':
                cell.append(character)
            elif text[place + 1 : place + 2] == '"':
                cell.append('"')
                place += 1
            else:
                state = "closed"
        elif character == '"' and state == "start":
            state = "quoted"
            cell = ["q"]
        elif character in ",\r\n":
            cells.append("".join(cell))
            cell, state = [], "start"
            if character != ",":
                place += text[place : place + 2] == "\r\n"
                records.append(cells)
                cells = []
        else:
            is_bad = is_bad or state == "closed"
            cell.append(character)
            state = "plain" if state == "start" else state
        place += 1
    if state == "quoted":
        return None, is_bad
    if cells or cell or state != "start":
        records.append([*cells, "".join(cell)])
    return records, is_bad


@settings(max_examples=600, deadline=None)
@given(st.text(st.sampled_from('",\r\nxé'), max_size=24))
def test_syntax_agrees_with_a_state_machine(text):
    """On any mixture of quotes, delimiters and ends of line."""
    records, is_bad = parsed(text)
    data, syntax = text.encode(), Syntax(",")
    assert syntax.has_text_behind_quote(data, len(data)) == is_bad
    found = list(syntax.records(data))
    assert any(record.has_text_behind_quote for record in found) == is_bad
    if records is not None:
        assert [record.width for record in found] == [len(record) for record in records]
        assert [record.is_blank for record in found] == [record == [""] for record in records]


@settings(max_examples=400, deadline=None)
@given(st.text(st.sampled_from('",\r\nxé'), max_size=24))
def test_a_file_is_read_as_the_state_machine_reads_it_or_refused(text):
    """No cell is changed: what is neither equal nor refused would be lost."""
    records, is_bad = parsed(text)
    try:
        _, rows = read(b"a,b\n" + text.encode())
    except UnreadableFileError:
        assert is_bad or records is None or any(len(record) != 2 and record != [""] for record in records)
        return
    assert not is_bad
    kept = [record for record in records or [] if record != [""]]
    # the state machine writes a `q` before what was quoted
    cells = [tuple(cell[1:] if cell.startswith("q") else cell or None for cell in record) for record in kept]
    assert rows == cells


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from('"\nx'), max_size=24))
def test_the_last_line_end_outside_quotes_is_found(text):
    """As by counting the quotes before each line end."""
    ends = [n + 1 for n, c in enumerate(text) if c == "\n" and text[:n].count('"') % 2 == 0]
    assert last_line_end_outside_quotes(text.encode()) == max(ends, default=0)


# --- delimiters


@pytest.mark.parametrize("delimiter", [";", "|", "\t", "\x01", "^", " ", "\\", "]", "-", "~"])
@pytest.mark.parametrize("file_format", ["csv", "tsv"])
def test_the_delimiter_that_is_set_is_used(delimiter, file_format):
    """Whatever the format's own."""
    data = 'a,1;b|c\n"x{d}""y",2\n'.replace(";", "{d}").replace("{d}", delimiter).replace("|c", "")
    if delimiter == "|":
        data = 'a,1|b\n"x|""y",2\n'.replace('",', '"|')
    names, rows = read(data.replace('y",2', f'y"{delimiter}2').encode(), delimiter, file_format=file_format)
    assert names == ["a,1", "b"]
    assert rows == [(f'x{delimiter}"y', "2")]


@pytest.mark.parametrize(
    ("header", "file_format", "proposed"),
    [
        ("a;b", "csv", '";"'),
        ('"a";"b"', "csv", '";"'),
        ('"a, x";"b"', "csv", '";"'),
        ('"a";"b, c"', "csv", '";"'),
        ("a|b|c;d", "csv", '"|"'),
        ("a\tb", "csv", r'"\t"'),
        ("a,b", "tsv", '","'),
        ('"a,b"', "csv", '","'),
        ("sep=;", "csv", '";"'),
        ("sep=,", "csv", '","'),
        ('"sep=|"', "csv", '"|"'),
        ("SEP=\t", "tsv", r'"\t"'),
    ],
)
def test_a_header_with_another_delimiter_is_refused(header, file_format, proposed):
    """In a sentence that proposes the setting, and shows nothing of the header."""
    error = refusal(f"\n{header}\n1;2\n".encode(), file_format=file_format)
    assert error.line == 2
    assert f"`csv_delimiter = {proposed}`" in str(error)
    name = "adas_own_column"
    assert name not in str(refusal(f"{header}{name}\n1;2\n".encode(), file_format=file_format))


def test_a_header_of_one_column_needs_no_setting():
    """Where it holds no delimiter; with the setting, it may hold any."""
    assert read(b"a b\n1;2\n")[1] == [("1;2",)]
    assert read(b"a;b\n1;2\n", ",") == (["a;b"], [("1;2",)])
    assert read(b'"a,b"\n1\n', ",") == (["a,b"], [("1",)])


def test_the_line_by_which_excel_knows_the_delimiter_is_no_header():
    """It is skipped where it says what is set, and refused where it says something else."""
    assert read(b"\xef\xbb\xbfsep=;\r\na;b\r\n1;2\r\n", ";") == (["a", "b"], [("1", "2")])
    assert refusal(b"sep=;\na;b\n", "|").line == 1
    assert refusal(b"sep=;\na;b\n1;2;3\n", ";").line == 3


# --- encodings


@pytest.mark.parametrize(
    "encoding", ["cp1252", "latin-1", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp500"]
)
@pytest.mark.parametrize("piece", [1, 2, 3, 5, 1000])
def test_the_encoding_that_is_set_is_read(monkeypatch, encoding, piece):
    """A character may be divided between two pieces of the file."""
    monkeypatch.setattr("ometria_source.export.compression.PIECE_BYTES", piece)
    expected = [(str(n), f"ü£{n}\r\nñ") for n in range(300)]
    text = "id,näme\n" + "".join(f'{n},"{cell}"\n' for n, cell in expected)
    assert read(text.encode(encoding), encoding=encoding) == (["id", "näme"], expected)


@pytest.mark.parametrize("encoding", ["gb18030", "shift_jis", "euc_kr", "big5", "utf-16", "cp1251"])
def test_other_alphabets_are_read(encoding):
    """As Python's codecs read them."""
    cell = "Привет" if encoding == "cp1251" else "中文" if encoding != "euc_kr" else "안녕"
    assert read(f"a,b\n1,{cell}\n".encode(encoding), encoding=encoding)[1] == [("1", cell)]


@pytest.mark.parametrize(
    ("data", "encoding", "line", "sentence"),
    [
        ("a,b\n1,ü\n".encode("utf-16"), None, 1, 'set `csv_encoding = "utf-16"`'),
        ("a,b\n".encode("utf-16-be"), None, 1, "NUL"),
        (b"\xfe\xff" + "a,b\n".encode("utf-16-be"), None, 1, 'set `csv_encoding = "utf-16"`'),
        ("a,b\n".encode("utf-32"), None, 1, 'set `csv_encoding = "utf-32"`'),
        ("a,b\n".encode("utf-16"), "cp1252", 1, "not cp1252 text but UTF-16"),
        ("a,b\n".encode("utf-32"), "utf-16", 1, "not utf-16 text but UTF-32"),
        ("a,b\n".encode("utf-16-be"), "utf-16", 1, "no byte order mark"),
        (b"a,b\n1,2\n", "utf-16-le", 1, "is not utf-16-le text"),
        ("a,b\n".encode("utf-16-be"), "utf-16-le", 1, "is not utf-16-le text"),
        (b"a,b\n1,2\n3,\x81\n", "cp1252", 3, "is not cp1252 text"),
        ("a,b\n1,2\n".encode("utf-16") + b"x", "utf-16", 3, "is not utf-16 text"),
        ("a,b\r\n1,ü\r\n".encode("cp1252"), None, 2, "is not UTF-8 text: set `csv_encoding`"),
    ],
)
def test_text_in_another_encoding_is_refused(data, encoding, line, sentence):
    """By name, where the file has it, and never read as gibberish."""
    error = refusal(data, encoding=encoding)
    assert error.line == line
    assert sentence in str(error)


def test_byte_order_marks_are_no_part_of_a_name():
    """Two count as one; and that of UTF-8 counts for more than the setting."""
    mark = b"\xef\xbb\xbf"
    assert read(mark + mark + "ä,b\n1,2\n".encode()) == (["ä", "b"], [("1", "2")])
    assert read(mark + "ä,b\n1,2\n".encode(), encoding="cp1252") == (["ä", "b"], [("1", "2")])
    assert read("\ufeff\ufeffä,b\n".encode("utf-16"), encoding="utf-16")[0] == ["ä", "b"]


# --- columns without a name


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_unnamed_columns_at_the_end_that_are_empty_are_left_out(end):
    """A quoted empty cell is empty too; the number of columns is reported."""
    counts = []
    data = end.join([b'a,b,, ,""', b"1,2,,,", b"", b'3,,"","",', b""])
    assert read(data, left_out=counts.append) == (["a", "b"], [("1", "2"), ("3", None)])
    assert counts == [3]
    assert read(b"a,b,\n", left_out=counts.append) == (["a", "b"], [])
    assert read(b"a,\n1,\n") == (["a"], [("1",)])


@pytest.mark.parametrize("cell", [b"x", b'"x"', b" ", b'"\n"'])
def test_data_in_a_column_without_a_name_is_refused(monkeypatch, cell):
    """With the line of its record, also behind many blocks."""
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 64)
    good = b'1,"l\n2",,\n\n' * 50
    error = refusal(b"a,b,,\n" + good + b"3,4,," + cell + b"\n" + good)
    assert (error.line, "column 4 has no name" in str(error)) == (152, True)


@pytest.mark.parametrize("header", [b",a", b"a,,b", b",", b'a,"",b,'])
def test_other_columns_need_a_name(header):
    """One before a column with a name is no trailing one, and a file needs a name at all."""
    assert "has no name" in str(refusal(header + b"\n"))


# --- bounds

PROGRAM = """
import io, json, sys
from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.read import read_tables
for start, unit in json.loads(sys.argv[1]):
    data = (start + unit * ((17 << 20) // len(unit))).encode()
    try:
        print(sum(table.num_rows for table in read_tables("a.csv", io.BytesIO(data), "csv")))
    except UnreadableFileError as error:
        print(error.problem)
"""
TOO_LONG, NO_TABLE, WRONG_WIDTH = "longer than 16 MiB", "header of more than 1 MiB", "1 cells where"
HUGE = [
    (r"a,b\n", '"', TOO_LONG),
    (r"a,b\n\"", '""', TOO_LONG),
    (r"a,b\n", '"",', TOO_LONG),
    (r"a,b\n", ",", TOO_LONG),
    (r"a,b\n", "x", TOO_LONG),
    (r"a,b\n", r"\n", "0"),
    (r"a,b\n", r"\r", "0"),
    (r"a,b\n", r"\"\n", WRONG_WIDTH),
    (r"a,b\n", r"\"\r", WRONG_WIDTH),
    (r"a,b\n", r"x\"\n", WRONG_WIDTH),
    (r"a,b\n\"", r"x\n", TOO_LONG),
    ("", '"', NO_TABLE),
    ("", '""', NO_TABLE),
    ("", ",", NO_TABLE),
    ("", "x", NO_TABLE),
    ("", r"\n", "0"),
]


@pytest.mark.slow
def test_seventeen_megabytes_of_anything_are_bounded():
    """A peak below 400 MiB for all of the process, whatever is repeated."""
    inputs = [tuple(text.encode().decode("unicode_escape") for text in (start, unit)) for start, unit, _ in HUGE]
    _, found, peak = run_measured(PROGRAM, json.dumps(inputs))
    assert [expected in line for line, (_, _, expected) in zip(found, HUGE, strict=True)] == [True] * len(HUGE), found
    assert peak < 400


def test_a_record_beyond_the_bound_is_refused_where_the_file_ends_with_it(monkeypatch):
    """Though all of it is in memory by then."""
    monkeypatch.setattr(csv_reader, "MAX_RECORD_BYTES", MIB)
    assert read(b"a,b\n1,2\n3," + b"x" * (MIB - 3) + b"\n")[1][1][0] == "3"
    error = refusal(b"a,b\n1,2\n3," + b"x" * MIB + b"\n4,5\n")
    assert (error.line, "longer than" in str(error)) == (3, True)


@pytest.mark.slow
def test_twenty_thousand_columns_are_read(monkeypatch):
    """In many blocks, where they are not too many for a warehouse."""
    monkeypatch.setattr(reading, "MAX_COLUMNS", 20_000)
    names = [f"column_{n}" for n in range(20_000)]
    row = ",".join(f'"{n}"' if n % 3 else "" for n in range(20_000))
    found, rows = read("\n".join([",".join(names), *[row] * 100]).encode())
    assert found == names
    assert (len(rows), rows[-1][:3]) == (100, (None, "1", "2"))
