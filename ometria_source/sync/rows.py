"""From a JSON object of the API to a row: column names, timestamps, and values of an unexpected type.

Fields keep their names, except where a table renames them and for a leading `@`. A field that Ometria does not document
is kept under its own name; where that name, in snake case, is another column's, it gets a suffix, so that neither value
is lost.

A value that dlt would coerce to fit its column goes to the variant column that dlt makes for any other two types. dlt
would write an object into a text column as text, take any number for a date or for true, without notice; an integer
beyond 64 bits would break the load. dlt cannot discard rows by hints that come with the data, so the schema contract is
applied here.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from datetime import date, datetime, timezone
from functools import lru_cache
from typing import Any

import dlt
from dlt.common.data_types import TDataType
from dlt.common.normalizers.naming.snake_case import NamingConvention
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.common.time import ensure_pendulum_datetime
from dlt.common.typing import TDataItems
from dlt.extract.items import TableNameMeta

from ometria_source.api.client import JsonObject
from ometria_source.exceptions import SchemaContractError
from ometria_source.privacy.hashing import EMAIL

log = logging.getLogger(__name__)

Row = dict[str, Any]

# Ometria puts it before the names of some fields (Ometria docs: Profiles, Lists and Push API).
FIELD_PREFIX = "@"

# The same in every object of a collection (Ometria docs: Profiles and Lists API).
TYPE_FIELD = "@type"

# The same few names come with every row.
in_snake_case = lru_cache(maxsize=4096)(NamingConvention().normalize_path)

_INT64 = range(-(2**63), 2**63)


class RowMapper:
    """Turns the objects of one collection into rows of one table.

    Args:
        table: The table's name, for notices.
        columns: The documented columns. Those of type timestamp and date are read; the rest is left to dlt.
        renames: Column names by field name, where the two differ.
        derived: Columns that no field fills: a field of that name clashes with them.
        prefixes: Characters that are dropped where they stand before a field's name.
    """

    def __init__(
        self,
        table: str,
        columns: TTableSchemaColumns,
        renames: Mapping[str, str],
        derived: Collection[str] = (),
        prefixes: str = FIELD_PREFIX,
    ) -> None:
        self._table = table
        self._columns = columns
        self._renames = renames
        self._prefixes = prefixes
        self._fields: dict[str, str | None] = {name: name for name in columns}
        self._fields.update({column: field for field, column in renames.items()})
        self._fields.update(dict.fromkeys(derived))
        self._reported: set[str] = set()

    def row(self, record: JsonObject) -> Row:
        """The row of one object.

        Args:
            record: As the API gave it.

        Returns:
            Its values by column name. An instant or date that cannot be read stays as it came, which dlt puts into a
            variant column.
        """
        row: Row = {}
        fields: dict[str, str] = {}
        clashing: list[str] = []
        for field, value in record.items():
            if field == TYPE_FIELD:
                continue
            name = field.lstrip(self._prefixes)
            column = self._renames.get(name, name)
            normal = in_snake_case(column)
            if normal != column or self._fields.get(normal, name) != name:
                clashing.append(field)
                continue
            if normal in row:
                # the one without a mark has the name, in whatever order they come
                first, other = sorted((field, fields[normal]), key=lambda spelt: (spelt != name, spelt))
                clashing.append(other)
                field, value = first, record[first]  # noqa: PLW2901
            row[normal], fields[normal] = value, field
        for field in sorted(clashing):
            row[self._free_column(field, row)] = record[field]
        for column in row.keys() & self._columns.keys():
            row[column] = self._read(column, row[column])
        return row

    def _free_column(self, field: str, row: Row) -> str:
        """A column for a field whose name is not in snake case, or is another column's."""
        normal = in_snake_case(field.lstrip(self._prefixes))
        column, number = normal, 1
        while column in row or column in self._fields:
            number += 1
            column = f"{normal}_{number}"
        if column != normal and field not in self._reported:
            self._reported.add(field)
            log.warning(
                "%s: the field `%s` is kept as `%s`, because `%s` is another column",
                self._table,
                shown_name(field),
                column,
                normal,
            )
        return column

    def _read(self, column: str, value: Any) -> Any:
        data_type = self._columns[column].get("data_type")
        if data_type == "timestamp":
            instant = read_instant(value)
            return value if instant is None else instant
        if data_type == "date":
            return read_date(value)
        return value


def shown_name(field: str) -> str:
    """The name of a field as it may be shown: an account may have addresses for names."""
    return EMAIL.sub("…", field)


