"""Tables that follow what vanishes, and how each merge strategy does so.

The resources yield the rows that they read, and markers for what they read whole (`deletions`, `member_lists`). What
follows from these depends on how the table is merged:

* `delete-insert`: rows pass, and the markers, which no step of a user's sees; what is marked and was not read again is
  deleted.
* `cdc`, `scd2`: the same, but dlt does not look for keys that come twice in a batch: they are made single first.
* `scd2`: each row bears its version, so that one that was read again unchanged is not a new one.
* Soft deletes (not under `scd2`, where a closed row says the same): `soft_deletes`.

All of this is a step behind all others, a user's `add_map` included, because it must see the keys as they are loaded.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import takewhile
from typing import Any, cast

import dlt
from dlt.common.configuration.container import Container
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.schema.typing import TTableSchema, TTableSchemaColumns
from dlt.common.schema.utils import get_first_column_name_with_prop, get_validity_column_names
from dlt.extract import DltResource
from dlt.extract.items import SupportsPipe
from dlt.extract.items_transform import FilterItem, MapItem, MetricsItem, ValidateItem
from dlt.extract.pipe import Pipe

from ometria_source.exceptions import InvalidSettingError
from ometria_source.tables.history import HISTORY, check_history, keeps_history
from ometria_source.tables.last_steps import Key, OwnRows, SingleKeys, Step, Versions
from ometria_source.tables.rows import ROW_VERSION
from ometria_source.tables.soft_deletes import DELETED_AT_COLUMN, DELETED_HINT, KeptRows
from ometria_source.tables.strategies import KEEPING, strategy_at

# What says which rows of the table a batch stands for.
MARKER_HINTS = ("source_filter", "destination_scope")

# Steps that give what follows from an item before they take the next one.
IN_ORDER = (MapItem, FilterItem, ValidateItem, MetricsItem)


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
        resource.apply_hints(write_disposition=_merge({"strategy": HISTORY}, markers))
    elif soft_deletes:
        resource.apply_hints(columns=DELETED_AT_COLUMN)
    return resource


def ended_at(table: TTableSchema) -> str | None:
    """The column of a table, as it is stored in a schema, that is null in current rows; None: all of them are."""
    if keeps_history(table):
        return get_validity_column_names(table)[1]
    return get_first_column_name_with_prop(table, DELETED_HINT)


def _merge(given: Any, markers: dict[str, Any]) -> Any:
    """A write disposition with what its merge needs to go by the markers."""
    version = {"row_version_column_name": ROW_VERSION} if given.get("strategy") == HISTORY else {}
    return {**markers, **given, **{hint: markers[hint] for hint in MARKER_HINTS}, **version}


class _LastStep(OwnRows):
    """Gives its place to the step that a run needs, if it needs more."""

    def __init__(
        self,
        key: Key,
        columns: TTableSchemaColumns,
        unordered: Collection[str],
        markers: dict[str, Any],
        soft_deletes: bool,
    ) -> None:
        super().__init__()
        self._key = key
        self._columns = columns
        self._unordered = unordered
        self._markers = markers
        self._soft_deletes = soft_deletes

    def bind(self, pipe: SupportsPipe) -> Step:
        """The step of one run, which begins here, before the first row is read.

        Raises:
            InvalidSettingError: As `check_history`, or a step of the user's does not go with soft deletes.
        """
        super().bind(pipe)
        # a pipeline without a destination extracts without its capabilities
        if not self._is_run or DestinationCapabilitiesContext not in Container():
            return self
        capabilities = Container()[DestinationCapabilitiesContext]
        resource = dlt.current.source().resources.with_pipe(pipe)
        schema = dlt.current.source_schema()
        check_history(resource, schema)
        given: Any = resource.write_disposition
        given = given if isinstance(given, dict) else {"disposition": given}
        if given["disposition"] == "merge" and given.get("strategy") not in KEEPING:
            # a hint that a user gives in code replaces ours, and with it what a marker covers
            resource.apply_hints(write_disposition=_merge(given, self._markers))
        strategy = strategy_at(resource, capabilities, schema.tables.get(str(resource.table_name)))
        if strategy is None:
            return self
        step: SingleKeys
        if strategy == HISTORY:
            step = Versions(self._key, self._columns, self._unordered)
        elif self._soft_deletes:
            self._check_order(resource.name, cast("Pipe", pipe))
            step = KeptRows(self._key, str(resource.table_name))
        elif strategy == "cdc":
            step = SingleKeys(self._key)
        else:
            return self
        pipe.replace_gen(step.ended(pipe.gen))
        return step

    def _check_order(self, name: str, pipe: Pipe) -> None:
        """Refuse steps that may still hold rows when the end comes: these rows would look as if they had vanished."""
        before = takewhile(lambda step: step is not self, pipe.steps[1:])
        if not all(isinstance(step, IN_ORDER) for step in before):
            raise InvalidSettingError(
                "deletes",
                f'is "soft", with which a step of `{name}` must not yield: use `add_map` or `add_filter` there.',
            )
