"""`list_changes`: who entered a list, or left it, and when.

Dynamic lists move when Ometria refreshes them. Certainty: that the changes of a list since a date can be read is
documented (Ometria docs: Lists API). What is not: the parameter's name (`since`, as unsubscribes have it), whether it
is needed, whether the answer is paged, and the fields. These are from Fivetran's schema, which has one row for a list
and a profile; here each change is a row.
"""

from __future__ import annotations

import hashlib
import json
import logging
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
from ometria_source.privacy.consistency import begin
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.sync.deletes import is_limited
from ometria_source.sync.destination import running_strategy
from ometria_source.sync.metrics import ROWS_READ, counting
from ometria_source.sync.rows import Row, RowMapper, Variants, shown_name
from ometria_source.sync.spec import FIELD_PREFIXES
from ometria_source.tables.lists import list_pages
from ometria_source.tables.member_lists import profile_id

log = logging.getLogger(__name__)

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
            IncompleteScanError: An answer looks cut, and is the same at every offset.
            OmetriaError: As `OmetriaClient.get`.
        """
        running_strategy()
        begin(privacy)
        now = datetime.now(timezone.utc)
        client = account.client("list_changes")
        limited = is_limited()
        rows = _Rows(privacy)
        with counting(client) as metrics:
            since, before = cast(datetime, cursor.start_value), 0
            state = dlt.current.resource_state()
            lists = _Lists(client, since, set(state.get("skipped", ())))
            for list_id, changes in lists.changes():
                for page in changes.read():
                    made = [rows.row(list_id, change) for change in page]
                    for row in made:
                        if not isinstance(at := row.get("timestamp"), datetime):
                            continue
                        # of a list that was skipped before, dlt would leave out what is older than the cursor
                        is_late = list_id in lists.skipped_before and at < since
                        before += at < since and not is_late
                        if not limited and not is_late and at <= now:
                            row["_cursor"] = at
                    metrics[ROWS_READ] += len(made)
                    yield rows.variants.split(made)
            if not metrics[ROWS_READ]:
                yield dlt.mark.materialize_table_schema()
            if not limited:
                state["skipped"] = lists.skipped
            if before:
                log.warning(
                    "list_changes: %d changes came from before the time that was asked for: `%s` means nothing to this "
                    "server, and every run reads the whole history",
                    before,
                    SINCE,
                )

    return list_changes


class _Lists:
    """Reads the changes of all lists.

    Args:
        client: Reads the API.
        since: When to begin (UTC).
        skipped_before: Lists of which the run before knew no changes: they are read from the first on.
    """

    def __init__(self, client: OmetriaClient, since: datetime, skipped_before: Collection[str]) -> None:
        self._client = client
        self._since = since
        self.skipped_before = skipped_before
        self.skipped: list[str] = []

    def changes(self) -> Iterator[tuple[str, Spool]]:
        """The changes of each list, several lists at a time."""
        ids = [str(item["id"]) for page in list_pages(self._client) for item in page]
        most = max_prefetch(self._client.requests_per_second)
        for list_id, changes in zip(ids, map_in_order(ids, self._read, most), strict=True):
            if changes is None:
                self.skipped.append(list_id)
            else:
                yield list_id, changes
        if ids and len(self.skipped) == len(ids):
            raise NotFoundError(PATH)
        if self.skipped:
            log.warning("list_changes: %d lists answer no changes; they are skipped", len(self.skipped))

    def _read(self, list_id: str) -> Spool | None:
        since = FIRST_CHANGE if list_id in self.skipped_before else self._since
        query: dict[str, str | int] = {SINCE: since.strftime("%Y-%m-%dT%H:%M:%S")}
        try:
            return Spool(scan(self._client, PATH.format(list_id=quote(list_id, safe="")), query, paged=False))
        except NotFoundError:
            return None


class _Rows:
    """Turns changes into rows."""

    def __init__(self, privacy: TablePrivacy) -> None:
        derived = ("list_change_id", "list_id", "_cursor")
        self._mapper = RowMapper("list_changes", COLUMNS, {}, derived=derived, prefixes=FIELD_PREFIXES)
        self._privacy = RowPrivacy(privacy)
        self.variants = Variants()

    def row(self, list_id: str, change: JsonObject) -> Row:
        person = profile_id(change)
        if person is None:
            names = ", ".join(f"`{shown_name(name)}`" for name in sorted(change)[:MOST_NAMES])
            raise UnexpectedAnswerError(PATH, f"a change without a profile's id; its fields are {names}")
        row = {**self._mapper.row(change), "list_id": list_id, "profile_id": person}
        # where an event or a time has another name, all fields are the key: or else changes would become one
        fields = KEY_FIELDS if row.keys() >= set(KEY_FIELDS) else sorted(row)
        # or else a key would tell, to whoever tries all people, which of them was hashed
        key = [self._privacy.value(field, row.get(field)) for field in fields]
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