def flat(record: JsonObject, objects: Collection[str], prefixes: str, within: str = "") -> JsonObject:
    """A record with the fields of some objects beside its own.

    Args:
        record: As the API gave it.
        objects: The columns that these objects would have: `totals`, `totals__base`.
        prefixes: Characters that are dropped where they stand before a field's name.
        within: Where the record is itself, with `__` behind it.

    Returns:
        Fields such as `totals__base__tax`. An object that is null leaves none. A field that meets one of these gets a
        suffix.
    """
    fields: JsonObject = {}
    parts: JsonObject = {}
    for field, value in record.items():
        path = f"{within}{field.lstrip(prefixes)}"
        if in_snake_case(path) in objects and (value is None or isinstance(value, dict)):
            parts.update(flat(value or {}, objects, prefixes, f"{path}__"))
        else:
            fields[path if within else field] = value
    return parts | {(f"{name}_2" if name in parts else name): value for name, value in fields.items()}


def read_instant(value: Any) -> datetime | None:
    """An instant in any of the forms that Ometria documents, in UTC.

    Args:
        value: ISO 8601 with `T` or a space, an offset of two or four digits, with or without a fraction of a second;
            without an offset it is UTC.

    Returns:
        None for what is no text or cannot be read.
    """
    if not isinstance(value, str):
        return None
    try:
        return ensure_pendulum_datetime(value, timezone.utc)
    except (ValueError, OverflowError):
        return None


def read_date(value: Any) -> Any:
    """A date in the documented form `YYYY-MM-DD`; anything else as it came."""
    try:
        return date.fromisoformat(value) if isinstance(value, str) and len(value) == len("YYYY-MM-DD") else value
    except ValueError:
        return value


class Variants:
    """The types of the columns of the running resource.

    Args:
        nested: A table that comes with it; None: its own.
    """

    def __init__(self, nested: str | None = None) -> None:
        resource, schema = dlt.current.resource(), dlt.current.source_schema()
        self._is_nested = nested is not None
        table = nested or str(resource.table_name)
        declared = resource.compute_table_schema(meta=TableNameMeta(table) if self._is_nested else None)
        known = {**declared["columns"], **schema.tables.get(table, {}).get("columns", {})}
        self._table = table
        self._types = {name: str(column["data_type"]) for name, column in known.items() if "data_type" in column}
        self._mode = schema.resolve_contract_settings_for_table(table, declared)["data_type"]
        self._variant_of = schema.naming.shorten_fragments

    def split(self, rows: list[Row]) -> TDataItems:
        """Rows as dlt takes them, with such values in columns of their own.

        Args:
            rows: Of the table; they are changed.

        Raises:
            SchemaContractError: The contract refuses such a column.
        """
        hints: TTableSchemaColumns = {}
        kept = []
        for row in rows:
            is_kept = True
            moved = {column: kind for column, value in row.items() if (kind := self._variant_type(column, value))}
            for column, kind in moved.items():
                variant, value = self._variant_of(column, f"v_{kind}"), row.pop(column)
                mode = "evolve" if variant in self._types else self._mode
                if mode == "freeze":
                    raise SchemaContractError(self._table, variant, "data_type")
                if mode == "evolve":
                    row[variant] = value
                    hints[variant] = {"name": variant, "data_type": kind, "variant": True}
                is_kept = is_kept and mode != "discard_row"
            if is_kept:
                kept.append(row)
        if hints:
            name = self._table if self._is_nested else None
            marked = dlt.mark.make_hints(table_name=name, columns=hints)
            return dlt.mark.with_hints(kept, marked, create_table_variant=self._is_nested)
        return dlt.mark.with_table_name(kept, self._table) if self._is_nested else kept

    def _variant_type(self, column: str, value: object) -> TDataType | None:
        """The data type of a value that has no place in its column; a column seen for the first time sets its type."""
        if isinstance(value, str):
            is_number = self._types.setdefault(column, "text") == "bigint"
            return "text" if is_number and not _fits_bigint(value) else None
        if isinstance(value, dict | list):
            return "json" if self._types.setdefault(column, "json") == "text" else None
        if isinstance(value, bool):
            return "bool" if self._types.setdefault(column, "bool") == "text" else None
        if not isinstance(value, int | float):
            return None
        known = self._types.setdefault(column, "bigint") if isinstance(value, int) else self._types.get(column)
        is_coerced = (
            known == "date"
            or (known == "bool" and value not in (0, 1))
            or (known == "bigint" and not _fits_bigint(value))
        )
        if not is_coerced:
            return None
        return "bigint" if isinstance(value, int) else "double"


def _fits_bigint(value: str | float) -> bool:
    """Whether a value is an integer of 64 bits, or none at all, which dlt sees by itself."""
    try:
        return int(value) in _INT64
    except (ValueError, OverflowError):
        return True
