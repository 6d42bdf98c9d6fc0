"""What tells two versions of a row apart: a hash of its content, not of its spelling.

Ometria promises no order of keys or of tags, nor whether an empty field comes as null or not at all. dlt's own hash of
a row (`scd2`) would take all of these for changes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

from dlt.common.data_types import coerce_value, py_type_to_sc_type
from dlt.common.schema.typing import TTableSchemaColumns

from ometria_source.tables.rows import Row

DIGEST_BYTES = 16


def row_version(row: Row, columns: TTableSchemaColumns, unordered: Collection[str]) -> str:
    """The version of a row.

    Args:
        row: Values by column name.
        columns: The documented columns, as whose types their values are compared: `"7"` and `7` are one bigint.
        unordered: Columns whose lists are sets: the order of their elements means nothing.

    Returns:
        32 hex digits, the same for every spelling of the same content.
    """
    content = {}
    for column, value in row.items():
        kind = columns.get(column, {}).get("data_type")
        spelt = plain(value if kind is None else _typed(kind, value))
        if isinstance(spelt, list) and column in unordered:
            spelt.sort(key=_text)
        if spelt is not None:
            content[column] = spelt
    return hashlib.blake2b(_text(content).encode(), digest_size=DIGEST_BYTES).hexdigest()


def _typed(kind: Any, value: Any) -> Any:
    """A value as dlt puts it into a column of this type; as it came, where that goes to a variant column."""
    if value is None or isinstance(value, (dict, list)) or (kind == "text" and isinstance(value, str)):
        return value
    try:
        return coerce_value(kind, py_type_to_sc_type(type(value)), value)
    except (ValueError, TypeError):
        return value


def plain(value: Any) -> Any:
    """A value as JSON, with one spelling for a number or an instant; fields that are null are left out."""
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, dict):
        fields = {name: plain(field) for name, field in value.items()}
        return {name: field for name, field in fields.items() if field is not None}
    if isinstance(value, list):
        return [plain(element) for element in value]
    if isinstance(value, (float, Decimal)):
        return int(value) if math.isfinite(value) and value == int(value) else float(value)
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat()
    return value.isoformat() if isinstance(value, date) else value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
