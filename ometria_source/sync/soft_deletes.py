"""Soft deletes: rows no longer in Ometria are kept, with the time in `deleted_at`.

At the end of a table's rows, those at the destination that were not seen again in what was read completely are read
back, and loaded again with the time. They are part of the same load package: at no time is a row neither there nor
marked as deleted, and a failed run marks none.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import islice
from typing import IO, Any

import dlt
from dlt.common.data_types import coerce_value, py_type_to_sc_type
from dlt.common.destination.client import JobClientBase
from dlt.common.schema import Schema
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.destinations.job_client_impl import SqlJobClientBase

from ometria_source.sync.deletes import COMPLETE_SCAN_MARKER
from ometria_source.sync.rows import Row
from ometria_source.sync.steps import DeduplicateKeys, Key, as_text

# Columns that dlt fills by itself.
DLT_COLUMNS = "_dlt_"

# Rows that are fetched at a time; a guess between memory and overhead.
ROWS_AT_A_TIME = 5_000

# When a row was first missed.
DELETED_AT = "deleted_at"

# Distinguishes our column from one of this name that an account's own export has.
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


class DestinationTable:
    """What the destination holds of a table.

    Args:
        client: Of the destination, open.
        name: Of the table, which exists there.
        columns: Those that the schema knows and the destination has, without dlt's.
        unless: The rows where this column is not null are left out, if the destination has it.
    """

    def __init__(self, client: SqlJobClientBase, name: str, columns: TTableSchemaColumns, unless: str) -> None:
        self._sql = client.sql_client
        self._name = self._sql.make_qualified_table_name(name)
        self._columns = {column: hints for column, hints in columns.items() if column != unless}
        self._wanted = f"{self._sql.escape_column_name(unless)} IS NULL" if unless in columns else "1 = 1"

    def values(self, column: str) -> Iterator[str]:
        """The different values of a column of texts."""
        for rows in self._fetch(f"DISTINCT {self._sql.escape_column_name(column)}", self._wanted, ()):
            yield from (value for (value,) in rows)

    def rows(self, column: str, values: Sequence[str]) -> Iterator[list[Row]]:
        """Rows that have one of these values in a column, as a resource would yield them; nulls are left out."""
        columns = ", ".join(map(self._sql.escape_column_name, self._columns))
        places = ", ".join(["%s"] * len(values))
        condition = f"{self._wanted} AND {self._sql.escape_column_name(column)} IN ({places})"
        kinds = [(name, hints["data_type"]) for name, hints in self._columns.items()]
        for rows in self._fetch(columns, condition, values):
            yield [
                {
                    name: _read_back(kind, value)
                    for (name, kind), value in zip(kinds, row, strict=True)
                    if value is not None
                }
                for row in rows
            ]

    def _fetch(self, columns: str, condition: str, values: Sequence[str]) -> Iterator[Sequence[Sequence[Any]]]:
        # names are escaped by dlt, values are parameters
        query = f"SELECT {columns} FROM {self._name} WHERE {condition}"  # noqa: S608
        with self._sql.execute_query(query, *values) as cursor:
            while rows := cursor.fetchmany(ROWS_AT_A_TIME):
                yield rows


@contextmanager
def destination_table(name: str, schema: Schema, unless: str) -> Iterator[DestinationTable | None]:
    """A table of the running pipeline's destination.

    Args:
        name: Of the table.
        schema: The pipeline's.
        unless: As for `DestinationTable`.

    Yields:
        None where the destination has no such table.
    """
    pipeline = dlt.current.pipeline()
    if schema.name not in pipeline.schemas:
        # this is the first run
        yield None
        return
    with pipeline.destination_client(schema.name) as client:
        columns = _columns_there(client, name, schema)
        yield (
            DestinationTable(client, name, columns, unless)
            if isinstance(client, SqlJobClientBase) and columns
            else None
        )


def _columns_there(client: JobClientBase, name: str, schema: Schema) -> TTableSchemaColumns:
    if not isinstance(client, SqlJobClientBase) or name not in schema.tables:
        return {}
    _, there = client.get_storage_table(name)
    fold = client.capabilities.casefold_identifier
    return {
        column: hints
        for column, hints in schema.tables[name]["columns"].items()
        if fold(column) in there and "data_type" in hints and not column.startswith(DLT_COLUMNS)
    }


def _read_back(kind: Any, value: Any) -> Any:
    """A value as a resource yields it: some destinations give JSON, instants or booleans in types of their own."""
    if kind == "json":
        return json.loads(value) if isinstance(value, str) else value
    return coerce_value(kind, py_type_to_sc_type(type(value)), value)


class KeepDeletedRows(DeduplicateKeys):
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
        return [row for row in single if COMPLETE_SCAN_MARKER not in self._key_of(row)]

    def _note(self, key: Key) -> None:
        """Take note of what a marker says was read whole."""
        if COMPLETE_SCAN_MARKER not in key:
            return
        named = [(column, value) for column, value in zip(self._key, key, strict=True) if value != COMPLETE_SCAN_MARKER]
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
        with destination_table(self._table, dlt.current.source_schema(), unless=DELETED_AT) as table:
            if table is None:
                return
            if self._is_complete:
                yield from self._unseen(table, self._key[0], self._values_there(table))
            else:
                for column, values in self._parts.items():
                    yield from self._unseen(table, column, _lines(values))

    def _values_there(self, table: DestinationTable) -> Iterator[str]:
        """The values of the key's first column that may have vanished; put aside, as one query has to end first."""
        with tempfile.TemporaryFile("w+", encoding="utf-8") as notes:
            for value in table.values(self._key[0]):
                if len(self._key) > 1 or as_text((value,)) not in self._seen:
                    notes.write(json.dumps(value) + "\n")
            yield from _lines(notes)

    def _unseen(self, table: DestinationTable, column: str, values: Iterator[str]) -> Iterator[list[Row]]:
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
