"""The definition of a table that is made of API records: its columns, its key, and its nested tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from dlt.common.schema.typing import TTableReferenceParam, TTableSchemaColumns

from ometria_source.api.client import JsonObject
from ometria_source.naming import Field

# What Ometria puts before the names of some fields (seen in public clients, and in Fivetran's schema).
FIELD_PREFIXES = "@_"


@dataclass(frozen=True)
class RecordTable:
    """What the rows of a table are made of.

    Attributes:
        name: Of the table.
        key: Its primary key. A child's begins with that of its parent.
        columns: The documented ones; `a__b` is the field `b` of the object `a`.
        renames: Columns by field, where the two differ; a path is one more way to write a column.
        references: To other tables.
        nested_in: The field of the parent's record that is a list of these; empty for a table of its own.
        number: The column that counts the records of one parent, from 1; None: they have ids.
        children: Tables of what is nested in these records.
        prepare: Changes a record before anything else sees it.
    """

    name: str
    key: tuple[str, ...]
    columns: TTableSchemaColumns
    renames: Mapping[Field, str] = field(default_factory=dict)
    references: TTableReferenceParam = ()
    nested_in: str = ""
    number: str | None = None
    children: tuple[RecordTable, ...] = ()
    prepare: Callable[[JsonObject], JsonObject] | None = None

    def family(self) -> Iterator[RecordTable]:
        """The table, and all that is nested in it."""
        yield self
        for child in self.children:
            yield from child.family()
