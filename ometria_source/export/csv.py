"""Read csv and tsv: every cell is text, exactly as written.

Arrow parses, but three of its habits would lose data or leak it: it takes an unclosed quote at the end of a file for a
cell, it knows no line numbers, and it prints the offending record. So the file is cut into blocks of whole records
here. Behind each block goes an end mark, a record with one cell too many: when Arrow reports exactly that record as
wrong, the block ended between two records; otherwise the cut was inside a quoted cell. A block that fails is still at
hand, so the line is found by a second, slow look at this one block.

Names and line numbers come from `csv_syntax`, which sees what Arrow's parser sees. Two more things that Arrow would
read in silence are searched for: text behind a closing quote, and a header with other delimiters than the file's.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from ometria_source.constants import MAX_RECORD_BYTES
from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.csv_syntax import (
    Syntax,
    closing_quote,
    count_lines,
    last_line_end_outside_quotes,
    unquoted,
)
from ometria_source.export.encodings import as_utf8, without_marks

# Bytes parsed at a time. One block is one table, which stays in memory until it is written: half of this is slower, and
# more is no faster.
BLOCK_BYTES = 8 << 20

# The longest header: 2,000 columns, which is all that is read, with names of 500 bytes.
MAX_HEADER_BYTES = 1 << 20

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_UNCLOSED = "a quoted cell that begins in this record is never closed"
_TOO_LONG = f"this record is longer than {MAX_RECORD_BYTES >> 20} MiB: probably a quote is not closed"
_NOT_TEXT = "is not UTF-8 text"
_HAS_NUL = "holds a NUL byte, so it is not text"
_TEXT_BEHIND_QUOTE = "a cell of this record has text behind its closing quote (a quote within quotes is written twice)"

# What else than the delimiter of its format a file may have between its cells, the likeliest first.
DELIMITERS = (";", "\t", "|", ",")

# The first line that sets the delimiter for Excel.
_EXCEL_LINE = re.compile(r"sep=(.)", re.IGNORECASE)


@dataclass(frozen=True)
class CsvDialect:
    """What csv and tsv files are like.

    Attributes:
        delimiter: The setting `csv_delimiter`; None: that of the format, and a file that has another is refused.
        encoding: The setting `csv_encoding`; None: UTF-8.
    """

    delimiter: str | None = None
    encoding: str | None = None


def read_csv(
    path: str,
    pieces: Iterator[bytes],
    delimiter: str,
    dialect: CsvDialect | None = None,
    left_out: Callable[[int], None] | None = None,
) -> Iterator[pa.Table]:
    """Read a csv file with a header.

    An empty cell is null, a quoted empty one is empty text. Lines with nothing on them are skipped, except in a file of
    one column, where such a line is a null.

    Args:
        path: For error messages.
        pieces: The file's bytes, decompressed.
        delimiter: The one of its format, an ASCII character.
        dialect: What is set; None: nothing.
        left_out: Called before the first table with the number of columns at the end that have no name, if there are
            any: they are left out.

    Yields:
        Tables of text columns named as in the header. A header without rows yields one table without rows; a file
        without any text yields nothing.

    Raises:
        UnreadableFileError: Not in its encoding, a NUL byte, a column name that is there twice, one that is empty
            although the column has data or others behind it have names, a record with too few or too many cells, a
            quote that is not closed or has text behind it, a delimiter that is not set. Gives the line on which the
            record begins.
    """
    dialect = dialect or CsvDialect()
    blocks = _Blocks(path, as_utf8(path, pieces, dialect.encoding), delimiter, dialect)
    names = blocks.read_header()
    if names is None:
        return
    named = [name for name in names if name]
    if left_out and len(named) < len(names):
        left_out(len(names) - len(named))
    empty = True
    for table in blocks.read_rows(names):
        empty = False
        yield table
    if empty:
        yield pa.table({name: pa.array([], pa.string()) for name in named})


class _Blocks:
    """One pass over one file: the bytes not parsed yet, and the line on which they begin."""

    def __init__(self, path: str, pieces: Iterator[bytes], delimiter: str, dialect: CsvDialect) -> None:
        self._path = path
        self._pieces = pieces
        self._delimiter = dialect.delimiter or delimiter
        self._is_delimiter_set = dialect.delimiter is not None
        self._not_text = _NOT_TEXT if dialect.encoding else f'{_NOT_TEXT}: set `csv_encoding`, such as "cp1252"'
        self._syntax = Syntax(self._delimiter)
        self._buffer = b""
        self._line = 1
        self._ended = False

    def read_header(self) -> list[str] | None:
        """Take the header off the front: its names, with an empty text for each at the end that is none.

        None: there is no text at all.
        """
        self._fill(BLOCK_BYTES)
        self._buffer = without_marks(self._buffer)
        cells, end = self._first_cells()
        if cells is not None and self._is_excel_line(cells):
            self._take(end)
            cells, end = self._first_cells()
        if cells is None:
            return None
        names = self._checked_names(cells)
        self._take(end)
        return names

    def _first_cells(self) -> tuple[list[bytes] | None, int]:
        """The cells of the first record that is not blank, and where it ends; None: there is none."""
        self._skip_blank_lines()
        if not self._buffer:
            return None, 0
        while True:
            cells, end = self._syntax.first_record(self._buffer[: MAX_HEADER_BYTES + 1], 0)
            # an end of line that touches the end of the buffer may be half of CR LF
            if end < len(self._buffer) or self._ended:
                break
            self._fill(2 * len(self._buffer))
        if end > MAX_HEADER_BYTES:
            limit = MAX_HEADER_BYTES >> 20
            raise self._error(f"has a header of more than {limit} MiB: it is no csv, or a quote in it is not closed")
        return cells, end

    def _skip_blank_lines(self) -> None:
        while True:
            blank = len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))
            if blank < len(self._buffer) or self._ended:
                self._take(blank)
                return
            # the last CR may be half of CR LF
            self._take(blank - self._buffer.endswith(b"\r"))
            self._fill(BLOCK_BYTES)

    def _take(self, size: int) -> None:
        """Let go of the first bytes of the buffer."""
        self._line += count_lines(self._buffer[:size])
        self._buffer = self._buffer[size:]

    def read_rows(self, names: list[str]) -> Iterator[pa.Table]:
        parse = _Parser(names, self._delimiter)
        wanted = BLOCK_BYTES
        while True:
            self._fill(wanted)
            if not self._buffer:
                return
            if b"\0" in self._buffer:
                offset = self._buffer.index(b"\0")
                raise self._error(_HAS_NUL, self._line_of_offset(offset))
            block, table = self._parse_front(parse)
            if block:
                self._check_unnamed(parse, table)
                self._take(block)
                wanted = BLOCK_BYTES
                if table.num_rows:
                    yield table.select(range(parse.named)) if parse.named < parse.width else table
            elif self._ended or len(self._buffer) > MAX_RECORD_BYTES:
                raise self._error(_UNCLOSED, self._line_of_last_record()) if self._ended else self._error(_TOO_LONG)
            else:
                wanted = min(len(self._buffer) + BLOCK_BYTES, MAX_RECORD_BYTES + 1)

    def _parse_front(self, parse: _Parser) -> tuple[int, Any]:
        """Parse as many whole records as the buffer holds; 0 bytes: none was seen to end."""
        is_ascii = self._buffer.isascii()
        for cut in self._cuts():
            bad = None if is_ascii else _first_bad_byte(self._buffer[:cut])
            if bad is not None:
                raise self._error(self._not_text, self._line_of_offset(bad))
            # a fault whether or not a record ends at the cut
            if self._syntax.has_text_behind_quote(self._buffer, cut):
                records = self._syntax.records(self._buffer[:cut])
                start = next((record.start for record in records if record.has_text_behind_quote), 0)
                raise self._error(_TEXT_BEHIND_QUOTE, self._line_at(start))
            table, bad_rows, whole = parse(self._buffer, cut)
            if bad_rows and (whole or table is None):
                raise self._wrong_width(self._buffer[:cut], parse.width)
            if table is None:
                raise self._error("cannot be parsed as delimited text")
            if whole and cut > MAX_RECORD_BYTES:
                self._check_lengths(self._buffer[:cut])
            if whole:
                return cut, table
        return 0, None

    def _cuts(self) -> Iterator[int]:
        """Where the last whole record may end, likeliest first. Arrow decides whether a guess was right."""
        if self._ended:
            yield len(self._buffer)
            return
        balanced = last_line_end_outside_quotes(self._buffer)
        if balanced:
            yield balanced
        # A quote inside an unquoted cell (5" pipe) is a plain character, but upsets the count of quotes.
        last = self._buffer.rfind(b"\n") + 1 or self._buffer.rfind(b"\r", 0, -1) + 1
        if last and last != balanced:
            yield last
        if len(self._buffer) > MAX_RECORD_BYTES:
            # slow, but it finds the end of a record wherever there is one
            yield from filter(None, [self._start_of_last_record()])

    def _fill(self, size: int) -> None:
        parts = [self._buffer]
        have = len(self._buffer)
        while have < size and not self._ended:
            piece = next(self._pieces, None)
            if piece is None:
                self._ended = True
            else:
                parts.append(piece)
                have += len(piece)
        self._buffer = b"".join(parts) if len(parts) > 1 else self._buffer

    def _checked_names(self, cells: list[bytes]) -> list[str]:
        if any(_first_bad_byte(cell) is not None for cell in cells):
            raise self._error(self._not_text)
        if any(b"\0" in cell for cell in cells):
            raise self._error(_HAS_NUL)
        if not self._is_delimiter_set:
            self._check_delimiter(cells)
        self._check_quotes(cells)
        names = [unquoted(cell).decode() for cell in cells]
        last = max((position for position, name in enumerate(names, 1) if name.strip()), default=len(names))
        seen: dict[str, int] = {}
        # a file without a header has data here: no name is shown
        for position, name in enumerate(names[:last], 1):
            if _CONTROL.search(name):
                raise self._error("has control characters in its header, so it is not text")
            if not name.strip():
                raise self._error(f"column {position} has no name in the header")
            if name in seen:
                raise self._error(f"columns {seen[name]} and {position} have the same name in the header")
            seen[name] = position
        return names[:last] + [""] * (len(names) - last)

    def _check_quotes(self, cells: list[bytes]) -> None:
        for cell in cells:
            end = closing_quote(cell, 0) if cell.startswith(b'"') else len(cell)
            if end < 0:
                raise self._error(_UNCLOSED)
            if end < len(cell):
                raise self._error(_TEXT_BEHIND_QUOTE)

    def _check_delimiter(self, cells: list[bytes]) -> None:
        """Refuse a header that seems to be delimited by something else."""
        if len(cells) == 1:
            (header,) = cells
            counts = {other: header.count(other.encode()) for other in DELIMITERS}
            likely = max(DELIMITERS, key=lambda other: counts[other])
            if counts[likely] and likely != self._delimiter:
                raise self._error(f"its header is one column, with {_proposal(likely)}")
            if counts[likely]:
                raise self._error(
                    "its header is one quoted cell, with delimiters in it: if that is the name of its only column, set "
                    f"`csv_delimiter = {_as_toml(likely)}`"
                )
        for cell in cells:
            end = closing_quote(cell, 0) if cell.startswith(b'"') else -1
            behind = cell[end : end + 1].decode("ascii", "ignore") if end > 0 else ""
            if behind and behind in DELIMITERS:
                raise self._error(f"its header has quoted cells, with {_proposal(behind)}")

    def _is_excel_line(self, cells: list[bytes]) -> bool:
        """Whether the first line is `sep=` with the delimiter that is set; with another, the file is refused."""
        line = _EXCEL_LINE.fullmatch(unquoted(self._delimiter.encode().join(cells)).decode("ascii", "ignore"))
        if line is None:
            return False
        if not self._is_delimiter_set:
            raise self._error(f"its first line is Excel's `sep=`, with {_proposal(line[1])}")
        if line[1] != self._delimiter:
            raise self._error("its first line is Excel's `sep=`, with another delimiter than `csv_delimiter`")
        return True

    def _check_unnamed(self, parse: _Parser, table: pa.Table) -> None:
        """Refuse data in a column at the end that has no name. A quoted empty cell is none."""
        for place in range(parse.named, parse.width):
            row = pc.index(pc.fill_null(pc.not_equal(table.column(place), ""), False), True).as_py()
            if row >= 0:
                records = (record for record in self._syntax.records(self._buffer) if not record.is_blank)
                start = next(record.start for number, record in enumerate(records) if number == row)
                problem = f"column {place + 1} has no name in the header, but a value in this record"
                raise self._error(problem, self._line_at(start))

    def _wrong_width(self, block: bytes, expected: int) -> UnreadableFileError:
        """Find the first record that has not the header's number of cells."""
        for record in self._syntax.records(block):
            if record.width != expected and not record.is_blank:
                problem = f"this record has {record.width} cells where the header has {expected}"
                return self._error(problem, self._line_at(record.start))
        return self._error(f"a record has more or fewer cells than the header, which has {expected}")

    def _check_lengths(self, block: bytes) -> None:
        """Refuse a record that is longer than the bound, though the file ends behind it."""
        starts = [record.start for record in self._syntax.records(block)]
        for start, end in pairwise([*starts, len(block)]):
            if end - start > MAX_RECORD_BYTES:
                raise self._error(_TOO_LONG, self._line_at(start))

    def _line_at(self, offset: int) -> int:
        return self._line + count_lines(self._buffer[:offset])

    def _line_of_offset(self, offset: int) -> int:
        return self._line_at(self._start_of_last_record(offset + 1))

    def _line_of_last_record(self) -> int:
        return self._line_at(self._start_of_last_record())

    def _start_of_last_record(self, size: int | None = None) -> int:
        """Where the last record begins of the first `size` bytes of the buffer, or of all of it."""
        start = 0
        data = self._buffer[:size]
        if b"\n" in data or b"\r" in data:
            for record in self._syntax.records(data):
                start = record.start
        return start

    def _error(self, problem: str, line: int | None = None) -> UnreadableFileError:
        return UnreadableFileError(self._path, problem, self._line if line is None else line)


