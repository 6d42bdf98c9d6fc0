"""Rows of `email_events`: keys, types, lineage columns and the schema contract.

dlt would apply the contract to each Arrow table by itself. It would take the variant columns for new ones, as they are
made here and not by dlt, and fail where a table that lacks a discarded column follows one that has it. So the contract
is applied here, and nothing is left for dlt to refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import reduce
from itertools import chain
from typing import cast

import dlt
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.data_types import TDataType
from dlt.common.schema import Schema
from dlt.common.schema.typing import TSchemaContractDict, TTableSchemaColumns
from dlt.common.typing import TDataItems

from ometria_source.exceptions import InvalidSettingError, SchemaContractError, UnreadableFileError
from ometria_source.export.batches import constant, cut
from ometria_source.export.json_text import json_columns
from ometria_source.export.row_keys import row_keys
from ometria_source.export.types import ColumnTypes, cast_declared, data_type_of, is_variant
from ometria_source.naming import ColumnNames, Field
from ometria_source.privacy.apply import ArrowPrivacy
from ometria_source.privacy.consistency import replaced_tables
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.shown import nearest, shown_name, without_addresses
from ometria_source.sync.new_columns import NewColumns


class EventContract:
    """Keeps columns out that the table may not get.

    Args:
        table: Its name, for the error.
        contract: What may be added.
        known: The columns that the table has; none: it is new, and takes the columns that it finds.
        earlier: Those, or the ones of the table that a full refresh replaces.
        names: Of the columns of its fields.
        note: Takes a sentence for the user.
    """

    def __init__(
        self,
        table: str,
        contract: TSchemaContractDict,
        known: Collection[str],
        earlier: Collection[str],
        names: ColumnNames,
        note: Callable[[str], None],
    ) -> None:
        self._table = table
        self._contract = contract
        self._known = known
        self._names = names
        self._new = NewColumns(table, {*earlier, *COLUMNS}, contract, note)

    def apply(self, table: pa.Table, declared: Collection[str] = ()) -> pa.Table:
        """The table without what the contract discards.

        Args:
            table: With the columns that it would have in the destination.
            declared: Columns that are configured, which are not counted.

        Raises:
            SchemaContractError: The contract refuses a column.
            TooManyColumnsError: There are more new columns than one run may add.
        """
        discarded = []
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
                discarded.append(field.name)
        table = table.drop_columns(discarded) if discarded else table
        return self._without_too_many(table, declared)

    def _without_too_many(self, table: pa.Table, declared: Collection[str]) -> pa.Table:
        beyond = self._new.left_out((name for name in table.column_names if name not in declared), self._shown)
        self._names.release(beyond)
        for column in beyond if self._new.leaves_out_rows else ():
            table = table.filter(pc.is_null(table.column(column)))
        return table.drop_columns(beyond) if beyond else table

    def _shown(self, column: str) -> str:
        is_showable = _SHOWABLE_NAME.fullmatch(self._names.field(column) or "")
        return shown_name(self._names.shown(column)) if is_showable else "…"


TABLE = "email_events"
KEY = "event_key"

COLUMNS: TTableSchemaColumns = {
    KEY: {
        "data_type": "text",
        "nullable": False,
        "description": "Half of the SHA-256 of the columns in `email_events_key`, else of all cells.",
    },
    "_file_path": {
        "data_type": "text",
        "description": "The file that the row is from, relative to `bucket_url`; `field_` and a hash stand for an "
        "address in it.",
    },
    "_file_modified_at": {
        "data_type": "timestamp",
        "dedup_sort": "desc",
        "description": "When that file was last modified (UTC), or just after, where it was replaced in mid-read. The "
        "newest file wins.",
    },
    "_row_number": {"data_type": "bigint", "description": "The row's place in that file; the first data row is 1."},
}

# What is shown of names that were not configured: those of a file without a header are data.
_SHOWABLE_NAME = re.compile(r"(?!.*[0-9]{5})[A-Za-z][A-Za-z0-9_]*")

_INSTANT = pa.timestamp("us", tz="UTC")


def proposal(name: str, names: Iterable[str]) -> str:
    """The question whether the most similar of some names is meant; empty where none is similar.

    Args:
        name: As it is configured.
        names: Of the columns that there are.
    """
    found = nearest(name, filter(_SHOWABLE_NAME.fullmatch, names))
    return f"; is `{found}` meant?" if found else ""


def dropped_key(name: str) -> InvalidSettingError:
    """The error for a column of `email_events_key` that is left out, without a salt.

    Args:
        name: As it is configured.
    """
    return InvalidSettingError(
        "drop_columns", f"names `{name}`, which is in `email_events_key`: set `pii_salt`, or hash it instead."
    )


class EventRows:
    """Gives the tables of one run's files their keys, types and lineage. Safe to share between threads.

    Args:
        key: The columns that identify an event; None: all cells of a row do.
        declared: Data type (dlt's names) by column, as the user declared it.
        schema: Of the source: names columns, and knows what the destination's table has.
        contract: What may be added to these.
        privacy: What is hashed and dropped.
        dropped: The columns that earlier runs left out, with the hints of their fields.

    Attributes:
        privacy: Does so, and knows which columns came.
        names: The columns of the files that rows were made of, as they are there.
        notes: Sentences for the user about the columns.
    """

    def __init__(
        self,
        key: Sequence[str] | None,
        declared: Mapping[str, str],
        schema: Schema,
        contract: TSchemaContractDict,
        privacy: TablePrivacy,
        dropped: TTableSchemaColumns | None = None,
    ) -> None:
        known = schema.tables.get(TABLE, {}).get("columns", {})
        types = {name: str(column["data_type"]) for name, column in known.items() if "data_type" in column}
        self.notes: list[str] = []
        replaced = replaced_tables().get(TABLE, {}).get("columns", {})
        stored = {**(known or replaced), **(dropped or {})}
        self._names = ColumnNames(stored, schema.naming, COLUMNS, report=self._note_new_name)
        self.privacy = ArrowPrivacy(privacy, self._names)
        self.names: set[str] = set()
        self._policy = privacy
        self._key = key
        self._declared = declared
        self._types = ColumnTypes(types, self._names)
        self._contract = EventContract(TABLE, contract, types, {*types, *replaced}, self._names, self.notes.append)

    @property
    def column_names(self) -> ColumnNames:
        """The columns of the table that the fields of the files have."""
        return self._names

    def check(self, path: str, tables: Iterable[pa.Table]) -> None:
        """Find what is wrong with the rows of a file.

        Args:
            path: The file, relative to the bucket.
            tables: All that was read of it, in its order.

        Raises:
            UnreadableFileError: A column of the key is missing, all of them are null in a row, or a cell cannot be
                read as its declared type.
        """
        for _ in self._typed(path, tables):
            pass

    def make(
        self, path: str, tables: Iterable[pa.Table], modified_at: datetime
    ) -> Generator[pa.Table, None, tuple[int, set[str]]]:
        """Make rows of `email_events` of a file.

        Args:
            path: The file, relative to the bucket.
            tables: All that was read of it, in its order.
            modified_at: When it was modified.

        Yields:
            Tables of a bounded number of rows, with `_file_path` as a dictionary: see `batches.written_out`.

        Returns:
            The number of rows, and the columns of the file under the table's names.

        Raises:
            UnreadableFileError: As `check`; rows before the one that is wrong have been yielded then.
            InvalidSettingError: A column of the key is left out, without a salt.
            SchemaContractError: The rows need a column that may not be added.
            TooManyColumnsError: They need more new columns than one run may add.
        """
        rows = 0
        columns: set[str] = set()

        def noted() -> Iterator[pa.Table]:
            for table in tables:
                self.names.update(table.column_names)
                columns.update(self._names.columns(table.column_names).values())
                yield table

        for table, typed in self._typed(path, noted()):
            # of the cells as they came or were hashed: a type that is declared later changes no key
            keys = row_keys(table, self._key)
            whole = self._with_lineage(self._types.conform(typed), path, modified_at, rows, keys)
            yield self._contract.apply(whole, self._names.columns(self._declared).values())
            rows += len(keys)
        return rows, columns

    def with_hints(self, table: pa.Table) -> TDataItems:
        """A table as dlt takes it.

        Args:
            table: From `make`.

        Returns:
            The table with hints of which columns hold JSON, which are variants, and which field each belongs to.
        """
        hints = self._names.hints(table.column_names)
        for name in json_columns(table):
            hints.setdefault(name, {})["data_type"] = "json"
        for field in filter(is_variant, table.schema):
            hints[field.name] = {"data_type": cast(TDataType, data_type_of(field)), "variant": True}
        return dlt.mark.with_hints(table, dlt.mark.make_hints(columns=hints)) if hints else table

    def absent_columns(self, earlier: Collection[str]) -> dict[str, str]:
        """The declared columns that no file has, each with the question which one is meant.

        Args:
            earlier: Columns that files of earlier runs had, under the table's names.

        Returns:
            Nothing where no file was read.
        """
        if not self.names:
            return {}
        others = set(earlier) - set(self._names.columns(self.names).values())
        absent = [name for name in self._kept() if name not in self.names]
        columns = self._names.columns(absent)
        return {name: proposal(name, self.names) for name in absent if columns[name] not in others}

    def _typed(self, path: str, tables: Iterable[pa.Table]) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Each table as it was read, and with the declared types."""
        rows = 0
        seen: set[str] = set()
        for table in chain.from_iterable(map(cut, tables)):
            seen.update(table.column_names)
            full = self.privacy.protect(self._with_key_columns(table))
            for name in set(self._key or ()) - set(full.column_names):
                raise dropped_key(name)
            self._check_key(path, full, rows, seen)
            yield full, cast_declared(self.privacy.without_dropped(full), path, rows + 1, self._kept())
            rows += table.num_rows
        if seen:
            self._check_columns(path, seen)

    def _note_new_name(self, _: Field, column: str, plain: str) -> None:
        self.notes.append(
            f"two columns of the export are both `{plain}` in the destination; one of them is loaded as `{column}`"
        )

    def _kept(self) -> dict[str, str]:
        """The declared types that hold: a hash is text, whatever is declared."""
        columns = self._names.columns(self._declared)
        return {name: kind for name, kind in self._declared.items() if not self._policy.hides(columns[name])}

    def _with_key_columns(self, table: pa.Table) -> pa.Table:
        """Add what a part of a jsonl file lacks because none of its rows has this field."""
        for name in self._key or ():
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(table.num_rows))
        return table

    def _check_columns(self, path: str, seen: Collection[str]) -> None:
        for name in self._key or ():
            if name not in seen:
                problem = f"the column `{name}` of `email_events_key` is missing{proposal(name, seen)}"
                raise UnreadableFileError(path, problem)

    def _check_key(self, path: str, table: pa.Table, rows_before: int, seen: Collection[str]) -> None:
        if not self._key:
            return
        row = pc.index(reduce(pc.and_, (pc.is_null(table.column(name)) for name in self._key)), True).as_py()
        if row >= 0:
            self._check_columns(path, seen)
            # all such rows would have the same key, and become one
            raise UnreadableFileError(
                path, f"row {rows_before + row + 1} is empty in all columns of `email_events_key`, so it has no key"
            )

    def _with_lineage(
        self, table: pa.Table, path: str, modified_at: datetime, rows_before: int, keys: pa.Array
    ) -> pa.Table:
        rows = len(keys)
        # the key is never null, and a field that could be would make dlt warn for each table
        table = table.append_column(pa.field(KEY, pa.string(), nullable=False), keys)
        for name, values in {
            "_file_path": constant(without_addresses(path), rows),
            "_file_modified_at": pa.repeat(pa.scalar(modified_at, _INSTANT), rows),
            "_row_number": pa.array(range(rows_before + 1, rows_before + rows + 1), pa.int64()),
        }.items():
            table = table.append_column(name, values)
        return table
