"""`custom_events`: events that the retailer sends to Ometria.

Certainty: Ometria documents how they are written (Ometria docs: Custom events), and no path to read them.
`/custom-events` is a guess; that they can be read is known from other integrations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dlt.common.schema.typing import TTableSchemaColumns
from dlt.extract import DltResource

from ometria_source.api.client import Account, JsonObject, OmetriaClient
from ometria_source.api.offset_scan import scan
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.sync.snapshot import mirror
from ometria_source.sync.spec import RecordTable

PATH = "/custom-events"

COLUMNS: TTableSchemaColumns = {
    "custom_event_id": {"data_type": "text", "nullable": False, "description": "The retailer's id of this event."},
    "timestamp": {"data_type": "timestamp", "description": "When it happened (UTC)."},
    "event_type": {"data_type": "text", "description": "What happened, of 32 characters at most."},
    "identity_email": {"data_type": "text", "description": "Whose it is, by e-mail address."},
    "identity_account_id": {"data_type": "text", "description": "Whose it is, by the retailer's id of a customer."},
    "profile_id": {"data_type": "text", "description": "Whose it is, by Ometria's id (Fivetran)."},
    "dt_observed": {"data_type": "timestamp", "description": "When Ometria learned of it (UTC; Fivetran)."},
    "properties": {"data_type": "json", "description": "The retailer's own fields."},
}

CUSTOM_EVENTS = RecordTable(
    name="custom_events",
    key=("custom_event_id",),
    columns=COLUMNS,
    renames={"id": "custom_event_id"},
    references=[{"referenced_table": "profiles", "columns": ["profile_id"], "referenced_columns": ["profile_id"]}],
)


def custom_events_resource(
    account: Account, allow_deletes: bool, privacy: Callable[[str], TablePrivacy]
) -> DltResource:
    """The `custom_events` table.

    Args:
        account: Where to read.
        allow_deletes: Whether a scan may remove more than a tenth of the events.
        privacy: What is hashed and dropped, by table.
    """
    return mirror(CUSTOM_EVENTS, _pages, account, allow_deletes, privacy)


def _pages(client: OmetriaClient) -> Iterator[list[JsonObject]]:
    # that the path is paged is a guess too
    yield from scan(client, PATH, paged=False)
