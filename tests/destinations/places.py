"""The places to which the scenarios load, and what was seen there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.libs.pyarrow import get_column_type_from_py_arrow
from dlt.extract.items import TableNameMeta

from ometria_source import ometria_source
from ometria_source.cli.options import PIPELINE_NAME, TABLES
from ometria_source.sync.destination import strategy_at
from ometria_source.tables import PARENTS


@dataclass(frozen=True)
class Place:
    """A destination, and a dataset in it that belongs to one test.

    Attributes:
        destination: What `--destination` calls it.
        dataset: What `--dataset` calls it.
        settings: The environment that leads to it.
        sql_client: The class through which dlt talks to it, for `killed_program`.
        table_format: What the tables are at a destination of files.
        tables: What it can hold.
    """

    destination: str
    dataset: str
    settings: Mapping[str, str]
    sql_client: str
    table_format: str | None = None
    tables: tuple[str, ...] = TABLES

    @property
    def arguments(self) -> tuple[str, ...]:
        """The program's flags that lead here."""
        files = ("--table-format", self.table_format, "--tables", ",".join(self.tables)) if self.table_format else ()
        return ("--destination", self.destination, "--dataset", self.dataset, *files)

    def pipeline(self) -> dlt.Pipeline:
        """The program's pipeline, to look at what it left."""
        return dlt.attach(PIPELINE_NAME, destination=self.destination, dataset_name=self.dataset)

    def rows(self, table: str, dataset: str = "") -> list[dict[str, Any]]:
        """The rows of a table, read back through dlt; values that are stored as another type are read as their own."""
        del dataset
        if self.table_format:
            return self._files(table).to_pylist()
        with self.pipeline().sql_client() as client, client.execute_query(_everything(client, table)) as cursor:
            names = [name.lower() for name in cursor._get_columns()]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        types = declared_types(table) | self.stored_types(table)
        return [{name: _read(value, types.get(name)) for name, value in row.items()} for row in rows]

    def stored_types(self, table: str) -> dict[str, str]:
        """The type of each column as the destination tells it, by dlt's names."""
        if self.table_format:
            types = {field.name: get_column_type_from_py_arrow(field.type) for field in self._files(table).schema}
            return {name: str(column["data_type"]) for name, column in types.items()}
        with self.pipeline().destination_client() as client:
            _, columns = client.get_storage_table(table)
        return {name.lower(): str(column["data_type"]) for name, column in columns.items()}

    def _files(self, table: str) -> pa.Table:
        # not by SQL: DuckDB would fetch an extension
        with self.pipeline().destination_client() as client:
            opened = client.load_open_table(self.table_format, table)
        return opened.to_pyarrow_table() if self.table_format == "delta" else opened.scan().to_arrow()

    def strategies(self) -> dict[str, str | None]:
        """How dlt merges each table here; needs the settings, and no load."""
        pipeline = dlt.pipeline("strategies", destination=self.destination, dataset_name=self.dataset)
        return merge_strategies(pipeline.destination_client().capabilities, self.tables, self.table_format)


def merge_strategies(
    capabilities: Any, tables: Sequence[str] = TABLES, table_format: str | None = None
) -> dict[str, str | None]:
    """How dlt merges each table at a destination with these capabilities."""
    source = ometria_source(table_format=table_format)
    return {name: strategy_at(source.resources[name], capabilities) for name in tables}


def declared_types(table: str) -> dict[str, str]:
    """The declared type of each documented column."""
    parent = PARENTS.get(table, table)
    meta = TableNameMeta(table) if parent != table else None
    columns = ometria_source().resources[parent].compute_table_schema(meta=meta)["columns"]
    return {name: str(column["data_type"]) for name, column in columns.items() if "data_type" in column}


def _everything(client: Any, table: str) -> str:
    return f"SELECT * FROM {client.make_qualified_table_name(table)}"


def _read(value: Any, data_type: str | None) -> Any:
    if value is None:
        return None
    if data_type == "json" and isinstance(value, str):
        return json.loads(value)
    if data_type == "timestamp":
        instant = datetime.fromisoformat(value) if isinstance(value, str) else value
        return instant.replace(tzinfo=timezone.utc) if instant.tzinfo is None else instant
    if data_type == "date" and isinstance(value, str):
        return date.fromisoformat(value)
    if data_type == "bool":
        return bool(value)
    return value
