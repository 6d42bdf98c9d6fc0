"""Decompress the bytes of a file, a bounded piece at a time, and end a file that unpacks to far too much.

Decompressing here, rather than through `gzip` or Arrow, keeps two things apart that both raise OSError there: a damaged
file (an `UnreadableFileError`) and a bucket that fails while it is read (its own error, left as it is). It is as fast:
all of them spend their time in the same libraries.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Literal

from ometria_source.exceptions import UnreadableFileError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Bytes asked of the file at a time, and the most that inflating may give at a time: a small file that inflates to
# gigabytes still costs no more memory than this.
PIECE_BYTES = 1 << 20

# Compressed bytes handed to a decompressor at a time. What follows the end of a gzip member or zstd frame is copied: of
# a whole piece, a file of nothing but empty members would cost a second for each of its MiB.
_FED_BYTES = 1 << 16

# zlib's window bits for a gzip header and checksum.
_GZIP_WINDOW = 31

# The window of a zstd frame, which its decompressor holds in memory, as a power of two: 128 MiB. zstd's own limit; only
# `zstd --long=28` and beyond ask for more, up to 2 GiB.
_ZSTD_WINDOW_LOG = 27
_ZSTD_OPTIONS: Mapping[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}

# The most that one compressed file may unpack to. Warehouses unload files of up to a few GiB; a TiB takes half a day to
# read. Where the line is drawn is a guess.
MAX_UNPACKED_BYTES = 1 << 40

# The same for what has to be unpacked to the disk first (a Parquet file that was compressed as a whole): more than the
# temporary folder of most machines holds, and far more than a Parquet file has. A guess.
MAX_TEMPORARY_BYTES = 64 << 30

# The most that a byte may unpack to, once a file has given more than `UNSUSPECTED_BYTES`. Deflate, which is in gzip and
# zip, ends at 1,032, and rows that differ stay far below; only blank data in zstd, or in a file in a zip, gives more.
MAX_RATIO = 2_000
UNSUSPECTED_BYTES = 1 << 30


def stored_pieces(stream: BinaryIO) -> Iterator[bytes]:
    """The bytes of a file as it is stored, in pieces of at most `PIECE_BYTES`, none of them empty."""
    return iter(lambda: stream.read(PIECE_BYTES), b"")


class UnpackedSize:
    """Counts what a file unpacks to, over all files in it, and refuses what is too much.

    Args:
        path: Of the file, for error messages.
        stored_bytes: Its size as it is stored.
    """

    def __init__(self, path: str, stored_bytes: int) -> None:
        self._path = path
        self._stored_bytes = stored_bytes
        self._size = 0

    def count(self, pieces: Iterator[bytes], *, is_temporary: bool) -> Iterator[bytes]:
        """Yield unpacked bytes, as long as there are not too many.

        Args:
            pieces: Of the file, or of a file in it.
            is_temporary: Whether they are put on the disk first.

        Raises:
            UnreadableFileError: There are more than `MAX_UNPACKED_BYTES` (or `MAX_TEMPORARY_BYTES`), or more than
                `MAX_RATIO` for each byte that is stored.
        """
        on_disk = 0
        for piece in pieces:
            self._size += len(piece)
            on_disk += len(piece) if is_temporary else 0
            if self._size > MAX_UNPACKED_BYTES:
                raise self._refusal(f"more than {MAX_UNPACKED_BYTES >> 30:,} GiB: divide it")
            if on_disk > MAX_TEMPORARY_BYTES:
                raise self._refusal(f"more than {MAX_TEMPORARY_BYTES >> 30:,} GiB of Parquet: store it as it is")
            if self._size > UNSUSPECTED_BYTES and self._size > MAX_RATIO * self._stored_bytes:
                raise self._refusal(f"more than {MAX_RATIO:,} times its size, as no data does: it may be a zip bomb")
            yield piece

    def _refusal(self, problem: str) -> UnreadableFileError:
        return UnreadableFileError(self._path, f"unpacks to {problem}")


def unpacked(path: str, stored: Iterator[bytes], compression: Literal["gzip", "zstd"] | None) -> Iterator[bytes]:
    """Undo the compression of a file.

    Args:
        path: For error messages.
        stored: The file as it is stored, in pieces.
        compression: What to undo.

    Returns:
        Pieces of at most `PIECE_BYTES` decompressed bytes, none of them empty; without compression, `stored`.

    Raises:
        UnreadableFileError: The file is not compressed as declared, is damaged, or ends too early.
    """
    if compression is None:
        return stored
    return _gunzip(path, stored) if compression == "gzip" else _unzstd(path, stored)


def _gunzip(path: str, stored: Iterator[bytes]) -> Iterator[bytes]:
    inflater = None
    first_member = True
    for fed in _fed(stored):
        rest = fed
        while rest:
            if inflater is None:
                # Tape and block devices pad the last member with zeros; gzip itself ignores them too.
                rest = rest if first_member else rest.lstrip(b"\0")
                if not rest:
                    break
                inflater = zlib.decompressobj(_GZIP_WINDOW)
            try:
                yield from inflated(inflater, rest)
            except zlib.error:
                problem = "is not gzip, or is damaged" if first_member else "holds damaged gzip data"
                raise UnreadableFileError(path, problem) from None
            rest = b""
            if inflater.eof:
                rest, inflater, first_member = inflater.unused_data, None, False
    if inflater is not None:
        raise UnreadableFileError(path, "ends in the middle of its gzip data: it was cut off")


def inflated(inflater: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """All that some compressed bytes give, in pieces of at most `PIECE_BYTES`, none of them empty.

    Args:
        inflater: Of zlib; what follows the end of its data is left there.
        data: The next bytes for it.

    Raises:
        zlib.error: The data is damaged.
    """
    is_full = True
    while (is_full or data) and not inflater.eof:
        text = inflater.decompress(data, PIECE_BYTES)
        if text:
            yield text
        # A full piece may leave output inside zlib even when all input is used.
        is_full = len(text) == PIECE_BYTES
        data = inflater.unconsumed_tail


def _unzstd(path: str, stored: Iterator[bytes]) -> Iterator[bytes]:
    decompressor = None
    first_frame = True
    for fed in _fed(stored):
        rest = fed
        while rest or (decompressor is not None and not decompressor.needs_input):
            if decompressor is None:
                decompressor = zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)
            try:
                text = decompressor.decompress(rest, PIECE_BYTES)
            except zstd.ZstdError as error:
                problem = _zstd_problem(error, first_frame)
                raise UnreadableFileError(path, problem) from None
            if text:
                yield text
            rest = b""
            if decompressor.eof:
                rest, decompressor, first_frame = decompressor.unused_data, None, False
    if decompressor is not None:
        raise UnreadableFileError(path, "ends in the middle of its zstd data: it was cut off")


def _zstd_problem(error: zstd.ZstdError, is_first_frame: bool) -> str:
    # zstd has a code for this, which only reaches Python as words
    if "too much memory" in str(error):
        size = 1 << _ZSTD_WINDOW_LOG >> 20
        return f"needs a zstd window of more than {size} MiB of memory; compress it again without `--long`"
    return "is not zstd, or is damaged" if is_first_frame else "holds damaged zstd data"


def _fed(stored: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of at most `_FED_BYTES`."""
    for piece in stored:
        for start in range(0, len(piece), _FED_BYTES):
            yield piece[start : start + _FED_BYTES]
