"""Soft deletes: rows that vanish are kept, with the time in `deleted_at`.

At the end of a table's rows, those at the destination that were read whole and not seen again are read back, and loaded
again with the time. They are part of the same load package: there is no moment in which a row is neither there nor
deleted, and a run that fails marks none.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import islice
from typing import IO, Any

import dlt

from ometria_source.tables.deletions import MARKER
from ometria_source.tables.last_steps import Key, SingleKeys, as_text
from ometria_source.tables.loaded import LoadedTable, loaded_table
from ometria_source.tables.rows import DELETED_AT, Row

# Tells our column from one of this name that an account's own export has.
DELETED_HINT = "x-deleted-at"

DELETED_AT_COLUMN: Any = {
    DELETED_AT: {
        DELETED_HINT: True,
        "data_type": "timestamp",
        "description": "When this row was first missed in Ometria (UTC): the start of that scan. Null: it is there.",
    }
}

# Keys in one query; a guess below every destination's limit of parameters.
KEYS_AT_A_TIME = 500


class KeptRows(SingleKeys):
    """Passes rows but no markers; at the end, adds the rows that have vanished.

    Args:
        key: The primary key.
        table: Its name.
    """

    def __init__(self, key: Key, table: str) -> None:
        super().__init__(key)
        self._table = table
        self._started = datetime.now(timezone.utc)
        self._is_complete = False
        # what was read whole in part, by the column that a marker names a value of: one value a line
        self._parts = {column: tempfile.TemporaryFile("w+", encoding="utf-8") for column in key}  # noqa: SIM115

    def close(self) -> None:
        """Let go of the keys that were seen, and of the markers."""
        super().close()
        for values in self._parts.values():
            values.close()

    def _staged(self, rows: list[Row]) -> list[Row]:
        single = self._single(rows)
        for row in single:
            self._note(self._key_of(row))
        return [row for row in single if MARKER not in self._key_of(row)]

    def _note(self, key: Key) -> None:
        """Take note of what a marker says was read whole."""
        if MARKER not in key:
            return
        named = [(column, value) for column, value in zip(self._key, key, strict=True) if value != MARKER]
        self._is_complete = self._is_complete or not named
        for column, value in named:
            self._parts[column].write(json.dumps(value) + "\n")

    def _at_end(self) -> Iterator[list[Row]]:
        try:
            was_read_whole = self._is_complete or any(values.tell() for values in self._parts.values())
            if was_read_whole and not _is_emptied(self._table):
                yield from self._vanished()
        finally:
            self.close()

    def _vanished(self) -> Iterator[list[Row]]:
        with loaded_table(self._table, dlt.current.source_schema(), unless=DELETED_AT) as table:
            if table is None:
                return
            if self._is_complete:
                yield from self._unseen(table, self._key[0], self._values_there(table))
            else:
                for column, values in self._parts.items():
                    yield from self._unseen(table, column, _lines(values))

    def _values_there(self, table: LoadedTable) -> Iterator[str]:
        """The values of the key's first column that may have vanished; put aside, as one query has to end first."""
        with tempfile.TemporaryFile("w+", encoding="utf-8") as notes:
            for value in table.values(self._key[0]):
                if len(self._key) > 1 or as_text((value,)) not in self._seen:
                    notes.write(json.dumps(value) + "\n")
            yield from _lines(notes)

    def _unseen(self, table: LoadedTable, column: str, values: Iterator[str]) -> Iterator[list[Row]]:
        # one list at a time, which may have a million members
        most = 1 if column != self._key[-1] else KEYS_AT_A_TIME
        while some := list(islice(values, most)):
            for rows in table.rows(column, some):
                yield [{**row, DELETED_AT: self._started} for row in self._single(rows)]


def _lines(notes: IO[str]) -> Iterator[str]:
    notes.seek(0)
    yield from map(json.loads, notes)


def _is_emptied(table: str) -> bool:
    """Whether the running package empties a table first (dlt's `refresh`): then nothing of it is kept."""
    state = dlt.current.load_package_state()["state"]
    emptied = [*state.get("dropped_tables", ()), *state.get("truncated_tables", ())]
    return any(dropped["name"] == table for dropped in emptied)
