"""The syntax of delimited text as Arrow's parser sees it, for what Arrow does not tell: names and places.

A quote opens a quoted cell only as its first character; what follows the closing quote is plain text again. A line ends
with LF, CR LF or CR.
"""

from __future__ import annotations

import re

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
