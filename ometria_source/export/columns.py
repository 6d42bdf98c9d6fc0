"""Marks on columns: of text that holds JSON, which Arrow has no type for that every destination takes, and variants."""

from __future__ import annotations

import pyarrow as pa

# Field metadata: it stays with the column wherever Arrow takes it.
JSON_FIELD = {b"ometria_source.data_type": b"json"}

# On a column for values that another column's type cannot hold.
VARIANT_FIELD = {b"ometria_source.variant": b"true"}


def is_json(field: pa.Field) -> bool:
    """Whether a column holds JSON text."""
    return bool(field.metadata and JSON_FIELD.items() <= field.metadata.items())


def is_variant(field: pa.Field) -> bool:
    """Whether a column is for values that another column's type cannot hold."""
    return bool(field.metadata and VARIANT_FIELD.items() <= field.metadata.items())


def json_columns(table: pa.Table) -> list[str]:
    """The names of the columns that hold JSON text."""
    return [field.name for field in table.schema if is_json(field)]
