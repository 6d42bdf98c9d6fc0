"""Tables that keep their past: dlt's `scd2`, one row for each version of a record.

What is in a table, and what its merge means, changes with it: so a table that was loaded goes neither in nor out of it
without being loaded anew.
"""

from __future__ import annotations

from dlt.common.schema import Schema
from dlt.common.schema.typing import TTableSchema
from dlt.common.schema.utils import has_table_seen_data
from dlt.extract import DltResource

from ometria_source.exceptions import InvalidSettingError

# The tables that can keep it: a log has no past versions, and a pair of ids that comes and goes has no content.
TABLES_WITH_HISTORY = ("profiles", "lists")

HISTORY = "scd2"


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
    anew = f"with `--tables {name} --full-refresh`"
    if wanted:
        problem = f"names `{name}`, which was loaded without. Nothing was read. Load it anew {anew}, or take it out."
    else:
        problem = (
            f"does not name `{name}` any more, whose history was kept. Nothing was read. Load it anew {anew}, which "
            "gives up its past, or name it again."
        )
    raise InvalidSettingError("history", problem)
