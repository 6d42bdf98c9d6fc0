"""The last step of a table that follows what vanishes: what becomes of its rows and markers before dlt stages them.

The resources yield the rows that they read, and markers for what they read whole (`deletions`, `member_lists`). What
follows from these depends on how the table is merged:

* `delete-insert`: rows and markers pass; what is marked and was not read again is deleted.
* `cdc`, `scd2`: the same, but dlt does not look for keys that come twice in a batch: they are made single here.
* `scd2`: each row bears its version (`row_versions`), so that one that was read again unchanged is not a new one.
* Soft deletes (not under `scd2`, where a closed row says the same): no marker passes. At the end, the rows at the
  destination that are marked and were not read again are loaded again, with the time in `deleted_at`. They are part of
  the same load package: there is no moment in which a row is neither there nor deleted.

It is a step behind all others, a user's `add_map` included, because it must see the keys as they are loaded.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator
from datetime import datetime, timezone
from itertools import islice
from typing import IO, Any, ClassVar

import dlt
from dlt.common.configuration.container import Container
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.schema.typing import TTableSchema, TTableSchemaColumns
from dlt.common.schema.utils import get_first_column_name_with_prop, get_validity_column_names
from dlt.common.typing import TDataItems
from dlt.extract import DltResource
from dlt.extract.items import SupportsPipe
from dlt.extract.items_transform import ItemTransform

from ometria_source.api.seen import SeenIds
from ometria_source.tables.deletions import MARKER
from ometria_source.tables.history import HISTORY, check_history, keeps_history
from ometria_source.tables.loaded import LoadedTable, loaded_table
from ometria_source.tables.row_versions import row_version
from ometria_source.tables.rows import DELETED_AT, ROW_VERSION, Row
from ometria_source.tables.strategies import strategy_at

# Tells our column from one of this name that an account's own export has.
DELETED_HINT = "x-deleted-at"

DELETED_AT_COLUMN: Any = {
    DELETED_AT: {
        DELETED_HINT: True,
        "data_type": "timestamp",
        "description": "When this row was first missed in Ometria (UTC): the start of that scan. Null: it is there.",
    }
}

# The strategies under which a merge goes by what the markers cover.
COVERED_BY_MARKERS = ("delete-insert", "cdc", HISTORY)

# Keys in one query; a guess below every destination's limit of parameters.
KEYS_AT_A_TIME = 500

Key = tuple[str, ...]


def follow_vanishing(
    resource: DltResource,
    key: Key,
    columns: TTableSchemaColumns,
    *,
    unordered: Collection[str] = (),
    with_history: bool = False,
    soft_deletes: bool = False,
) -> DltResource:
    """Let a table that yields markers keep its past, or the rows that vanish.

    Args:
        resource: Of the table; its write disposition says what its markers cover.
        key: Its primary key.
        columns: Its documented columns.
        unordered: Columns whose lists are sets.
        with_history: Keep each version of a row.
        soft_deletes: Keep rows that vanish, with the time in `deleted_at`; for a table with history it changes nothing.

    Returns:
        The resource.
    """
    markers: Any = resource.write_disposition
    resource.add_step(_LastStep(key, columns, unordered, markers, soft_deletes))
    if with_history:
        resource.apply_hints(write_disposition=_merge(HISTORY, markers))
    elif soft_deletes:
        resource.apply_hints(columns=DELETED_AT_COLUMN)
    return resource


def ended_at(table: TTableSchema) -> str | None:
    """The column of a table, as it is stored in a schema, that is null in current rows; None: all of them are."""
    if keeps_history(table):
        return get_validity_column_names(table)[1]
    return get_first_column_name_with_prop(table, DELETED_HINT)


def _merge(strategy: str, markers: dict[str, Any], given: object = None) -> Any:
    """A write disposition whose merge goes by the markers, whatever a user gave."""
    version = {"row_version_column_name": ROW_VERSION} if strategy == HISTORY else {}
    return {**(given if isinstance(given, dict) else {}), **markers, "strategy": strategy, **version}


class _End(list[Row]):
    """What follows the last rows of a table; being an empty list, it passes all steps unchanged."""


def _ended(rows: Any) -> Iterator[TDataItems]:
    yield from rows
    yield _End()


class _LastStep(ItemTransform[TDataItems, dict[str, Any]]):
    """As long as no pipeline runs it, it changes nothing."""

    # behind the steps and validators of users, before dlt's cursors and limits
    placement_affinity: ClassVar[float] = 0.95

    def __init__(
        self,
        key: Key,
        columns: TTableSchemaColumns,
        unordered: Collection[str],
        markers: dict[str, Any],
        soft_deletes: bool,
    ) -> None:
        super().__init__(lambda item: item)
        self._key = key
        self._columns = columns
        self._unordered = unordered
        self._markers = markers
        self._soft_deletes = soft_deletes

    def bind(self, pipe: SupportsPipe) -> ItemTransform[TDataItems, dict[str, Any]]:
        """The step of one run, which begins here, before the first row is read.

        Raises:
            InvalidSettingError: As `check_history`.
        """
        if DestinationCapabilitiesContext not in Container():
            return self
        capabilities = Container()[DestinationCapabilitiesContext]
        resource = dlt.current.source().resources.with_pipe(pipe)
        check_history(resource, dlt.current.source_schema(), capabilities)
        strategy = strategy_at(resource, capabilities)
        if strategy not in COVERED_BY_MARKERS:
            return self
        # a hint that a user gives in code replaces ours, and with it what a marker covers
        resource.apply_hints(write_disposition=_merge(strategy, self._markers, resource.write_disposition))
        with_history = strategy == HISTORY
        if with_history:
            return _Versions(self._key, self._columns, self._unordered)
        if self._soft_deletes:
            pipe.replace_gen(_ended(pipe.gen))
            return _KeptRows(self._key, str(resource.table_name))
        return self if strategy == "delete-insert" else _SingleKeys(self._key)

    def __call__(self, item: TDataItems, meta: Any = None) -> TDataItems | None:  # noqa: ARG002  dlt passes it
        """Pass everything."""
        return item


class _SingleKeys(ItemTransform[TDataItems, dict[str, Any]]):
    """No key, and no marker, comes twice."""

    def __init__(self, key: Key) -> None:
        super().__init__(lambda item: item)
        self._key = key
        self._seen = SeenIds()

    def __call__(self, item: TDataItems, meta: Any = None) -> TDataItems | None:  # noqa: ARG002  dlt passes it
        """What shall be staged."""
        # an empty one may say something to dlt
        return self._staged(item) if isinstance(item, list) and item else item

    def _staged(self, rows: list[Row]) -> list[Row]:
        return self._single(rows)

    def _single(self, rows: list[Row]) -> list[Row]:
        """The rows whose keys are new."""
        are_new = self._seen.add(_as_text(self._key_of(row)) for row in rows)
        return [row for row, is_new in zip(rows, are_new, strict=True) if is_new]

    def _key_of(self, row: Row) -> Key:
        return tuple(str(row[column]) for column in self._key)


class _Versions(_SingleKeys):
    """Each row bears its version."""

    def __init__(self, key: Key, columns: TTableSchemaColumns, unordered: Collection[str]) -> None:
        super().__init__(key)
        self._columns = columns
        self._unordered = unordered

    def _staged(self, rows: list[Row]) -> list[Row]:
        return [{**row, ROW_VERSION: row_version(row, self._columns, self._unordered)} for row in self._single(rows)]


class _KeptRows(_SingleKeys):
    """Rows that vanish are kept: at the end, they are read from the destination and loaded again.

    Args:
        key: The primary key.
        table: Its name.
    """

    def __init__(self, key: Key, table: str) -> None:
        super().__init__(key)
        self._table = table
        self._started = datetime.now(timezone.utc)
        self._is_complete = False
        # the markers for parts of the table, by the column that they name a value of: one value a line
        self._parts = {column: tempfile.TemporaryFile("w+", encoding="utf-8") for column in key}  # noqa: SIM115

    def __call__(self, item: TDataItems, meta: Any = None) -> TDataItems | None:
        """Rows without markers; at the end, those that have vanished."""
        return self._vanished() if isinstance(item, _End) else super().__call__(item, meta)

    def _staged(self, rows: list[Row]) -> list[Row]:
        single = self._single(rows)
        for row in single:
            self._note(self._key_of(row))
        return [row for row in single if MARKER not in self._key_of(row)]

    def _note(self, key: Key) -> None:
        """Take note of what a marker says was read whole."""
        if MARKER not in key:
            return
        named = [(column, value) for column, value in zip(self._key, key, strict=True) if value != MARKER]
        self._is_complete = self._is_complete or not named
        for column, value in named:
            self._parts[column].write(json.dumps(value) + "\n")

    def _vanished(self) -> Iterator[list[Row]]:
        if _is_dropped(self._table):
            return
        with loaded_table(self._table, dlt.current.source_schema(), unless=DELETED_AT) as table:
            if table is None:
                return
            if self._is_complete:
                yield from self._unseen(table, self._key[0], self._values_there(table))
            else:
                for column, values in self._parts.items():
                    yield from self._unseen(table, column, _lines(values))

    def _values_there(self, table: LoadedTable) -> Iterator[str]:
        """The values of the key's first column that may have vanished; put aside, as one query has to end first."""
        with tempfile.TemporaryFile("w+", encoding="utf-8") as notes:
            for value in table.values(self._key[0]):
                if len(self._key) > 1 or _as_text((value,)) not in self._seen:
                    notes.write(json.dumps(value) + "\n")
            yield from _lines(notes)

    def _unseen(self, table: LoadedTable, column: str, values: Iterator[str]) -> Iterator[list[Row]]:
        # one list at a time, which may have a million members
        most = 1 if column != self._key[-1] else KEYS_AT_A_TIME
        while some := list(islice(values, most)):
            for rows in table.rows(column, some):
                yield [{**row, DELETED_AT: self._started} for row in self._single(rows)]


def _lines(notes: IO[str]) -> Iterator[str]:
    notes.seek(0)
    yield from map(json.loads, notes)


def _as_text(key: Key) -> str:
    return json.dumps(key)


def _is_dropped(table: str) -> bool:
    """Whether the running package empties a table first (dlt's `refresh`): then nothing of it is kept."""
    state = dlt.current.load_package_state()["state"]
    emptied = [*state.get("dropped_tables", ()), *state.get("truncated_tables", ())]
    return any(dropped["name"] == table for dropped in emptied)
