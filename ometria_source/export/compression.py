"""Decompress the bytes of a file, and unpack zip archives, a bounded piece at a time.

Decompressing here, rather than through `gzip` or Arrow, keeps two things apart that both raise OSError there: a damaged
file (an `UnreadableFileError`) and a bucket that fails while it is read (its own error, left as it is). It is as fast:
all of them spend their time in the same libraries.
"""

from __future__ import annotations

import io
import lzma
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal, TypeVar

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.formats import is_hidden
from ometria_source.export.retry import WatchedStream

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Bytes asked of the file at a time, and the most that inflating may give at a time: a small file that inflates to
# gigabytes still costs no more memory than this.
PIECE_BYTES = 1 << 20

# zlib's window bits for a gzip header and checksum.
_GZIP_WINDOW = 31


def stored_pieces(stream: BinaryIO) -> Iterator[bytes]:
    """The bytes of a file as it is stored, in pieces of at most `PIECE_BYTES`, none of them empty."""
    return iter(lambda: stream.read(PIECE_BYTES), b"")


def unpacked(path: str, stored: Iterator[bytes], compression: Literal["gzip", "zstd"] | None) -> Iterator[bytes]:
    """Undo the compression of a file.

    Args:
        path: For error messages.
        stored: The file as it is stored, in pieces.
        compression: What to undo.

    Returns:
        Pieces of at most `PIECE_BYTES` decompressed bytes, none of them empty; without compression, `stored`.

    Raises:
        UnreadableFileError: The file is not compressed as told, is damaged, or ends too early.
    """
    if compression is None:
        return stored
    return _gunzip(path, stored) if compression == "gzip" else _unzstd(path, stored)


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


def _unzstd(path: str, stored: Iterator[bytes]) -> Iterator[bytes]:
    decompressor = None
    first_frame = True
    for piece in stored:
        rest = piece
        while rest or (decompressor is not None and not decompressor.needs_input):
            if decompressor is None:
                decompressor = zstd.ZstdDecompressor()
            try:
                text = decompressor.decompress(rest, PIECE_BYTES)
            except zstd.ZstdError:
                problem = "is not zstd, or is damaged" if first_frame else "holds damaged zstd data"
                raise UnreadableFileError(path, problem) from None
            if text:
                yield text
            rest = b""
            if decompressor.eof:
                rest, decompressor, first_frame = decompressor.unused_data, None, False
    if decompressor is not None:
        raise UnreadableFileError(path, "ends in the middle of its zstd data: it was cut off")


Result = TypeVar("Result")

# What `zipfile` and the libraries below it raise for a file that is damaged, encrypted, or packed in a rare way.
FAULTS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError)


def members(path: str, stream: BinaryIO) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Open the files in a zip, in its order; folders and hidden names, such as `__MACOSX`, are left out.

    Args:
        path: For error messages.
        stream: The zip, seekable.

    Yields:
        Name and content, in pieces of at most `PIECE_BYTES`; to be read before the next one is taken. Nothing for a
        stream of zero bytes.

    Raises:
        UnreadableFileError: It is no zip, is damaged or encrypted. Errors of `stream` pass through.
    """
    watched = WatchedStream(stream)
    if not watched.seek(0, io.SEEK_END):
        return
    with _attempt(watched, path, lambda: zipfile.ZipFile(watched)) as archive:
        for member in archive.infolist():
            if not member.is_dir() and not is_hidden(member.filename):
                yield member.filename, _content(watched, f"{path}/{member.filename}", archive, member)


def _content(watched: WatchedStream, path: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    with _attempt(watched, path, lambda: archive.open(member)) as content:
        while piece := _attempt(watched, path, lambda: content.read(PIECE_BYTES)):
            yield piece


def _attempt(watched: WatchedStream, path: str, read: Callable[[], Result]) -> Result:
    try:
        return read()
    except FAULTS:
        pass
    # outside of the handler, because the fault's own text may quote what it read
    raise watched.failure or UnreadableFileError(path, "is not a zip file, is damaged, or needs a password")
