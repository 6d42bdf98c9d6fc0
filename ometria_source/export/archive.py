"""The files in a zip, a bounded piece at a time."""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.compression import PIECE_BYTES
from ometria_source.export.formats import is_hidden
from ometria_source.export.watched import WatchedStream

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
