"""JSON as text: how lists and objects are written, and how a column that holds them is marked.

Arrow has no type for JSON that every destination takes, so such a column is text with a mark in its field's metadata.
"""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa

from ometria_source.export.canonical import decimal_text

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


def json_text(value: Any) -> str:
    """Write a list or an object: sorted keys, no spaces."""
    try:
        option = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
        return orjson.dumps(value, default=_json_default, option=option).decode()
    except orjson.JSONEncodeError:
        # orjson writes 254 levels, and reads 1024.
        return json.dumps(value, default=_json_default, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _json_default(value: Any) -> Any:
    """What orjson does not know, from the nested columns of a parquet file."""
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
