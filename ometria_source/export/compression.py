"""The bytes of a file, decompressed, a bounded piece at a time.

Inflating here, rather than through `gzip` or Arrow, keeps two things apart that both raise OSError there: a damaged
file (an `UnreadableFileError`) and a bucket that fails while it is read (its own error, left as it is). It is as fast:
all three spend their time in zlib.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.formats import Compression

# Bytes asked of the file at a time, and the most that inflating may give at a time: a small file that inflates to
# gigabytes still costs no more memory than this.
PIECE_BYTES = 1 << 20

# zlib's window bits for a gzip header and checksum.
_GZIP_WINDOW = 31


def pieces(path: str, stream: BinaryIO, compression: Compression | None) -> Iterator[bytes]:
    """Read a file from its beginning to its end.

    Args:
        path: For error messages.
        stream: The file as it is stored, open for reading.
        compression: What to undo.

    Yields:
        Pieces of at most `PIECE_BYTES` decompressed bytes, none of them empty.

    Raises:
        UnreadableFileError: The file is not compressed as told, is damaged, or ends too early.
    """
    stored = iter(lambda: stream.read(PIECE_BYTES), b"")
    return stored if compression is None else _gunzip(path, stored)


def _gunzip(path: str, stored: Iterator[bytes]) -> Iterator[bytes]:
    inflater = None
    first_member = True
    for piece in stored:
        rest = piece
        while rest:
            if inflater is None:
                # Tape and block devices pad the last member with zeros; gzip itself ignores them too.
                rest = rest if first_member else rest.lstrip(b"\0")
                if not rest:
                    break
                inflater = zlib.decompressobj(_GZIP_WINDOW)
            full = True
            while full or rest:
                try:
                    text = inflater.decompress(rest, PIECE_BYTES)
                except zlib.error:
                    problem = "is not gzip, or is damaged" if first_member else "holds damaged gzip data"
                    raise UnreadableFileError(path, problem) from None
                if text:
                    yield text
                # A full piece may leave output inside zlib even when all input is used.
                full = len(text) == PIECE_BYTES
                rest = inflater.unconsumed_tail
                if inflater.eof:
                    rest, inflater, first_member = inflater.unused_data, None, False
                    break
    if inflater is not None:
        raise UnreadableFileError(path, "ends in the middle of its gzip data: it was cut off")