class _Parser:
    """Arrow's parser, set up for one file's columns."""

    def __init__(self, names: Sequence[str], delimiter: str) -> None:
        self.width = len(names)
        self.named = sum(map(bool, names))
        # NUL is refused in names, so no column has the name of one that has none
        self._names = [name or f"\0{place}" for place, name in enumerate(names)]
        # NUL is refused in data, so no record of the file can be mistaken for the mark.
        self._mark = "\0" + delimiter * self.width
        self._tail = self._mark.encode() + b"\n"
        self._parse_options = csv.ParseOptions(
            delimiter=delimiter,
            newlines_in_values=True,
            # In a file of one column an empty line is the only way to write a null.
            ignore_empty_lines=self.width > 1,
            invalid_row_handler=self._note_invalid,
        )
        self._convert_options = csv.ConvertOptions(
            column_types={name: pa.string() for name in self._names},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            # Checked for the whole block already.
            check_utf8=False,
        )
        self._bad_rows = 0
        self._whole = False

    def __call__(self, buffer: bytes, size: int) -> tuple[pa.Table | None, int, bool]:
        """Parse one block: its good rows, the number of bad ones, and whether it ends where a record ends.

        Args:
            buffer: Begins with the block.
            size: Of the block, in bytes.

        Returns:
            No table where Arrow refuses the block, or where a second bad row ended the parsing: the first one is not
            what is left at the end of a block that was cut inside a quoted cell. Arrow's error, which quotes records,
            goes no further than here.
        """
        self._bad_rows, self._whole = 0, False
        # Arrow strips a BOM at the front of whatever it is given: sacrifice one of ours where a cell begins with it.
        head = BOM_UTF8 if buffer.startswith(BOM_UTF8) else b""
        newline = b"" if buffer.endswith((b"\n", b"\r"), 0, size) else b"\n"
        data = _joined(head, memoryview(buffer)[:size], newline + self._tail)
        try:
            table = csv.read_csv(
                pa.BufferReader(data),
                # One chunk a table, on this thread: files are already read in parallel.
                csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=self._names),
                self._parse_options,
                self._convert_options,
            )
        except pa.ArrowInvalid:
            return None, self._bad_rows, self._whole
        return table, self._bad_rows, self._whole

    def _note_invalid(self, row: Any) -> str:
        if row.text == self._mark:
            self._whole = True
            return "skip"
        self._bad_rows += 1
        return "skip" if self._bad_rows == 1 else "error"


def _joined(*parts: bytes | memoryview) -> pa.Buffer:
    """Join in memory of Arrow's pool, which keeps its pages: new ones cost more than the copy."""
    data = pa.allocate_buffer(sum(map(len, parts)))
    target, end = memoryview(data).cast("B"), 0
    for part in parts:
        start, end = end, end + len(part)
        target[start:end] = part
    return data


def _proposal(delimiter: str) -> str:
    """What was found instead of the delimiter, and the line that sets it."""
    name = "a tab" if delimiter == "\t" else f"`{delimiter}`"
    return f"{name} in it: set `csv_delimiter = {_as_toml(delimiter)}`"


def _as_toml(character: str) -> str:
    return json.dumps(character)


def _first_bad_byte(data: bytes) -> int | None:
    """Find where text stops being UTF-8. The codec's error holds the data, so it ends here."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            return error.start
    return None
