"""Which rows a scan has seen, exactly, in memory that does not grow with the collection.

The ids of a scan go into a temporary database of SQLite's: it stays in memory while it is small, and moves to a
temporary file, which nobody else can open, when it is not. A set of a million ids would take a hundred megabytes; a set
of their hashes less, but then two rows could be taken for one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

# A database without a name: private, temporary, and on disk only when it outgrows the cache (SQLite docs: In-Memory
# Databases, "Temporary Databases").
TEMPORARY = ""


class SeenIds:
    """A set of texts that can only grow. One thread at a time may use it."""

    def __init__(self) -> None:
        # dlt may resume a generator in another of its threads, one after another
        self._database = sqlite3.connect(TEMPORARY, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (id TEXT PRIMARY KEY) WITHOUT ROWID")

    def __contains__(self, identifier: str) -> bool:
        return self._database.execute("SELECT 1 FROM seen WHERE id = ?", (identifier,)).fetchone() is not None

    def add(self, identifiers: Iterable[str]) -> list[bool]:
        """Add ids.

        Returns:
            For each, whether it was new.
        """
        insert = "INSERT OR IGNORE INTO seen VALUES (?)"
        return [self._database.execute(insert, (identifier,)).rowcount == 1 for identifier in identifiers]

    def close(self) -> None:
        """Forget everything."""
        self._database.close()
