"""Final extract steps: hide rows from a user's steps, deduplicate keys, add row versions."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any, ClassVar

import dlt
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.common.storages.exceptions import CurrentLoadPackageStateNotAvailable
from dlt.common.typing import TDataItems
from dlt.extract.items import DataItemWithMeta, SupportsPipe
from dlt.extract.items_transform import ItemTransform

from ometria_source.api.offset_scan import SeenIds
from ometria_source.sync.history import ROW_VERSION, row_version
from ometria_source.sync.rows import Row

Key = tuple[str, ...]

Step = ItemTransform[TDataItems, dict[str, Any]]


class EndOfRows(list[Row]):
    """What follows the last rows of a table; being an empty list, it passes a user's steps unchanged."""


class HiddenRows(list[Row]):
    """Rows that are none of the table's: markers, and what is nested. Being an empty list, they pass a user's steps.

    Args:
        rows: The rows.
    """

    def __init__(self, rows: list[Row]) -> None:
        super().__init__()
        self.rows = rows


def hide_from_steps(item: TDataItems) -> TDataItems:
    """An item that no step of a user's shall see.

    Args:
        item: Rows, with or without the hints that dlt takes with them.
    """
    return (
        DataItemWithMeta(item.meta, HiddenRows(item.data)) if isinstance(item, DataItemWithMeta) else HiddenRows(item)
    )


class RevealHiddenRows(Step):
    """In a run, gives dlt what passed the steps of users unseen; elsewhere, only the table's own rows pass."""

    # behind the steps and validators of users, before dlt's cursors and limits
    placement_affinity: ClassVar[float] = 0.95

    def __init__(self) -> None:
        super().__init__(lambda item: item)
        self._is_run = False

    def bind(self, pipe: SupportsPipe) -> Step:  # noqa: ARG002  dlt passes it
        """The step, where it begins to work."""
        self._is_run = is_pipeline_run()
        return self

    def __call__(self, item: TDataItems, meta: Any = None) -> TDataItems | None:  # noqa: ARG002  dlt passes it
        """What shall be staged of an item."""
        if isinstance(item, HiddenRows):
            return item.rows if self._is_run else None
        return item


def is_pipeline_run() -> bool:
    """Whether a pipeline runs, rather than a notebook iterating over a resource."""
    try:
        dlt.current.load_package_state()
    except CurrentLoadPackageStateNotAvailable:
        return False
    return True


class DeduplicateKeys(Step):
    """No key, and no marker, comes twice; `cdc` and `scd2` do not look for it.

    Args:
        key: The primary key.
    """

    def __init__(self, key: Key) -> None:
        super().__init__(lambda item: item)
        self._key = key
        self._seen = SeenIds()

    def ended(self, rows: Any) -> Iterator[TDataItems]:
        """The items of a resource, and then the end, at which this step lets go of what it holds."""
        try:
            yield from rows
        except Exception:
            # not when a limit closes the resource: items may still be on their way
            self.close()
            raise
        yield EndOfRows()

    def close(self) -> None:
        """Let go of the keys that were seen."""
        self._seen.close()

    def __call__(self, item: TDataItems, meta: Any = None) -> TDataItems | None:  # noqa: ARG002  dlt passes it
        """What shall be staged of an item."""
        if isinstance(item, EndOfRows):
            return self._at_end()
        if isinstance(item, HiddenRows):
            item = item.rows
        # an empty list may say something to dlt
        return self._staged(item) if isinstance(item, list) and item else item

    def _staged(self, rows: list[Row]) -> list[Row]:
        return self._single(rows)

    def _at_end(self) -> TDataItems | None:
        self.close()
        return None

    def _single(self, rows: list[Row]) -> list[Row]:
        """The rows whose keys are new."""
        are_new = self._seen.add(as_text(self._key_of(row)) for row in rows)
        return [row for row, is_new in zip(rows, are_new, strict=True) if is_new]

    def _key_of(self, row: Row) -> Key:
        return tuple(str(row[column]) for column in self._key)


class AddRowVersions(DeduplicateKeys):
    """Each row bears its version.

    Args:
        key: The primary key.
        columns: The documented columns.
        unordered: Columns whose lists are sets.
    """

    def __init__(self, key: Key, columns: TTableSchemaColumns, unordered: Collection[str]) -> None:
        super().__init__(key)
        self._columns = columns
        self._unordered = unordered

    def _staged(self, rows: list[Row]) -> list[Row]:
        return [{**row, ROW_VERSION: row_version(row, self._columns, self._unordered)} for row in self._single(rows)]


def as_text(key: Key) -> str:
    """A key as one text."""
    return json.dumps(key)
