"""The columns of a file in the few Arrow types that every destination takes, and what dlt calls them."""

from __future__ import annotations

import pyarrow as pa

# Marks a text column that holds JSON.
JSON_FIELD = {b"ometria_source.data_type": b"json"}

INSTANT = pa.timestamp("us", tz="UTC")
TIME = pa.time64("us")

# 38 digits, nine of them after the point: what dlt's destinations have in common.
DECIMAL = pa.decimal128(38, 9)


def is_json(field: pa.Field) -> bool:
    """Whether a column holds JSON text."""
    return bool(field.metadata and JSON_FIELD.items() <= field.metadata.items())


def json_columns(table: pa.Table) -> list[str]:
    """The names of the columns that hold JSON text."""
    return [field.name for field in table.schema if is_json(field)]


def data_type_of(field: pa.Field) -> str | None:
    """What dlt calls the type of a column; None for one that holds nothing."""
    kind = field.type
    if is_json(field):
        return "json"
    for test, name in (
        (pa.types.is_null, None),
        (pa.types.is_string, "text"),
        (pa.types.is_boolean, "bool"),
        (pa.types.is_integer, "bigint"),
        (pa.types.is_floating, "double"),
        (pa.types.is_decimal, "decimal"),
        (pa.types.is_timestamp, "timestamp"),
        (pa.types.is_date, "date"),
        (pa.types.is_time, "time"),
    ):
        if test(kind):
            return name
    return "binary"
