"""A file that is read by somebody else's code, which says neither whose fault an error is nor keeps data out of it."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from typing import Any, BinaryIO


class WatchedStream(io.RawIOBase):
    """Passes reads on and keeps the error of one that failed.

    Args:
        stream: A file of a bucket, seekable.

    Attributes:
        failure: The bucket's error, if there was one.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.failure: Exception | None = None

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always, as what it watches."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """As the stream's."""
        data: bytes = self._watch(self._stream.read, -1 if size is None else size)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As the stream's.

        A place before the beginning is the mistake of who seeks it, who may expect what a file on disk answers; streams
        of buckets do not agree about it.

        Raises:
            OSError: The place is before the beginning.
        """
        start: int = 0 if whence == io.SEEK_SET else self._watch(self._stream.seek, 0, whence)
        if start + offset < 0:
            raise OSError(errno.EINVAL, "a place before the beginning of the file")
        place: int = self._watch(self._stream.seek, start + offset)
        return place

    def tell(self) -> int:
        """As the stream's."""
        place: int = self._watch(self._stream.tell)
        return place

    def _watch(self, call: Callable[..., Any], *args: int) -> Any:
        try:
            return call(*args)
        except Exception as error:
            self.failure = error
            raise
