"""The syntax of csv as Arrow's parser sees it: records, cells and quotes, found in linear time and bounded memory.

A quote opens a quoted cell only as its first character; inside, two quotes are one. A line ends with LF, CR LF or CR.
Text between a closing quote and the next delimiter is what no writer of csv writes: Arrow would drop the quotes and
join both parts, so it is searched for here.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

# Not a pattern of a whole cell: Python's `re` would keep 80 bytes for each pair of quotes in it.
_QUOTES = re.compile(rb'"+')


def closing_quote(data: bytes, start: int) -> int:
    """Find where a quoted cell ends.

    Args:
        data: Holds the cell.
        start: Of its opening quote.

    Returns:
        The offset behind its closing quote; -1: it is not closed.
    """
    end = data.find(b'"', start + 1) + 1
    if end and not data.startswith(b'"', end):
        return end
    end = start + 1
    while run := _QUOTES.search(data, end):
        end = run.end()
        if (end - run.start()) % 2:
            return end
    return -1


def unquoted(cell: bytes) -> bytes:
    """Take a cell out of its quotes, if it has any.

    Args:
        cell: With nothing behind its closing quote.
    """
    return cell[1:-1].replace(b'""', b'"') if cell.startswith(b'"') else cell


def last_line_end_outside_quotes(data: bytes) -> int:
    """Find the end of the last line that ends outside quotes, taking every quote for an opening or closing one.

    Args:
        data: Begins at the start of a record.

    Returns:
        The number of bytes up to and with the LF; 0: there is none.
    """
    is_inside = data.count(b'"') % 2 == 1
    end = len(data)
    while True:
        line_end = data.rfind(b"\n", 0, end)
        is_inside ^= data.count(b'"', line_end + 1, end) % 2 == 1
        if line_end < 0 or not is_inside:
            return line_end + 1
        # the lines before it are inside too, as far as there is no quote
        end = data.rfind(b'"', 0, line_end) + 1


def count_lines(data: bytes) -> int:
    """Count the ends of physical lines."""
    lines = data.count(b"\n")
    # CR LF is one end of line, and so is CR alone.
    return lines + data.count(b"\r") - data.count(b"\r\n") if b"\r" in data else lines


class Record(NamedTuple):
    """A record within a block of text.

    Attributes:
        start: The offset of its first byte.
        width: How many cells it has.
        is_blank: Whether it is a line with nothing on it.
        has_text_behind_quote: Whether there is text between a closing quote and the next delimiter.
    """

    start: int
    width: int
    is_blank: bool
    has_text_behind_quote: bool


class Syntax:
    """Records and cells of text with this delimiter.

    Args:
        delimiter: One ASCII character.
    """

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter.encode()
        sep = rf"\x{ord(delimiter):02x}"
        self._stop = re.compile(rf"{sep}|\r\n|\r|\n".encode())
        self._quoted_cell_or_line_end = re.compile(rf'{sep}"|\r\n|\r|\n'.encode())
        # In RE2's syntax: as many sound cells as there are, and then one with text behind its closing quote. RE2 takes
        # one pass over the block and no memory, whatever is in it.
        text, quoted = rf'[^"{sep}\r\n][^{sep}\r\n]*', '"(?:[^"]|"")*"'
        self._text_behind_quote = rf'\A(?:(?:{quoted}|{text})?[{sep}\r\n])*{quoted}[^"{sep}\r\n]'

    def has_text_behind_quote(self, block: bytes, size: int) -> bool:
        """Whether a cell has text between its closing quote and the next delimiter or end of line.

        Args:
            block: Begins at the start of a record.
            size: How many bytes of it count; they may end anywhere.
        """
        if block.find(b'"', 0, size) < 0:
            return False
        offsets = pa.py_buffer(array("q", [0, size]))
        whole = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(block)])
        return bool(pc.match_substring_regex(whole, self._text_behind_quote)[0].as_py())

    def first_record(self, data: bytes, start: int) -> tuple[list[bytes], int]:
        """Take a record apart.

        Args:
            data: Holds the record.
            start: Of the record.

        Returns:
            Its cells as they are written, and the offset behind its end of line. A cell that is not closed is the last,
            and reaches to the end of `data`.
        """
        cells = []
        while True:
            text = closing_quote(data, start) if data.startswith(b'"', start) else start
            stop = self._stop.search(data, text) if text >= 0 else None
            cells.append(data[start : stop.start() if stop else len(data)])
            if stop is None or stop[0] != self._delimiter:
                return cells, stop.end() if stop else len(data)
            start = stop.end()

    def records(self, block: bytes) -> Iterator[Record]:
        """Each record of a block.

        Args:
            block: Begins at the start of a record; the last record may be cut off.
        """
        start = 0
        while start < len(block):
            at, width, is_sound = start, 1, True
            while True:
                if block.startswith(b'"', at):
                    at = closing_quote(block, at)
                    if at < 0:
                        yield Record(start, width, False, not is_sound)
                        return
                    is_sound = is_sound and block[at : at + 1] in (b"", b"\r", b"\n", self._delimiter)
                stop = self._quoted_cell_or_line_end.search(block, at)
                end = stop.start() if stop else len(block)
                width += block.count(self._delimiter, at, end)
                if stop is None or stop[0][:1] != self._delimiter:
                    break
                width += 1
                at = end + 1
            yield Record(start, width, end == start, not is_sound)
            start = stop.end() if stop else len(block)
