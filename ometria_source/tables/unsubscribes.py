"""`unsubscribes`: opt-outs that people made themselves, by e-mail or SMS."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from typing import Any, cast

import dlt
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.common.typing import TDataItems
from dlt.extract import DltResource

from ometria_source.api.client import Account, JsonObject
from ometria_source.api.offset_scan import SeenIds
from ometria_source.api.window_scan import END_OF_TIME, WindowScan
from ometria_source.constants import FIRST_UNSUBSCRIBE, UNSUBSCRIBES_LAG
from ometria_source.privacy.apply import RowPrivacy
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.sync.deletes import is_limited
from ometria_source.sync.destination import running_strategy
from ometria_source.sync.metrics import BACKFILL, ROWS_READ, add_note, counting
from ometria_source.sync.notices import LogFields
from ometria_source.sync.protection import begin_privacy, end_privacy
from ometria_source.sync.rows import Row, RowMapper, Variants, read_instant
from ometria_source.sync.state import start_of_table

PATH = "/unsubscribes"

LAG_SECONDS = UNSUBSCRIBES_LAG.total_seconds()

# The fields that cannot change later (Ometria docs: Unsubscribe API). A `reason` may be filled in after the event.
KEY_FIELDS = ("profile_id", "email_address", "type", "timestamp")

# Known from Fivetran's schema of the same endpoint, not documented by Ometria, as their descriptions say.
SEEN_ELSEWHERE = "Not documented by Ometria; known from another integration."

COLUMNS: TTableSchemaColumns = {
    "unsubscribe_id": {
        "data_type": "text",
        "nullable": False,
        "description": "SHA-256 of profile_id, email_address, type and timestamp: Ometria gives these events no id.",
    },
    "profile_id": {"data_type": "text", "description": "Who opted out."},
    "email_address": {"data_type": "text", "description": "The address that opted out; may be null for SMS."},
    "type": {
        "data_type": "text",
        "description": "How: `preferences_centre`, `app`, `list_unsubscribe`, `link_unsubscribe`, or a stop word by "
        "SMS (`stopword_unsubscribe_TF`, `stopword_unsubscribe_DO`). More may come.",
    },
    "timestamp": {"data_type": "timestamp", "description": "When (UTC)."},
    "reason": {"data_type": "text", "description": "The reason given; may be filled in later."},
    "reason_text": {"data_type": "text", "description": SEEN_ELSEWHERE},
    "send_id": {"data_type": "text", "description": f"The send that led to it. {SEEN_ELSEWHERE}"},
    "mass_campaign_id": {"data_type": "text", "description": f"The broadcast that led to it. {SEEN_ELSEWHERE}"},
    "trigger_campaign_id": {"data_type": "text", "description": f"The automation that led to it. {SEEN_ELSEWHERE}"},
    "_cursor": {
        "data_type": "timestamp",
        "description": "`timestamp` where it may move the incremental cursor; null for one that is unreadable, in the "
        "future, or was read under a limit.",
    },
}


def unsubscribes_resource(
    account: Account, start_date: datetime | None, end_date: datetime | None, privacy: TablePrivacy
) -> DltResource:
    """The `unsubscribes` table.

    Args:
        account: Where to read.
        start_date: First instant of the first load, or of the backfill; None: `FIRST_UNSUBSCRIBE`.
        end_date: The instant after the last one. With it this is a backfill, which leaves the cursor alone.
        privacy: What is hashed and dropped.
    """

    @dlt.resource(
        name="unsubscribes",
        primary_key="unsubscribe_id",
        write_disposition="merge",
        columns=privacy.columns(),
        references=[{"referenced_table": "profiles", "columns": ["profile_id"], "referenced_columns": ["profile_id"]}],
    )
    def unsubscribes(
        cursor: dlt.sources.incremental[datetime] = dlt.sources.incremental(
            "_cursor",
            initial_value=(start_date if end_date else None) or FIRST_UNSUBSCRIBE,
            end_value=end_date,
            lag=LAG_SECONDS,
            primary_key=(),
            on_cursor_value_missing="include",
        ),
    ) -> Iterator[TDataItems]:
        """Opt-outs that people made themselves.

        Not the truth about consent: opt-outs made through the API are missing (Ometria docs: Unsubscribes reference).
        For that, read `profiles.marketing_optin`.

        Args:
            cursor: On `timestamp` (UTC). Reaches back two days on every run, because a `reason` may be filled in later.

        Yields:
            Lists of rows, by windows of time, oldest first. Rows repeat across runs; `unsubscribe_id` makes them one.

        Raises:
            ConfigurationError: The table cannot be merged; as `strategy_at`.
            MissingSettingError: `api_key` is not configured.
            InvalidSettingError: The table was loaded under other privacy settings.
            UnappliedRuleError: A privacy rule for the table found nothing in its rows.
            IncompleteScanError: One second holds more rows than Ometria gives at a time.
            OmetriaError: As `OmetriaClient.get`.
        """
        strategy = running_strategy()
        begin_privacy(privacy)
        now = datetime.now(timezone.utc)
        client = account.client("unsubscribes")
        first = cast(datetime, cursor.start_value)
        # a limited run, or a backfill, leaves no trace in the state
        keeps_state = end_date is None and not is_limited()
        state = dlt.current.resource_state() if keeps_state else dict(dlt.current.resource_state())
        fields = LogFields()
        if end_date is None:
            first = max(first, start_of_table("unsubscribes", state, start_date, FIRST_UNSUBSCRIBE))
        mapper = RowMapper("unsubscribes", COLUMNS, {}, derived=("unsubscribe_id", "_cursor"))
        protection = RowPrivacy(privacy)
        variants = Variants(mapper.names)
        limited, without_cursor = is_limited(), 0
        # rows near the bound of a window come twice; those without a time, with any
        seen = SeenIds()
        with counting(client) as metrics, closing(seen):
            metrics[BACKFILL] = int(end_date is not None and strategy is not None)
            scan = WindowScan(client, PATH, now, lambda event: read_instant(event.get("timestamp")))
            for events in scan.read(first, end_date or END_OF_TIME):
                keyed = _keyed(mapper, protection, events)
                rows = {event_id: row for event_id, row in keyed if _is_within(row, first, end_date)}
                new = (row for row, is_new in zip(rows.values(), seen.add(rows), strict=True) if is_new)
                fresh = [row for row in new if variants.admit(row)]
                for row in fresh:
                    fields.add(row)
                    if not _is_past(row, now):
                        without_cursor += 1
                    elif not limited:
                        row["_cursor"] = row["timestamp"]
                metrics[ROWS_READ] += len(fresh)
                yield variants.split(fresh)
            end_privacy((privacy, mapper.names))
            if keeps_state:
                fields.note("unsubscribes", state)
            if not metrics[ROWS_READ]:
                yield dlt.mark.materialize_table_schema()
            if without_cursor:
                add_note(
                    "unsubscribes",
                    f"{without_cursor} rows have a timestamp that is in the future or unreadable; they were loaded",
                )

    return unsubscribes


def unsubscribe_id(event: JsonObject) -> str:
    """The key of an event: a hash of the fields that cannot change later.

    Args:
        event: As the API gave it. Two spellings of one instant give one key.

    Returns:
        64 hex digits.
    """
    values: list[Any] = [event.get(field) for field in KEY_FIELDS]
    instant = read_instant(event.get("timestamp"))
    if instant is not None:
        values[-1] = instant.isoformat()
    text = json.dumps([None if value is None else str(value) for value in values], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _keyed(mapper: RowMapper, protection: RowPrivacy, events: list[JsonObject]) -> Iterator[tuple[str, Row]]:
    for event in events:
        # or else the keys of all addresses could be tried, to find out which was hashed
        row = mapper.row(event)
        for_keys = mapper.row_for_keys(row)
        identifier = unsubscribe_id({field: protection.value(field, for_keys.get(field)) for field in KEY_FIELDS})
        yield identifier, protection.row({**row, "unsubscribe_id": identifier})


def _is_past(row: Row, now: datetime) -> bool:
    """Whether a row's timestamp may move the cursor: one in the future would hide every event until then."""
    return _has_time(row) and bool(row["timestamp"] <= now)


def _is_within(row: Row, first: datetime, end: datetime | None) -> bool:
    """Whether a row belongs to the window; one whose timestamp cannot be read belongs to any."""
    return not _has_time(row) or (first <= row["timestamp"] and (end is None or row["timestamp"] < end))


def _has_time(row: Row) -> bool:
    return isinstance(row.get("timestamp"), datetime)
