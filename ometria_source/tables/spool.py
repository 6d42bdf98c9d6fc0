"""Pages that wait for their turn: in memory while they are few, else in a file that has no name."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any

# Bytes of one list's pages that wait in memory, about 20,000 ids; more go to a temporary file. A guess.
KEPT_IN_MEMORY = 1_000_000


class Spool:
    """Pages of JSON, written to their end and then read once.

    Args:
        pages: Taken to their end, here.
    """

    def __init__(self, pages: Iterable[list[Any]]) -> None:
        self._file: IO[str] = tempfile.SpooledTemporaryFile(KEPT_IN_MEMORY, "w+", encoding="utf-8")  # noqa: SIM115
        try:
            for page in pages:
                # not `writelines`, which leaves memory for the disk only at its end
                self._file.write(json.dumps(page) + "\n")
        except BaseException:
            self._file.close()
            raise
        self._file.seek(0)

    def read(self) -> Iterator[list[Any]]:
        """The pages; when all were read they are gone."""
        with self._file:
            yield from map(json.loads, self._file)
