"""`lists`: the account's segments; what the API calls a list is a segment in Ometria's app."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone

import dlt
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.common.typing import TDataItems
from dlt.extract import DltResource

from ometria_source.api.client import Account, JsonObject, OmetriaClient
from ometria_source.api.offset_scan import scan
from ometria_source.constants import MOST_IN_MEMORY, SHARED_FOR
from ometria_source.exceptions import UnexpectedAnswerError
from ometria_source.naming import Field
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
from ometria_source.sync.metrics import ROWS_READ, UNPROVEN, counting
from ometria_source.sync.notices import pages_even_if_unproven, report_missing_fields
from ometria_source.sync.protection import begin_privacy, end_privacy
from ometria_source.sync.rows import RowMapper, Variants
from ometria_source.sync.snapshot import KEPT_COLUMNS
from ometria_source.sync.steps import HiddenRows

PATH = "/lists"

# Without it, archived lists are left out (Ometria docs: Lists API).
ALL_MODES = {"mode": "all"}

RENAMES: Mapping[Field, str] = {"id": "list_id"}

COLUMNS: TTableSchemaColumns = {
    "list_id": {"data_type": "text", "nullable": False, "description": "Ometria's id of this list."},
    "title": {"data_type": "text", "description": "Title."},
    "description": {"data_type": "text", "description": "Description."},
    "type": {
        "data_type": "text",
        "description": "`DYNAMIC`: Ometria fills it by rules. `STATIC`: it is filled by hand.",
    },
    "status": {"data_type": "text", "description": "`READY` is documented; other values exist."},
    "size": {"data_type": "bigint", "description": "Number of members."},
    "total_orders": {"data_type": "bigint", "description": "Orders of its members."},
    "total_revenue": {"data_type": "double", "description": "Revenue from its members."},
    "timestamp_created": {"data_type": "timestamp", "description": "When the list was created."},
    "timestamp_last_refreshed": {
        "data_type": "timestamp",
        "description": "When Ometria last worked out who is in it, which it does every few hours to once a day.",
    },
    "timestamp_stats_updated": {"data_type": "timestamp", "description": "When orders and revenue were last updated."},
    "public_id": {"data_type": "text", "description": "Not documented by Ometria; known from Fivetran's schema."},
}


def list_pages(client: OmetriaClient) -> Iterator[list[JsonObject]]:
    """All lists, archived ones included, whether the server pages them or not.

    Args:
        client: Reads the API.

    Yields:
        Pages of lists, each of which has an id.

    Raises:
        UnprovenScanError: These may not be all; raised after the last page.
        OmetriaError: As `scan`.
    """
    for page in scan(client, PATH, ALL_MODES, paged=False, most_rows=MOST_IN_MEMORY):
        if not all(is_id(item.get("id")) for item in page):
            raise UnexpectedAnswerError(PATH, "a list without a usable `id`")
        yield page


class SharedLists:
    """Passes the lists that one table's scan found on to another's."""

    def __init__(self) -> None:
        self.in_progress = False
        self._finished: tuple[datetime, list[JsonObject]] | None = None

    @contextmanager
    def recording(self) -> Iterator[Callable[[list[JsonObject]], None]]:
        """Take note of a scan.

        Yields:
            A function to call with all lists, once it is certain that they are all.
        """
        self._finished = None
        self.in_progress = True

        def note(lists: list[JsonObject]) -> None:
            self._finished = datetime.now(timezone.utc), lists

        try:
            yield note
        finally:
            self.in_progress = False

    def take(self, began: datetime) -> list[JsonObject] | None:
        """The lists that the same run found, once.

        Args:
            began: When the table that asks began to read.
        """
        finished, self._finished = self._finished, None
        return finished[1] if finished and began - finished[0] < SHARED_FOR else None


def lists_resource(
    account: Account, shared_lists: SharedLists, allow_deletes: bool, privacy: TablePrivacy
) -> DltResource:
    """The `lists` table.

    Args:
        account: Where to read.
        shared_lists: Takes note of the lists, for `member_lists`.
        allow_deletes: Whether a scan may remove more than a tenth of the table.
        privacy: What is hashed and dropped.
    """

    @dlt.resource(
        name="lists",
        primary_key="list_id",
        write_disposition=snapshot_merge("list_id"),
        columns=privacy.columns(),
    )
    def lists() -> Iterator[TDataItems]:
        """Segments, archived ones included; read whole on every run.

        Yields:
            One list of rows per request, then the marker that removes the lists that are gone, if it is proven that
            all were read.

        Raises:
            ConfigurationError: The table cannot be merged; as `strategy_at`.
            MissingSettingError: `api_key` is not configured.
            MassDeletionError: More than a tenth of the lists, and more than ten, are gone.
            InvalidSettingError: The table was loaded under other privacy settings.
            UnappliedRuleError: A privacy rule for the table found nothing in its rows.
            OmetriaError: As `OmetriaClient.get`.
        """
        merged = is_merged()
        begin_privacy(privacy)
        client = account.client("lists")
        state = dlt.current.resource_state()
        mapper = RowMapper("lists", COLUMNS, RENAMES, derived=KEPT_COLUMNS)
        variants = Variants(mapper.names)
        protect = RowPrivacy(privacy).row
        found = IdSketch()
        fields: set[str] = set()
        items: list[JsonObject] = []
        limited = is_limited()
        with counting(client) as metrics, shared_lists.recording() as note:
            for page in pages_even_if_unproven("lists", list_pages(client), metrics):
                rows = [protect({**mapper.row(item), "list_id": str(item["id"])}) for item in page]
                for row in rows:
                    variants.admit(row)
                    found.add(row["list_id"])
                    fields.update(row)
                items += page
                metrics[ROWS_READ] += len(rows)
                yield variants.split(rows)
            end_privacy((privacy, mapper.names))
            if limited or metrics[UNPROVEN]:
                return
            if merged and "ids" in state:
                guard_deletions("lists", IdSketch.from_state(state["ids"]), found, allow_deletes)
            report_missing_fields("lists", state, fields)
            state["ids"] = found.to_state()
            note(items)
            if merged:
                yield HiddenRows([{"list_id": COMPLETE_SCAN_MARKER}])

    return lists
