"""Mark the columns of Arrow tables that hold JSON text.

Arrow has no type for JSON that every destination takes, so such a column is text with a mark in its field's metadata.
"""

from __future__ import annotations

import pyarrow as pa

# Field metadata: it stays with the column wherever Arrow takes it.
JSON_FIELD = {b"ometria_source.data_type": b"json"}


def is_json(field: pa.Field) -> bool:
    """Whether a column holds JSON text."""
    return bool(field.metadata and JSON_FIELD.items() <= field.metadata.items())


def json_columns(table: pa.Table) -> list[str]:
    """The names of the columns that hold JSON text."""
    return [field.name for field in table.schema if is_json(field)]


def json_field(name: str) -> pa.Field:
    """Describe a column of JSON text."""
    return pa.field(name, pa.string(), metadata=JSON_FIELD)
