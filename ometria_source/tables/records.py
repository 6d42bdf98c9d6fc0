"""Tables that mirror a collection of the account by complete scans, and the tables of what is nested in its records.

A module of its own says for each of them what its columns are. Here is what they share: from a record to rows, and from
a complete scan to the marker that removes what is gone.

A child's rows come and go with their parent's: a merge replaces those of each parent that was read. A parent that has
none is told by a row whose parent id has the marker in front, where the scan has no end that covers it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dlt
from dlt.common.schema.typing import TDeleteInsertStrategyDict, TTableReferenceParam, TTableSchemaColumns
from dlt.common.typing import TDataItems
from dlt.extract import DltResource

from ometria_source.api.account import Account
from ometria_source.api.client import JsonObject, OmetriaClient
from ometria_source.exceptions import UnexpectedAnswerError
from ometria_source.privacy.json_rows import RowPrivacy
from ometria_source.privacy.policy import TablePrivacy
from ometria_source.tables.deletions import (
    MARKER,
    IdSketch,
    guard_deletions,
    is_id,
    is_limited,
    is_merged,
    snapshot_merge,
)
from ometria_source.tables.fields import note_complete
from ometria_source.tables.last_steps import OwnRows, beside
from ometria_source.tables.metrics import ROWS_EXPECTED, ROWS_READ, counting
from ometria_source.tables.privacy_state import begin
from ometria_source.tables.rows import Row, RowMapper, flat
from ometria_source.tables.variants import Variants

log = logging.getLogger(__name__)

# What Ometria puts before the names of some fields (seen in public clients, and in Fivetran's schema).
MARKS = "@_"


@dataclass(frozen=True)
class RecordTable:
    """What the rows of a table are made of.

    Attributes:
        name: Of the table.
        key: Its primary key. A child's begins with that of its parent.
        columns: The documented ones; `a__b` is the field `b` of the object `a`.
        renames: Columns by field, where the two differ.
        references: To other tables.
        nested_in: The field of the parent's record that is a list of these; empty for a table of its own.
        number: The column that counts the records of one parent, from 1; None: they have ids.
        children: Tables of what is nested in these records.
        prepare: Changes a record before anything else sees it.
    """

    name: str
    key: tuple[str, ...]
    columns: TTableSchemaColumns
    renames: Mapping[str, str] = field(default_factory=dict)
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
            remove what is gone.

        Raises:
            ConfigurationError: The table cannot be merged; as `strategy_at`.
            MissingSettingError: `api_key` is not configured.
            MassDeletionError: More than a tenth of the records, and more than ten, are gone, or of what is nested.
            InvalidSettingError: The table was loaded under other privacy settings, or one of them names no column.
            OmetriaError: As `scan`.
        """
        merged = is_merged()
        begin(*policies.values())
        client = account.client(table.name)
        state = dlt.current.resource_state()
        limited = is_limited()
        rows = RecordRows(table, policies, tells_childless=merged and limited)
        with counting(client) as metrics:
            if "ids" in state:
                metrics[ROWS_EXPECTED] = IdSketch.from_state(state["ids"]).rows
            for page in pages(client):
                for record in page:
                    rows.add(record)
                metrics[ROWS_READ] += len(page)
                yield from rows.take()
            rows.warn_of_taken_keys()
            if limited:
                return
            if merged:
                rows.guard(state, allow_deletes)
            rows.note(state)
            if merged:
                yield from rows.markers()

    resource: DltResource = dlt.resource(records, name=table.name, selected=False)
    resource.add_step(OwnRows())
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
        "source_filter": f"{parent_id} NOT LIKE '{MARKER}%'",
        "destination_scope": (
            f"({parent_id} IN (SELECT {parent_id} FROM {{staging_table}}) "  # noqa: S608  constants of ours
            f"OR '{MARKER}' || {parent_id} IN (SELECT {parent_id} FROM {{staging_table}}) "
            f"OR EXISTS (SELECT 1 FROM {{staging_table}} WHERE {parent_id} = '{MARKER}'))"
        ),
    }


