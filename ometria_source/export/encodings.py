"""Text in any encoding as UTF-8, a piece at a time.

A byte order mark of UTF-8 counts for more than the setting. A file that begins with that of UTF-16 or UTF-32 is never
read in another encoding.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from itertools import chain

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.csv_syntax import count_lines

# The longest first: that of UTF-16 is how that of UTF-32 begins.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Bytes that are looked at before the first piece is handed on: more than the longest mark, and so many that a file of
# events has a delimiter in them. A guess.
_HEAD_BYTES = 4096


def marked_encoding(head: bytes) -> str | None:
    """The encoding that a byte order mark names, as Python does; None: there is no mark.

    Args:
        head: The first four bytes of a file, or more.
    """
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def without_marks(head: bytes) -> bytes:
    """The beginning of a file in UTF-8 without its byte order marks: some programs write two."""
    while head.startswith(codecs.BOM_UTF8):
        head = head.removeprefix(codecs.BOM_UTF8)
    return head


def as_utf8(path: str, pieces: Iterator[bytes], encoding: str | None) -> Iterator[bytes]:
    """Decode the text of a file, and encode it as UTF-8.

    Args:
        path: For error messages.
        pieces: The file's bytes, decompressed.
        encoding: The setting `csv_encoding`, already checked. None: UTF-8, which is handed on as it is, not checked.

    Returns:
        Pieces of at most three times the length.

    Raises:
        UnreadableFileError: The text is not in this encoding.
    """
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= _HEAD_BYTES:
            break
    marked = marked_encoding(head)
    pieces = chain([head] if head else [], pieces)
    expected = "utf-8" if encoding is None else codecs.lookup(encoding).name
    if marked in ("utf-16", "utf-32") and not expected.startswith(marked):
        named = "not UTF-8 text" if encoding is None else f"not {encoding} text"
        raise UnreadableFileError(
            path, f'is {named} but {marked.upper()}, by its first bytes: set `csv_encoding = "{marked}"`', 1
        )
    if encoding is None or marked == "utf-8" or not head:
        return pieces
    if expected in ("utf-16", "utf-32") and marked is None:
        # Python would take the byte order of this machine
        raise UnreadableFileError(
            path,
            f"has no byte order mark of {expected.upper()}: set `csv_encoding` to {expected}-le or {expected}-be, "
            "if it is one of them",
            1,
        )
    if expected.startswith(("utf-16", "utf-32")) and not head.decode(expected, "ignore").encode("ascii", "ignore"):
        # no delimiter and no end of line: other text, or another byte order, would pass for one long Chinese name
        raise UnreadableFileError(path, f"is not {encoding} text", 1)
    return _decoded(path, pieces, encoding)


def _decoded(path: str, pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    line = 1
    for piece, is_last in chain(((piece, False) for piece in pieces), [(b"", True)]):
        try:
            text = decoder.decode(piece, is_last).encode()
        except UnicodeError as error:
            # the error holds the text, so it ends here
            before = error.object[: error.start] if isinstance(error, UnicodeDecodeError) else b""
        else:
            line += count_lines(text)
            if text:
                yield text
            continue
        line += count_lines(before.decode(encoding, "ignore").encode())
        raise UnreadableFileError(path, f"is not {encoding} text", line)
