"""Read csv and tsv: every cell is text, exactly as written.

Arrow parses, but three of its habits would lose data or leak it: it takes an unclosed quote at the end of a file for a
cell, it knows no line numbers, and it prints the offending record. So the file is cut into blocks of whole records
here. Behind each block goes an end mark, a record with one cell too many: when Arrow reports exactly that record as
wrong, the block ended between two records; otherwise the cut was inside a quoted cell. A block that fails is still at
hand, so the line is found by a second, slow look at this one block.

Names and line numbers come from the syntax as Arrow's parser sees it. A quote opens a quoted cell only as its first
character; what follows the closing quote is plain text again. A line ends with LF, CR LF or CR.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import csv

from ometria_source.exceptions import UnreadableFileError

OPEN_CELL = re.compile(rb'"[^"]*(?:""[^"]*)*')


def cell_pattern(delimiter: bytes) -> re.Pattern[bytes]:
    """A cell and what ends it, as Arrow sees them: a quote opens only at the start; text follows the closing one."""
    sep = re.escape(delimiter)
    return re.compile(rb'((?:"[^"]*(?:""[^"]*)*(?:"|\Z))?[^' + sep + rb"\r\n]*)(" + sep + rb"|\r\n|\n|\r|\Z)")


def unquoted(cell: bytes) -> bytes:
    """Take a cell out of its quotes, if it has any."""
    if not cell.startswith(b'"'):
        return cell
    body, _, after = cell[1:].replace(b'""', b"\0").partition(b'"')
    return body.replace(b"\0", b'"') + after


def last_line_end_outside_quotes(data: bytes) -> int:
    """Find the end of the last line that ends outside quotes, taking every quote for an opening or closing one.

    Args:
        data: Begins at the start of a record.

    Returns:
        The number of bytes up to and with the LF; 0: there is none.
    """
    odd = data.count(b'"') % 2 == 1
    end = len(data)
    while True:
        quote = data.rfind(b'"', 0, end)
        newline = -1 if odd else data.rfind(b"\n", quote + 1, end)
        if newline >= 0 or quote < 0:
            return newline + 1
        odd, end = not odd, quote


def count_lines(data: bytes) -> int:
    """Count the ends of physical lines."""
    lines = data.count(b"\n")
    # CR LF is one end of line, and so is CR alone.
    return lines + data.count(b"\r") - data.count(b"\r\n") if b"\r" in data else lines


# Bytes parsed at a time. One block is one table, which stays in memory until it is written: half of this is slower, and
# more is no faster.
BLOCK_BYTES = 8 << 20

# The longest record: far beyond any event (warehouses end at 16 MiB a cell or well below), so a longer one is a quote
# that was never closed, or not a csv file.
MAX_RECORD_BYTES = 16 << 20
MAX_HEADER_BYTES = 1 << 20

_BOM = b"\xef\xbb\xbf"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_UNCLOSED = "a quoted cell that begins in this record is never closed"
_NOT_TEXT = "is not UTF-8 text"
_HAS_NUL = "holds a NUL byte, so it is not text"


def read_csv(path: str, pieces: Iterator[bytes], delimiter: str) -> Iterator[pa.Table]:
    """Read a csv file with a header.

    An empty cell is null, a quoted empty one is empty text. Lines with nothing on them are skipped, except in a file of
    one column, where such a line is a null.

    Args:
        path: For error messages.
        pieces: The file's bytes, decompressed.
        delimiter: One ASCII character.

    Yields:
        Tables of text columns named as in the header. A header without rows yields one table without rows; a file
        without any text yields nothing.

    Raises:
        UnreadableFileError: Not UTF-8, a NUL byte, a column name that is empty or there twice, a record with too few or
            too many cells, a quote that is not closed. Gives the line on which the record begins.
    """
    blocks = _Blocks(path, pieces, delimiter)
    names = blocks.read_header()
    if names is None:
        return
    empty = True
    for table in blocks.read_rows(names):
        empty = False
        yield table
    if empty:
        yield pa.table({name: pa.array([], pa.string()) for name in names})


class _Blocks:
    """One pass over one file: the bytes not parsed yet, and the line on which they begin."""

    def __init__(self, path: str, pieces: Iterator[bytes], delimiter: str) -> None:
        self._path = path
        self._pieces = pieces
        self._delimiter = delimiter
        self._cell = cell_pattern(delimiter.encode())
        self._buffer = b""
        self._line = 1
        self._ended = False

    def read_header(self) -> list[str] | None:
        """Take the header off the front; None: there is no text at all."""
        self._fill(BLOCK_BYTES)
        self._buffer = self._buffer.removeprefix(_BOM)
        while True:
            start = len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))
            cells, end = self._first_record(start)
            # A terminator that touches the end of the buffer may be half of CR LF.
            whole = end < len(self._buffer) or self._ended
            if whole and end - start <= MAX_HEADER_BYTES:
                break
            if whole or len(self._buffer) > MAX_HEADER_BYTES:
                raise self._error("has no end of line in its first MiB, so it is not a text table")
            self._fill(2 * len(self._buffer))
        if start == len(self._buffer):
            return None
        self._line += count_lines(self._buffer[:start])
        names = self._checked_names(cells)
        if OPEN_CELL.fullmatch(cells[-1]):
            raise self._error(_UNCLOSED)
        self._line += count_lines(self._buffer[start:end])
        self._buffer = self._buffer[end:]
        return names

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
                self._line += count_lines(self._buffer[:block])
                self._buffer = self._buffer[block:]
                wanted = BLOCK_BYTES
                if table.num_rows:
                    yield table
            elif self._ended or len(self._buffer) > MAX_RECORD_BYTES:
                raise self._error(_UNCLOSED if self._ended else self._too_long(), self._line_of_last_record())
            else:
                wanted = len(self._buffer) + BLOCK_BYTES

    def _parse_front(self, parse: _Parser) -> tuple[int, Any]:
        """Parse as many whole records as the buffer holds; 0 bytes: none was seen to end."""
        is_ascii = self._buffer.isascii()
        for cut in self._cuts():
            bad = None if is_ascii else _first_bad_byte(self._buffer[:cut])
            if bad is not None:
                raise self._error(_NOT_TEXT, self._line_of_offset(bad))
            result = parse(self._buffer, cut)
            if result is None:
                raise self._error("cannot be parsed as delimited text")
            table, bad_rows, whole = result
            if whole and bad_rows:
                raise self._wrong_width(self._buffer[:cut], parse.width)
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

    def _first_record(self, start: int) -> tuple[list[bytes], int]:
        cells = []
        for match in self._cell.finditer(self._buffer, start):
            cells.append(match[1])
            if match[2] != self._delimiter.encode():
                return cells, match.end()
        return cells, len(self._buffer)

    def _checked_names(self, cells: list[bytes]) -> list[str]:
        if any(_first_bad_byte(cell) is not None for cell in cells):
            raise self._error(_NOT_TEXT)
        names = [unquoted(cell).decode() for cell in cells]
        seen: dict[str, int] = {}
        if any(b"\0" in cell for cell in cells):
            raise self._error(_HAS_NUL)
        # A file without a header has somebody's data here: name no names.
        for position, name in enumerate(names, 1):
            if _CONTROL.search(name):
                raise self._error("has control characters in its header, so it is not text")
            if not name.strip():
                raise self._error(f"column {position} has no name in the header")
            if name in seen:
                raise self._error(f"columns {seen[name]} and {position} have the same name in the header")
            seen[name] = position
        return names

    def _wrong_width(self, block: bytes, expected: int) -> UnreadableFileError:
        """Find the first record that has not the header's number of cells."""
        for start, width in self._records(block):
            is_blank = width == 1 and block[start : start + 1] in (b"\n", b"\r", b"")
            if width != expected and not is_blank:
                problem = f"this record has {width} cells where the header has {expected}"
                return self._error(problem, self._line_at(start))
        return self._error(f"a record has more or fewer cells than the header, which has {expected}")

    def _too_long(self) -> str:
        return f"this record is longer than {MAX_RECORD_BYTES >> 20} MiB: a quote may not be closed"

    def _records(self, block: bytes) -> Iterator[tuple[int, int]]:
        """Each record's first byte and number of cells."""
        start = width = 0
        for match in self._cell.finditer(block):
            width += 1
            if match[2] != self._delimiter.encode():
                yield start, width
                start, width = match.end(), 0
            if start == len(block):
                return

    def _line_at(self, offset: int) -> int:
        return self._line + count_lines(self._buffer[:offset])

    def _line_of_offset(self, offset: int) -> int:
        starts = (start for start, _ in self._records(self._buffer) if start <= offset)
        return self._line_at(max(starts, default=0))

    def _line_of_last_record(self) -> int:
        return self._line_of_offset(len(self._buffer) - 1)

    def _error(self, problem: str, line: int | None = None) -> UnreadableFileError:
        return UnreadableFileError(self._path, problem, self._line if line is None else line)


