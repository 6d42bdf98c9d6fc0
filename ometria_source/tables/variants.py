"""Values that dlt would bend to fit a column: they go to the variant column that it makes for any other two types.

It would write an object into a column of text as text, take any number for a date or for true, and nobody be told; an
integer beyond 64 bits would break the load. It cannot discard from rows what its extraction was told of, so the
contract is applied here.
"""

from __future__ import annotations

import dlt
from dlt.common.data_types import TDataType
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.common.typing import TDataItems
from dlt.extract.items import TableNameMeta

from ometria_source.exceptions import SchemaContractError
from ometria_source.tables.rows import Row

_INT64 = range(-(2**63), 2**63)


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
        is_bent = (
            known == "date"
            or (known == "bool" and value not in (0, 1))
            or (known == "bigint" and not _fits_bigint(value))
        )
        if not is_bent:
            return None
        return "bigint" if isinstance(value, int) else "double"


def _fits_bigint(value: str | float) -> bool:
    """Whether a value is an integer of 64 bits, or none at all, which dlt sees by itself."""
    try:
        return int(value) in _INT64
    except (ValueError, OverflowError):
        return True
