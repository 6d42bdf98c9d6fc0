"""`collections`: the named sources that a retailer's contacts come from.

Certainty: path and paging are seen in a public client, which calls the name `collection`; Fivetran's schema calls it
`id`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dlt.common.schema.typing import TTableSchemaColumns
from dlt.extract import DltResource

from ometria_source.api.client import Account, JsonObject, OmetriaClient
from ometria_source.api.offset_scan import scan
from ometria_source.constants import MOST_IN_MEMORY
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.sync.snapshot import mirror
from ometria_source.sync.spec import RecordTable

PATH = "/contacts"

# Where its name is, the first that is there.
NAMES = ("collection", "@collection", "id")

COLUMNS: TTableSchemaColumns = {
    "collection": {"data_type": "text", "nullable": False, "description": "Its name."},
    "count": {"data_type": "bigint", "description": "How many contacts it has (a client)."},
}


def _named(record: JsonObject) -> JsonObject:
    """A collection under one spelling of its name."""
    place = next((name for name in NAMES if record.get(name) is not None), None)
    if place is None:
        return record
    return {"collection": record[place], **{name: value for name, value in record.items() if name != place}}


COLLECTIONS = RecordTable(name="collections", key=("collection",), columns=COLUMNS, prepare=_named)


def collection_pages(client: OmetriaClient) -> Iterator[list[JsonObject]]:
    """All collections.

    Args:
        client: Reads the API.

    Yields:
        Pages of collections, as they came.
    """
    yield from scan(client, PATH, paged=False, identify=collection_name, most_rows=MOST_IN_MEMORY)


def collection_name(record: JsonObject) -> str:
    """The name of a collection; empty where it has none."""
    return str(_named(record).get("collection") or "")


def collections_resource(account: Account, allow_deletes: bool, privacy: Callable[[str], TablePrivacy]) -> DltResource:
    """The `collections` table.

    Args:
        account: Where to read.
        allow_deletes: Whether a scan may remove more than a tenth of the collections.
        privacy: What is hashed and dropped, by table.
    """
    return mirror(COLLECTIONS, collection_pages, account, allow_deletes, privacy)