class _Parser:
    """Arrow's parser, set up for one file's columns."""

    def __init__(self, names: Sequence[str], delimiter: str) -> None:
        self.width = len(names)
        self._names = list(names)
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
            column_types={name: pa.string() for name in names},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            # Checked for the whole block already.
            check_utf8=False,
        )
        self._bad_rows = 0
        self._whole = False

    def __call__(self, buffer: bytes, size: int) -> tuple[pa.Table, int, bool] | None:
        """Parse one block: its good rows, the number of bad ones, and whether it ends where a record ends.

        Args:
            buffer: Begins with the block.
            size: Of the block, in bytes.

        Returns:
            None where Arrow refuses it. Its error, which quotes records, goes no further than here.
        """
        self._bad_rows, self._whole = 0, False
        # Arrow strips a BOM at the front of whatever it is given: sacrifice one of ours where a cell begins with it.
        head = _BOM if buffer.startswith(_BOM) else b""
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
            return None
        return table, self._bad_rows, self._whole

    def _note_invalid(self, row: Any) -> str:
        if row.text == self._mark:
            self._whole = True
        else:
            self._bad_rows += 1
        return "skip"


def _joined(*parts: bytes | memoryview) -> pa.Buffer:
    """Join in memory of Arrow's pool, which keeps its pages: new ones cost more than the copy."""
    data = pa.allocate_buffer(sum(map(len, parts)))
    target, end = memoryview(data).cast("B"), 0
    for part in parts:
        start, end = end, end + len(part)
        target[start:end] = part
    return data


def _first_bad_byte(data: bytes) -> int | None:
    """Find where text stops being UTF-8. The codec's error holds the data, so it ends here."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            return error.start
    return None
