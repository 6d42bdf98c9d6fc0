"""Snapshot tables: complete scans, nested tables, and the final extract step that each merge strategy needs.

A module in `tables/` defines the columns of each table. This module has what they share: from a record to rows, and
from a complete scan to the marker that removes the rows no longer in Ometria. The rows of a nested table come and go
with their parent's: a merge replaces those of each parent that was read. A parent without nested rows yields a row
whose parent id has the marker in front, where the scan has no end that covers it.

The resources yield the rows that they read, and markers for what they read completely (`deletes`, `member_lists`). The
merge strategy decides what happens next:

* `delete-insert`: rows and markers are staged, the markers without passing a user's steps; marked rows that were not
  read again are deleted.
* `cdc`, `scd2`: the same, but dlt does not look for repeated keys in a batch: they are deduplicated first.
* `scd2`: each row carries its version, so that an unchanged row that is read again is not a new version.
* Soft deletes (not under `scd2`, where a closed row says the same): `soft_deletes`.

All of this happens in one step behind all others, a user's `add_map` included, because it must see the keys as they are
loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, cast

import dlt
from dlt.common.configuration.container import Container
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.schema.typing import TDeleteInsertStrategyDict, TTableSchema, TTableSchemaColumns
from dlt.common.schema.utils import get_first_column_name_with_prop, get_validity_column_names
from dlt.common.typing import TDataItems
from dlt.extract import DltResource
from dlt.extract.items import SupportsPipe
from dlt.extract.items_transform import FilterItem, MapItem, MetricsItem, ValidateItem
from dlt.extract.pipe import Pipe

from ometria_source.api.client import Account, JsonObject, OmetriaClient
from ometria_source.exceptions import InvalidSettingError, UnexpectedAnswerError
from ometria_source.naming import PATH_SEPARATOR, ColumnNames
from ometria_source.privacy.apply import RowPrivacy
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.sync.deletes import (
    COMPLETE_SCAN_MARKER,
    IdSketch,
    guard_deletions,
    is_id,
    is_limited,
    is_merged,
    snapshot_merge,
)
from ometria_source.sync.destination import KEEPING, strategy_at
from ometria_source.sync.history import HISTORY, ROW_VERSION, check_history, keeps_history
from ometria_source.sync.metrics import ROWS_EXPECTED, ROWS_READ, UNPROVEN, add_note, counting
from ometria_source.sync.notices import pages_even_if_unproven, report_missing_fields
from ometria_source.sync.protection import begin_privacy, end_privacy
from ometria_source.sync.rows import Row, RowMapper, Variants, flat
from ometria_source.sync.soft_deletes import DELETED_AT, DELETED_AT_COLUMN, DELETED_HINT, KeepDeletedRows
from ometria_source.sync.spec import FIELD_PREFIXES, RecordTable
from ometria_source.sync.steps import AddRowVersions, DeduplicateKeys, Key, RevealHiddenRows, Step, hide_from_steps

# A field of these names gets a suffix, also where the columns are not there: they may be switched on later.
KEPT_COLUMNS = (ROW_VERSION, DELETED_AT)

# What says which rows of the table a batch stands for.
MARKER_HINTS = ("source_filter", "destination_scope")

# Steps that give what follows from an item before they take the next one.
IN_ORDER = (MapItem, FilterItem, ValidateItem, MetricsItem)


def add_final_step(
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
    resource.add_step(_FinalStep(key, columns, unordered, markers, soft_deletes))
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


class _FinalStep(RevealHiddenRows):
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
        step: DeduplicateKeys
        if strategy == HISTORY:
            step = AddRowVersions(self._key, self._columns, self._unordered)
        elif self._soft_deletes:
            self._check_order(resource.name, cast("Pipe", pipe))
            step = KeepDeletedRows(self._key, str(resource.table_name))
        elif strategy == "cdc":
            step = DeduplicateKeys(self._key)
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


def mirror(
    table: RecordTable,
    pages: Callable[[OmetriaClient], Iterator[list[JsonObject]]],
    account: Account,
    allow_deletes: bool,
    privacy: Callable[[str], TablePrivacy],
) -> DltResource:
    """The resource of a table, which its children come with; not selected by default.

    Args:
        table: What its rows are made of.
        pages: Reads the collection to its end.
        account: Where to read.
        allow_deletes: Whether a scan may remove more than a tenth of the table.
        privacy: What is hashed and dropped, by table.
    """
    policies = {member.name: privacy(member.name) for member in table.family()}

    def records() -> Iterator[TDataItems]:
        """All records of a collection, and what is nested in them; read whole on every run.

        Under `add_limit`, the rows of a page count once for each of these tables.

        Yields:
            Lists of rows, page by page: of the table, then of those that come with it. At the end the markers that
            remove what is gone, if it is proven that everything was read.

        Raises:
            ConfigurationError: The table cannot be merged; as `strategy_at`.
            MissingSettingError: `api_key` is not configured.
            MassDeletionError: More than a tenth of the records, and more than ten, are gone, or of what is nested.
            InvalidSettingError: The table was loaded under other privacy settings.
            UnappliedRuleError: A privacy rule for the table found nothing in its rows.
            OmetriaError: As `scan`.
        """
        merged = is_merged()
        begin_privacy(*policies.values())
        client = account.client(table.name)
        state = dlt.current.resource_state()
        limited = is_limited()
        rows = RecordRows(table, policies, marks_childless=merged and limited)
        with counting(client) as metrics:
            if "ids" in state:
                metrics[ROWS_EXPECTED] = IdSketch.from_state(state["ids"]).rows
            for page in pages_even_if_unproven(table.name, pages(client), metrics):
                for record in page:
                    rows.add(record)
                metrics[ROWS_READ] += len(page)
                yield from rows.take()
            rows.warn_about_repeated_keys()
            end_privacy(*((policies[name], names) for name, names in rows.names()))
            if limited or metrics[UNPROVEN]:
                return
            if merged:
                rows.guard(state, allow_deletes)
            rows.note(state)
            if merged:
                yield from rows.markers()

    resource: DltResource = dlt.resource(records, name=table.name, selected=False)
    resource.add_step(RevealHiddenRows())
    # the children first: what a resource has by then, they would inherit
    for child in list(table.family())[1:]:
        resource.apply_hints(
            table_name=child.name,
            primary_key=list(child.key),
            write_disposition=_nested_merge(child.key[0]),
            columns=policies[child.name].columns(),
            references=child.references,
            create_table_variant=True,
        )
    resource.apply_hints(
        primary_key=list(table.key),
        write_disposition=snapshot_merge(*table.key),
        columns=policies[table.name].columns(),
        references=table.references,
    )
    return resource


def _nested_merge(parent_id: str) -> TDeleteInsertStrategyDict:
    """The write disposition of a child: the rows of each parent that was read are replaced."""
    return {
        "disposition": "merge",
        "strategy": "delete-insert",
        "source_filter": f"{parent_id} NOT LIKE '{COMPLETE_SCAN_MARKER}%'",
        "destination_scope": (
            f"({parent_id} IN (SELECT {parent_id} FROM {{staging_table}}) "  # noqa: S608  constants of ours
            f"OR '{COMPLETE_SCAN_MARKER}' || {parent_id} IN (SELECT {parent_id} FROM {{staging_table}}) "
            f"OR EXISTS (SELECT 1 FROM {{staging_table}} WHERE {parent_id} = '{COMPLETE_SCAN_MARKER}'))"
        ),
    }


class RecordRows:
    """Turns the records of one run into rows of a table and of its children.

    Args:
        table: What they are made of.
        policies: What is hashed and dropped, by table.
        marks_childless: Whether a parent without children yields a row of its own.
        parent_key: The key of the parent, of a child.
    """

    def __init__(
        self,
        table: RecordTable,
        policies: Mapping[str, TablePrivacy],
        *,
        marks_childless: bool,
        parent_key: tuple[str, ...] = (),
    ) -> None:
        self._table = table
        self._marks_childless = marks_childless
        derived = (*parent_key, table.number) if table.number else parent_key
        self._mapper = RowMapper(table.name, table.columns, table.renames, derived=derived, prefixes=FIELD_PREFIXES)
        self._protect = RowPrivacy(policies[table.name]).row
        self._is_nested = bool(parent_key)
        self._variants = Variants(self._mapper.names, table.name if self._is_nested else None)
        self._objects = _objects(table)
        self._children = {
            child.nested_in: RecordRows(child, policies, marks_childless=marks_childless, parent_key=table.key)
            for child in table.children
        }
        self._rows: list[Row] = []
        self._fields: set[str] = set()
        self._found = IdSketch()
        self._repeated_keys = 0

    def names(self) -> Iterator[tuple[str, ColumnNames]]:
        """The names of the columns of the table, then of those that come with it."""
        yield self._table.name, self._mapper.names
        for child in self._children.values():
            yield from child.names()

    def add(self, record: JsonObject) -> None:
        """Take in a record of a table of its own.

        Args:
            record: As the API gave it.

        Raises:
            UnexpectedAnswerError: It has no usable key.
        """
        key = self._add(record, {})
        if not all(is_id(value) and not value.startswith(COMPLETE_SCAN_MARKER) for value in key.values()):
            names = ", ".join(f"`{name}`" for name in self._table.key)
            raise UnexpectedAnswerError(f"`{self._table.name}`", f"a record without a usable {names}")

    def _add(self, record: JsonObject, parent: Row, taken: dict[str, Row] | None = None) -> Row:
        """Take in a record; its key, as the API gave it."""
        if self._table.prepare:
            record = self._table.prepare(record)
        nested = {name: record[name] for name in self._children.keys() & record.keys() if _is_nested(record[name])}
        rest = {name: value for name, value in record.items() if name not in nested}
        row = {**self._mapper.row(flat(rest, self._objects, FIELD_PREFIXES)), **parent}
        key = {name: self._key_value(name, row.get(name)) for name in self._table.key}
        if taken is not None:
            key = self._unique_key(key, row, taken)
        protected = self._protect({**row, **key})
        self._variants.admit(protected)
        self._found.add("\n".join(str(protected[name]) for name in self._table.key))
        self._fields.update(protected)
        self._rows.append(protected)
        for name, child in self._children.items():
            child.add_nested(nested.get(name) or [], key)
        return key

    def add_nested(self, records: Sequence[JsonObject], parent: Row) -> None:
        """Take in what is nested in one parent.

        Args:
            records: In their order.
            parent: The parent's key, as the API gave it.
        """
        taken: dict[str, Row] = {}
        for number, record in enumerate(records, 1):
            if self._table.number:
                self._add(record, {**parent, self._table.number: number})
            else:
                self._add(record, parent, taken)
        if not records and self._marks_childless:
            first = self._table.key[0]
            protected = self._protect({first: parent[first]})
            self._rows.append({**self._marker(), first: f"{COMPLETE_SCAN_MARKER}{protected[first]}"})
            for child in self._children.values():
                child.add_nested([], parent)

    def take(self) -> Iterator[TDataItems]:
        """All rows since the last call, as dlt takes them."""
        rows, self._rows = self._rows, []
        if rows:
            item = self._variants.split(rows)
            yield hide_from_steps(item) if self._is_nested else item
        for child in self._children.values():
            yield from child.take()

    def markers(self) -> Iterator[TDataItems]:
        """The rows that say that everything was read."""
        yield hide_from_steps(self._variants.split([self._marker()]))
        for child in self._children.values():
            yield from child.markers()

    def guard(self, state: dict[str, Any], allow_deletes: bool) -> None:
        """Refuse what a complete scan found, where it would remove much of the table or of one that comes with it.

        Args:
            state: Of the resource; what it keeps for a child is below the child's name.
            allow_deletes: The setting.

        Raises:
            MassDeletionError: As `guard_deletions`.
        """
        if "ids" in state:
            guard_deletions(self._table.name, IdSketch.from_state(state["ids"]), self._found, allow_deletes)
        for child in self._children.values():
            child.guard(state.get(child._table.name, {}), allow_deletes)

    def note(self, state: dict[str, Any]) -> None:
        """Keep what a complete scan found, and report the fields that are gone."""
        report_missing_fields(self._table.name, state, self._fields)
        state["ids"] = self._found.to_state()
        for child in self._children.values():
            child.note(state.setdefault(child._table.name, {}))

    def warn_about_repeated_keys(self) -> None:
        """Warn about rows whose key another row of the same parent has."""
        if self._repeated_keys:
            add_note(
                self._table.name,
                f"{self._repeated_keys} rows have the key of another one of the same parent; a number was added to "
                f"their `{self._table.key[-1]}`",
            )
        for child in self._children.values():
            child.warn_about_repeated_keys()

    def _marker(self) -> Row:
        return {name: 0 if self._is_number(name) else COMPLETE_SCAN_MARKER for name in self._table.key}

    def _unique_key(self, key: Row, row: Row, taken: dict[str, Row]) -> Row:
        """A key that no other row of this parent has, unless both are equal: no document says that they differ."""
        last = self._table.key[-1]
        free, number = key, 1
        while taken.setdefault(json.dumps(list(free.values())), row) != row:
            number += 1
            free = {**key, last: f"{key[last]} ({number})".strip()}
        self._repeated_keys += number > 1
        return free

    def _key_value(self, name: str, value: Any) -> Any:
        """A column of the key, which is never null: text, but for those that count."""
        return value if self._is_number(name) else "" if value is None else str(value)

    def _is_number(self, name: str) -> bool:
        return self._table.columns[name]["data_type"] == "bigint"


def _objects(table: RecordTable) -> frozenset[str]:
    """The columns that flattened objects would have: `totals` and `totals__base` for `totals__base__tax`."""
    paths = [tuple(name.split(PATH_SEPARATOR)) for name in table.columns]
    paths += [field for field in table.renames if isinstance(field, tuple)]
    return frozenset(PATH_SEPARATOR.join(path[:length]) for path in paths for length in range(1, len(path)))


def _is_nested(value: object) -> bool:
    """Whether a value is what a child is made of; anything else stays in the parent, so that it is not lost."""
    return value is None or (isinstance(value, list) and all(isinstance(item, dict) for item in value))
