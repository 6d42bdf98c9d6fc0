"""`list_changes`: who entered a list, or left it, and when.

Dynamic lists move when Ometria refreshes them. Certainty: that the changes of a list since a date can be read is
documented (Ometria docs: Lists API). What is not: the parameter's name (`since`, as unsubscribes have it), whether it
is needed, whether the answer is paged, and the fields. These are from Fivetran's schema, which has one row for a list
and a profile; here each change is a row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, cast
from urllib.parse import quote

import dlt
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.common.typing import TDataItems
from dlt.extract import DltResource

from ometria_source.api.client import Account, JsonObject, OmetriaClient
from ometria_source.api.offset_scan import scan
from ometria_source.api.prefetch import Spool, map_in_order, max_prefetch
from ometria_source.exceptions import NotFoundError, UnexpectedAnswerError
from ometria_source.privacy.apply import RowPrivacy
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.shown import shown_name
from ometria_source.sync.deletes import is_limited
from ometria_source.sync.destination import running_strategy
from ometria_source.sync.metrics import ROWS_READ, UNPROVEN, add_note, counting
from ometria_source.sync.notices import pages_even_if_unproven, report_unproven
from ometria_source.sync.protection import begin_privacy, end_privacy
from ometria_source.sync.rows import Row, RowMapper, Variants
from ometria_source.sync.spec import FIELD_PREFIXES
from ometria_source.tables.lists import list_pages
from ometria_source.tables.member_lists import profile_id

PATH = "/lists/{list_id}/changes"

# A guess by analogy with unsubscribes; where it means nothing, every run reads the whole history.
SINCE = "since"

# Before any change of any list: Ometria was founded in 2013.
FIRST_CHANGE = datetime(2013, 1, 1, tzinfo=timezone.utc)

# A list is refreshed within a day (Ometria docs: saved segments); twice that, to be sure.
LAG_SECONDS = timedelta(days=2).total_seconds()

KEY_FIELDS = ("list_id", "profile_id", "event", "timestamp")

# As many names of fields are shown of a change that cannot be read.
MOST_NAMES = 20

COLUMNS: TTableSchemaColumns = {
    "list_change_id": {
        "data_type": "text",
        "nullable": False,
        "description": "SHA-256 of list_id, profile_id, event and timestamp: Ometria is not known to give an id.",
    },
    "list_id": {"data_type": "text", "description": "The list."},
    "profile_id": {"data_type": "text", "description": "Who entered or left it."},
    "email": {"data_type": "text", "description": "Address of this person (Fivetran)."},
    "event": {"data_type": "text", "description": "`list_enter` or `list_exit` (Ometria docs: Lists API)."},
    "timestamp": {"data_type": "timestamp", "description": "When (UTC)."},
    "_cursor": {
        "data_type": "timestamp",
        "description": "`timestamp` where it may move the incremental cursor; null for one that is unreadable, in the "
        "future, or was read under a limit.",
    },
}


def list_changes_resource(account: Account, privacy: TablePrivacy) -> DltResource:
    """The `list_changes` table.

    Args:
        account: Where to read.
        privacy: What is hashed and dropped.
    """

    @dlt.resource(
        name="list_changes",
        primary_key="list_change_id",
        write_disposition="merge",
        columns=privacy.columns(),
        references=[
            {"referenced_table": "lists", "columns": ["list_id"], "referenced_columns": ["list_id"]},
            {"referenced_table": "profiles", "columns": ["profile_id"], "referenced_columns": ["profile_id"]},
        ],
        selected=False,
    )
    def list_changes(
        cursor: dlt.sources.incremental[datetime] = dlt.sources.incremental(
            "_cursor",
            initial_value=FIRST_CHANGE,
            lag=LAG_SECONDS,
            primary_key=(),
            on_cursor_value_missing="include",
        ),
    ) -> Iterator[TDataItems]:
        """Who entered or left a list.

        Args:
            cursor: On `timestamp` (UTC). Reaches back two days on every run, because lists are refreshed late.

        Yields:
            Lists of rows, list by list. Rows repeat across runs; `list_change_id` makes them one.

        Raises:
            ConfigurationError: The table cannot be merged; as `strategy_at`.
            MissingSettingError: `api_key` is not configured.
            NotFoundError: No list has changes under the known path.
            UnexpectedAnswerError: A change has no profile that can be recognised.
            OmetriaError: As `OmetriaClient.get`.
        """
        running_strategy()
        begin_privacy(privacy)
        now = datetime.now(timezone.utc)
        client = account.client("list_changes")
        limited = is_limited()
        rows = _Rows(privacy)
        with counting(client) as metrics:
            since = cast(datetime, cursor.start_value)
            state = dlt.current.resource_state()
            lists = _Lists(client, since, set(state.get("skipped", ())))
            # dlt fails where the first page has no value of the cursor, and leaves out what is older than its start, as
            # are changes of lists that were skipped before; so the cursor is moved here
            window = _Window(since, now, cast(datetime, cursor.get_state()["last_value"]))
            cursor.advance(window.newest)
            for list_id, changes in lists.changes(metrics):
                for page in changes.read():
                    made = [
                        row
                        for row in (rows.row(list_id, change) for change in page)
                        if window.admits(row, of_any_time=list_id in lists.skipped_before) and rows.variants.admit(row)
                    ]
                    # lists that did not come this time are to be read from the same time on
                    if lists.are_whole and not limited:
                        window.set_cursor(made)
                    metrics[ROWS_READ] += len(made)
                    if made:
                        yield rows.variants.split(made)
            if not metrics[ROWS_READ]:
                yield dlt.mark.materialize_table_schema()
            end_privacy((privacy, rows.names))
            if not limited:
                kept = () if lists.are_whole else lists.skipped_before
                state["skipped"] = sorted({*lists.skipped, *kept})
                cursor.advance(window.newest)
            if window.earlier:
                add_note(
                    "list_changes",
                    f"{window.earlier} changes came from before the time that was asked for: `{SINCE}` means nothing "
                    "to this server, and every run reads the whole history",
                )

    return list_changes


class _Window:
    """The time that one run reads.

    Attributes:
        newest: The newest change that may move the cursor.
        earlier: Changes from before the window that were left out.
    """

    def __init__(self, since: datetime, now: datetime, newest: datetime) -> None:
        self._since = since
        self._now = now
        self.newest = newest
        self.earlier = 0

    def admits(self, row: Row, *, of_any_time: bool) -> bool:
        """Whether a row is loaded; one whose timestamp cannot be read is."""
        is_earlier = not of_any_time and isinstance(at := row.get("timestamp"), datetime) and at < self._since
        self.earlier += is_earlier
        return not is_earlier

    def set_cursor(self, rows: list[Row]) -> None:
        """Let the rows that are neither older than the window nor in the future move the cursor."""
        for row in rows:
            if isinstance(at := row.get("timestamp"), datetime) and self._since <= at <= self._now:
                row["_cursor"] = at
                self.newest = max(self.newest, at)


class _Lists:
    """Reads the changes of all lists.

    Args:
        client: Reads the API.
        since: When to begin (UTC).
        skipped_before: Lists whose changes the run before did not read, or not for certain to the end: they are read
            from the first on.
    """

    def __init__(self, client: OmetriaClient, since: datetime, skipped_before: Collection[str]) -> None:
        self._client = client
        self._since = since
        self.skipped_before = skipped_before
        self.skipped: list[str] = []
        self.are_whole = False

    def changes(self, metrics: dict[str, Any]) -> Iterator[tuple[str, Spool]]:
        """The changes of each list, several lists at a time; of one that is in doubt perhaps in two parts."""
        pages = pages_even_if_unproven("list_changes", list_pages(self._client), metrics)
        ids = [str(item["id"]) for page in pages for item in page]
        self.are_whole = not metrics[UNPROVEN]
        most = max_prefetch(self._client.requests_per_second, self._client.largest_answer)
        absent, doubts = 0, []
        for list_id, parts in zip(ids, map_in_order(ids, self._read, most), strict=True):
            absent += not parts
            doubt = next((part.doubt for part in parts if part.doubt), None)
            if doubt:
                doubts.append(doubt)
            if doubt or not parts:
                self.skipped.append(list_id)
            for changes in parts:
                yield list_id, changes
        if ids and absent == len(ids):
            raise NotFoundError(PATH)
        if absent:
            add_note("list_changes", f"{absent} lists answer no changes; they are skipped")
        if doubts:
            report_unproven("list_changes", doubts[0], metrics, len(doubts))

    def _read(self, list_id: str) -> list[Spool]:
        """The changes of a list; nothing where there is no such path."""
        path = PATH.format(list_id=quote(list_id, safe=""))
        starts = [FIRST_CHANGE, self._since] if list_id in self.skipped_before else [self._since]
        parts: list[Spool] = []
        try:
            # an answer that is cut may lack the newest changes, which a later start may show
            while starts and all(part.doubt for part in parts):
                query: dict[str, str | int] = {SINCE: starts.pop(0).strftime("%Y-%m-%dT%H:%M:%S")}
                parts.append(Spool(scan(self._client, path, query, paged=False)))
        except NotFoundError:
            return []
        return parts


class _Rows:
    """Turns changes into rows."""

    def __init__(self, privacy: TablePrivacy) -> None:
        derived = ("list_change_id", "list_id", "_cursor")
        self._mapper = RowMapper("list_changes", COLUMNS, {}, derived=derived, prefixes=FIELD_PREFIXES)
        self._privacy = RowPrivacy(privacy)
        self.names = self._mapper.names
        self.variants = Variants(self.names)

    def row(self, list_id: str, change: JsonObject) -> Row:
        person = profile_id(change)
        if person is None:
            names = ", ".join(f"`{shown_name(name)}`" for name in sorted(change)[:MOST_NAMES])
            raise UnexpectedAnswerError(PATH, f"a change without a profile's id; its fields are {names}")
        row = {**self._mapper.row(change), "list_id": list_id, "profile_id": person}
        # where an event or a time has another name, all fields are the key: or else changes would become one
        fields = KEY_FIELDS if row.keys() >= set(KEY_FIELDS) else sorted(row)
        # or else the keys of all people could be tried, to find out whose was hashed
        for_keys = self._mapper.row_for_keys(row)
        key = [self._privacy.value(field, for_keys.get(field)) for field in fields]
        return {**self._privacy.row(row), "list_change_id": list_change_id(key)}


def list_change_id(values: Iterable[Any]) -> str:
    """The key of a change.

    Args:
        values: Those of `KEY_FIELDS`, as they are in a row.

    Returns:
        64 hex digits.
    """
    spelt = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    text = json.dumps([None if value is None else str(value) for value in spelt], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
