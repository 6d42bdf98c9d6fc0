"""`data_deletion_requests`, with `data_deletion_identities`: whom Ometria was asked to anonymise.

Certainty: the path, the example of an answer and the limit of 6 requests a minute are documented (Ometria docs: GDPR
API); that the local part of `hashed_email` is an MD5 hash is a guess from its length.
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

PATH = "/data-deletion-requests"

COLUMNS: TTableSchemaColumns = {
    "request_id": {"data_type": "text", "nullable": False, "description": "Ometria's id of this request."},
    "action": {"data_type": "text", "description": "`anonymise`."},
    "comment": {"data_type": "text", "description": "Whatever was written beside it."},
    "source__origin": {"data_type": "text", "description": "Where it was made: `api`, or in the app."},
    "source__api_request_id": {"data_type": "text", "description": "The call that made it."},
    "source__user__email": {"data_type": "text", "description": "Address of the user who made it."},
    "source__user__name": {"data_type": "text", "description": "Name of the user who made it."},
    "summary": {"data_type": "text", "description": "What was done."},
    "timestamp_created": {"data_type": "timestamp", "description": "When it was made (UTC)."},
    "timestamp_completed": {
        "data_type": "timestamp",
        "description": "When it was done (UTC); that null means pending is a guess.",
    },
}

IDENTITY_COLUMNS: TTableSchemaColumns = {
    "request_id": {"data_type": "text", "nullable": False, "description": "The request."},
    "hashed_email": {
        "data_type": "text",
        "nullable": False,
        "description": "Who: a hash of the address, at `anonymous.ometria`; empty where none is given.",
    },
}

REQUESTS = RecordTable(
    name="data_deletion_requests",
    key=("request_id",),
    columns=COLUMNS,
    renames={"id": "request_id"},
    children=(
        RecordTable(
            name="data_deletion_identities",
            key=("request_id", "hashed_email"),
            columns=IDENTITY_COLUMNS,
            references=[
                {
                    "referenced_table": "data_deletion_requests",
                    "columns": ["request_id"],
                    "referenced_columns": ["request_id"],
                }
            ],
            nested_in="identities",
        ),
    ),
)


def data_deletion_requests_resource(
    account: Account, allow_deletes: bool, privacy: Callable[[str], TablePrivacy]
) -> DltResource:
    """The `data_deletion_requests` table, with `data_deletion_identities`.

    Args:
        account: Where to read.
        allow_deletes: Whether a scan may remove more than a tenth of the requests.
        privacy: What is hashed and dropped, by table.
    """
    return mirror(REQUESTS, _pages, account, allow_deletes, privacy)


def _pages(client: OmetriaClient) -> Iterator[list[JsonObject]]:
    # paging is not documented
    yield from scan(client, PATH, paged=False)
