"""History: dlt's `scd2`, one row for each version of a record, and the hash that distinguishes versions.

History changes what is in a table and what its merge means: so a table that was loaded gets or loses it only with a
full refresh.

The version is a hash of a row's content, not of its spelling. Ometria promises no order of keys or of tags, nor whether
an empty field comes as null or not at all. dlt's own row hash (`scd2`) would take all of these for changes.
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
from dlt.common.schema import Schema
from dlt.common.schema.typing import TTableSchema, TTableSchemaColumns
from dlt.common.schema.utils import has_table_seen_data
from dlt.extract import DltResource

from ometria_source.exceptions import InvalidSettingError
from ometria_source.sync.rows import Row

# The tables that can keep it: a log has no past versions, and a pair of ids that comes and goes has no content.
TABLES_WITH_HISTORY = ("profiles", "lists")

HISTORY = "scd2"

# The column with the version of a row.
ROW_VERSION = "row_version"

DIGEST_BYTES = 16


def keeps_history(table: TTableSchema) -> bool:
    """Whether a table, as hints or as it is stored in a schema, keeps its past."""
    return table.get("x-merge-strategy") == HISTORY


def check_history(resource: DltResource, schema: Schema | None) -> None:
    """Refuse a change of `history` that the table would not survive.

    Args:
        resource: Of the table, with the hints as they are now, those of a user's `apply_hints` included.
        schema: As it is stored; None: there is none, or the table is loaded anew.

    Raises:
        InvalidSettingError: The table was loaded with history and is to have none, or the other way round.
    """
    table = resource.compute_table_schema()
    name = str(table["name"])
    wanted = keeps_history(table)
    stored = schema.tables.get(name) if schema else None
    if stored is None or not has_table_seen_data(stored) or keeps_history(stored) == wanted:
        return
    anew = "with a full refresh"
    if wanted:
        problem = f"names `{name}`, which was loaded without. Nothing was read. Load it anew {anew}, or take it out."
    else:
        problem = (
            f"does not name `{name}` any more, whose history was kept. Nothing was read. Load it anew {anew}, which "
            "gives up its past, or name it again."
        )
    raise InvalidSettingError("history", problem, table=name)


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
