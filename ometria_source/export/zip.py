"""Open the files in a zip, each as pieces of a bounded size.

`zipfile` reads the directory; the files are inflated here. Its own reader takes every method that its Python was built
with, gives all that a piece of bzip2 or lzma unpacks to at once, and takes a file for whole that ends before its size.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export import compression
from ometria_source.export.compression import inflated
from ometria_source.export.formats import is_hidden
from ometria_source.export.retry import WatchedStream

# The most that a zip's directory may have, which is read as a whole: some 100,000 files with paths of a hundred
# characters. In memory it takes ten times as much.
MAX_DIRECTORY_BYTES = 16 << 20

# The methods by their numbers (PKWARE's APPNOTE, section 4.4.5), for the error; two of them are read.
STORED, DEFLATED = 0, 8
METHODS = {
    1: "shrink",
    6: "implode",
    9: "deflate64",
    10: "PKWARE implode",
    12: "bzip2",
    14: "lzma",
    20: "zstd",
    93: "zstd",
    94: "mp3",
    95: "xz",
    96: "jpeg",
    97: "wavpack",
    98: "ppmd",
    99: "AES encryption",
}

# Bits of a file's flags: encrypted, strongly encrypted, and a directory whose values are hidden (section 4.4.4).
_ENCRYPTED = 1 | 1 << 6 | 1 << 13

# The lengths of a local header's name and extra field, which the data follows (section 4.3.7).
_LOCAL_HEADER = struct.Struct("<4s2xH18x2H")
_LOCAL_SIGNATURE = b"PK\3\4"

# zlib's window bits for deflate without a header.
_RAW_WINDOW = -15

# What `zipfile` raises for a directory that is damaged or of a rare kind.
FAULTS = (zipfile.BadZipFile, struct.error, EOFError, OSError, RuntimeError, ValueError)

_NO_ZIP = "is not a zip file, is damaged, or was cut off"
_CUT_OFF = "was cut off in the zip"
_OTHER_END = "is damaged: its data does not end where the zip says"
_ENCRYPTED_FILE = "needs a password, for which there is no setting: pack it again without one"


class Member(NamedTuple):
    """A file in a zip.

    Attributes:
        name: Its path in the zip.
        pieces: Its content, in pieces of at most `compression.PIECE_BYTES`; to be read before the next file's.
    """

    name: str
    pieces: Iterator[bytes]


def members(path: str, stream: BinaryIO) -> Iterator[Member]:
    """Open the files in a zip, in its order; folders and hidden names, such as `__MACOSX`, are left out.

    Args:
        path: For error messages.
        stream: The zip, seekable.

    Yields:
        Each file; nothing for a stream of zero bytes.

    Raises:
        UnreadableFileError: It is no zip, is damaged, encrypted or packed by a method that is not read, or its files
            share bytes. Errors of `stream` pass through.
    """
    watched = _Directory(path, stream)
    if not watched.seek(0, io.SEEK_END):
        return
    found = _directory(path, watched)
    _check_overlap(path, found)
    for member in found:
        if not member.is_dir() and not is_hidden(member.filename):
            content = _content(f"{path}/{member.filename}", stream, member)
            yield Member(member.filename, content)


class _Directory(WatchedStream):
    """A zip whose directory is read, which `zipfile` does in a single call, whatever its size."""

    def __init__(self, path: str, stream: BinaryIO) -> None:
        super().__init__(stream)
        self._path = path

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            limit = MAX_DIRECTORY_BYTES >> 20
            raise UnreadableFileError(self._path, f"is a zip whose list of files is longer than {limit} MiB: divide it")
        return super().read(size)


def _directory(path: str, watched: WatchedStream) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(watched) as archive:
            return archive.infolist()
    except FAULTS:
        pass
    # outside of the handler, because the fault's own text may quote what it read
    raise watched.failure or UnreadableFileError(path, _NO_ZIP)


def _check_overlap(path: str, found: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse files that share bytes, by which 10 MB unpack to terabytes."""
    end = 0
    for member in sorted(found, key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise UnreadableFileError(path, "is a zip whose files share bytes, as no archiver writes: it may be a bomb")
        end = member.header_offset + _LOCAL_HEADER.size + member.compress_size


def _content(path: str, stream: BinaryIO, member: zipfile.ZipInfo) -> Iterator[bytes]:
    size = checksum = 0
    for piece in _unpacked(path, stream, member):
        size += len(piece)
        checksum = zlib.crc32(piece, checksum)
        if size > member.file_size:
            break
        yield piece
    if size != member.file_size or checksum != member.CRC:
        raise UnreadableFileError(path, "is damaged: its size or checksum is not what the zip says")


def _unpacked(path: str, stream: BinaryIO, member: zipfile.ZipInfo) -> Iterator[bytes]:
    stream.seek(member.header_offset)
    head = stream.read(_LOCAL_HEADER.size)
    if len(head) < _LOCAL_HEADER.size:
        raise UnreadableFileError(path, _CUT_OFF)
    signature, flags, name_length, extra_length = _LOCAL_HEADER.unpack(head)
    if signature != _LOCAL_SIGNATURE:
        raise UnreadableFileError(path, "is not where the zip says: the zip is damaged")
    if (flags | member.flag_bits) & _ENCRYPTED:
        raise UnreadableFileError(path, _ENCRYPTED_FILE)
    if member.compress_type not in (STORED, DEFLATED):
        method = METHODS.get(member.compress_type, f"number {member.compress_type}")
        raise UnreadableFileError(path, f"is packed by the method {method}, which is not read: pack it with deflate")
    stream.seek(member.header_offset + _LOCAL_HEADER.size + name_length + extra_length)
    stored = _stored(path, stream, member.compress_size)
    if member.compress_type == STORED:
        yield from stored
        return
    inflater = zlib.decompressobj(_RAW_WINDOW)
    for piece in stored:
        if inflater.eof:
            raise UnreadableFileError(path, _OTHER_END)
        try:
            yield from inflated(inflater, piece)
        except zlib.error:
            raise UnreadableFileError(path, "holds damaged data in the zip") from None
    # of an empty file, some archivers store nothing at all
    if inflater.unused_data or (member.compress_size and not inflater.eof):
        raise UnreadableFileError(path, _OTHER_END)


def _stored(path: str, stream: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        piece = stream.read(min(size, compression.PIECE_BYTES))
        if not piece:
            raise UnreadableFileError(path, _CUT_OFF)
        size -= len(piece)
        yield piece