class RecordRows:
    """Turns the records of one run into rows of a table and of its children.

    Args:
        table: What they are made of.
        policies: What is hashed and dropped, by table.
        tells_childless: Whether a parent without children must be told of by a row of its own.
        parent_key: The key of the parent, of a child.
    """

    def __init__(
        self,
        table: RecordTable,
        policies: Mapping[str, TablePrivacy],
        *,
        tells_childless: bool,
        parent_key: tuple[str, ...] = (),
    ) -> None:
        self._table = table
        self._tells_childless = tells_childless
        derived = (*parent_key, table.number) if table.number else parent_key
        self._mapper = RowMapper(table.name, table.columns, table.renames, derived=derived, marks=MARKS)
        self._protect = RowPrivacy(policies[table.name]).row
        self._is_nested = bool(parent_key)
        self._variants = Variants(table.name if self._is_nested else None)
        self._objects = frozenset(
            name.rsplit("__", depth)[0] for name in table.columns for depth in range(1, name.count("__") + 1)
        )
        self._children = {
            child.nested_in: RecordRows(child, policies, tells_childless=tells_childless, parent_key=table.key)
            for child in table.children
        }
        self._rows: list[Row] = []
        self._fields: set[str] = set()
        self._found = IdSketch()
        self._taken_keys = 0

    def add(self, record: JsonObject) -> None:
        """Take in a record of a table of its own.

        Args:
            record: As the API gave it.

        Raises:
            UnexpectedAnswerError: It has no usable key.
        """
        key = self._add(record, {})
        if not all(is_id(value) and not value.startswith(MARKER) for value in key.values()):
            names = ", ".join(f"`{name}`" for name in self._table.key)
            raise UnexpectedAnswerError(f"`{self._table.name}`", f"a record without a usable {names}")

    def _add(self, record: JsonObject, parent: Row, taken: dict[str, Row] | None = None) -> Row:
        """Take in a record; its key, as the API gave it."""
        if self._table.prepare:
            record = self._table.prepare(record)
        nested = {name: record[name] for name in self._children.keys() & record.keys() if _is_nested(record[name])}
        rest = {name: value for name, value in record.items() if name not in nested}
        row = {**self._mapper.row(flat(rest, self._objects, MARKS)), **parent}
        key = {name: self._key_value(name, row.get(name)) for name in self._table.key}
        if taken is not None:
            key = self._free_key(key, row, taken)
        protected = self._protect({**row, **key})
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
        if not records and self._tells_childless:
            first = self._table.key[0]
            protected = self._protect({first: parent[first]})
            self._rows.append({**self._marker(), first: f"{MARKER}{protected[first]}"})
            for child in self._children.values():
                child.add_nested([], parent)

    def take(self) -> Iterator[TDataItems]:
        """All rows since the last call, as dlt takes them."""
        rows, self._rows = self._rows, []
        if rows:
            item = self._variants.split(rows)
            yield beside(item) if self._is_nested else item
        for child in self._children.values():
            yield from child.take()

    def markers(self) -> Iterator[TDataItems]:
        """The rows that say that everything was read."""
        yield beside(self._variants.split([self._marker()]))
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
        note_complete(self._table.name, state, self._fields)
        state["ids"] = self._found.to_state()
        for child in self._children.values():
            child.note(state.setdefault(child._table.name, {}))

    def warn_of_taken_keys(self) -> None:
        """Tell of rows whose key another one of the same parent has."""
        if self._taken_keys:
            log.warning(
                "%s: %d rows have the key of another one of the same parent; a number was added to their `%s`",
                self._table.name,
                self._taken_keys,
                self._table.key[-1],
            )
        for child in self._children.values():
            child.warn_of_taken_keys()

    def _marker(self) -> Row:
        return {name: 0 if self._is_number(name) else MARKER for name in self._table.key}

    def _free_key(self, key: Row, row: Row, taken: dict[str, Row]) -> Row:
        """A key that no other row of this parent has, unless both are equal: no document says that they differ."""
        last = self._table.key[-1]
        free, number = key, 1
        while taken.setdefault(json.dumps(list(free.values())), row) != row:
            number += 1
            free = {**key, last: f"{key[last]} ({number})".strip()}
        self._taken_keys += number > 1
        return free

    def _key_value(self, name: str, value: Any) -> Any:
        """A column of the key, which is never null: text, but for those that count."""
        return value if self._is_number(name) else "" if value is None else str(value)

    def _is_number(self, name: str) -> bool:
        return self._table.columns[name]["data_type"] == "bigint"


def _is_nested(value: object) -> bool:
    """Whether a value is what a child is made of; anything else stays in the parent, so that it is not lost."""
    return value is None or (isinstance(value, list) and all(isinstance(item, dict) for item in value))
