"""The schema contract of `email_events`.

dlt would apply it to each Arrow table by itself. It would take the variant columns for new ones, as they are made here
and not by dlt, and fail where a table that lacks a discarded column follows one that has it. So nothing is left for it
to refuse.
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.schema.typing import TSchemaContractDict

from ometria_source.exceptions import SchemaContractError
from ometria_source.export.columns import is_variant


class EventContract:
    """Keeps columns out that the table may not get.

    Args:
        table: Its name, for the error.
        contract: What may be added.
        known: The columns that the table has; none: it is new, and takes the columns that it finds.
    """

    def __init__(self, table: str, contract: TSchemaContractDict, known: Collection[str]) -> None:
        self._table = table
        self._contract = contract
        self._known = known

    def apply(self, table: pa.Table) -> pa.Table:
        """The table without what the contract discards.

        Args:
            table: With the columns that it would have in the destination.

        Raises:
            SchemaContractError: The contract refuses a column.
        """
        for field in table.schema:
            entity = "data_type" if is_variant(field) else "columns"
            if field.name in self._known or (entity == "columns" and not self._known):
                continue
            mode = self._contract["data_type"] if is_variant(field) else self._contract["columns"]
            if mode == "freeze":
                raise SchemaContractError(self._table, field.name, entity)
            if mode == "discard_row":
                table = table.filter(pc.is_null(table.column(field.name)))
            if mode != "evolve":
                table = table.drop_columns(field.name)
        return table
