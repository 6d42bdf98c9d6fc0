"""Rows that the destination holds, read back to be loaded again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dlt
from dlt.common.data_types import coerce_value, py_type_to_sc_type
from dlt.common.destination.client import JobClientBase
from dlt.common.schema import Schema
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.destinations.job_client_impl import SqlJobClientBase

from ometria_source.tables.rows import Row

# Columns that dlt fills by itself.
DLT_COLUMNS = "_dlt_"

# Rows that are fetched at a time; a guess between memory and overhead.
ROWS_AT_A_TIME = 5_000


class LoadedTable:
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
def loaded_table(name: str, schema: Schema, unless: str) -> Iterator[LoadedTable | None]:
    """A table of the running pipeline's destination.

    Args:
        name: Of the table.
        schema: The pipeline's.
        unless: As for `LoadedTable`.

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
        yield LoadedTable(client, name, columns, unless) if isinstance(client, SqlJobClientBase) and columns else None


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
