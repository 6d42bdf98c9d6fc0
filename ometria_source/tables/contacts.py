"""`contacts`: source listings of people, of which a profile has one or more.

An id is unique within its collection only (Ometria docs: Contact API). Certainty: path and paging are seen in a public
client, and so are the fields that name no other source. Metadata may begin with `@`, `_` or neither: all are read.
No filter by change is documented: every run reads all contacts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import quote

from dlt.common.schema.typing import TTableSchemaColumns
from dlt.extract import DltResource

from ometria_source.api.client import Account, JsonObject, OmetriaClient
from ometria_source.api.offset_scan import scan
from ometria_source.exceptions import NotFoundError, UnexpectedAnswerError, UnprovenScanError
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.sync.metrics import add_note
from ometria_source.sync.notices import CountNotices
from ometria_source.sync.snapshot import mirror
from ometria_source.sync.spec import RecordTable
from ometria_source.tables.collections import PATH, collection_name, collection_pages
from ometria_source.tables.profiles import PHONE_FIELDS

COLUMNS: TTableSchemaColumns = {
    "collection": {"data_type": "text", "nullable": False, "description": "Where it comes from."},
    "contact_id": {
        "data_type": "text",
        "nullable": False,
        "description": "The retailer's id, unique within the collection (Ometria docs: Push and Contact API).",
    },
    "profile_id": {"data_type": "text", "description": "The person's profile."},
    "email": {"data_type": "text", "description": "E-mail address (Ometria docs: Push API)."},
    "customer_id": {"data_type": "text", "description": "The retailer's id of this customer (Ometria docs: Push API)."},
    "phone_number": {"data_type": "text", "description": "Phone number."},
    "phone_number_country": {"data_type": "text", "description": "Its country code, where it is given."},
    "marketing_optin": {
        "data_type": "text",
        "description": "`EXPLICITLY_OPTEDIN`, `EXPLICITLY_OPTEDOUT` or `NOT_SPECIFIED`. Where it comes as true or "
        "false (Ometria docs: Subscriptions), see `marketing_optin__v_bool`.",
    },
    "prefix": {"data_type": "text", "description": "Title before the name."},
    "firstname": {"data_type": "text", "description": "First name."},
    "middlename": {"data_type": "text", "description": "Middle name."},
    "lastname": {"data_type": "text", "description": "Last name."},
    "gender": {"data_type": "text", "description": "`m`, `f` or `o`."},
    "date_of_birth": {"data_type": "date", "description": "Date of birth."},
    "country_id": {"data_type": "text", "description": "Country code."},
    "timezone": {"data_type": "text", "description": "Time zone."},
    "store_ids": {"data_type": "json", "description": "List of stores."},
    "properties": {"data_type": "json", "description": "The retailer's own fields."},
    "channels__sms__allow_marketing": {"data_type": "bool", "description": "Consent to marketing by SMS."},
    "channels__sms__allow_transactional": {"data_type": "bool", "description": "Consent to other SMS."},
    "timestamp_acquired": {"data_type": "timestamp", "description": "When it was acquired (UTC)."},
    "timestamp_subscribed": {
        "data_type": "timestamp",
        "description": "When this person opted in (UTC; Ometria docs: Subscriptions).",
    },
    "timestamp_unsubscribed": {
        "data_type": "timestamp",
        "description": "When this person opted out (UTC; Ometria docs: Subscriptions).",
    },
    "dt_object_created": {"data_type": "timestamp", "description": "When the object was made (UTC; Fivetran)."},
    "dt_object_updated": {"data_type": "timestamp", "description": "When the object was changed (UTC; Fivetran)."},
    "dt_object_observed": {"data_type": "timestamp", "description": "When the object was seen (UTC; Fivetran)."},
    "dt_observed": {"data_type": "timestamp", "description": "When it was seen (UTC; Fivetran)."},
    "object_version": {"data_type": "text", "description": "Version of the object (Fivetran)."},
    "source": {"data_type": "text", "description": "Who wrote the object (Fivetran)."},
}


CONTACTS = RecordTable(
    name="contacts",
    key=("collection", "contact_id"),
    columns=COLUMNS,
    renames={"id": "contact_id", **PHONE_FIELDS},
    references=[
        {"referenced_table": "collections", "columns": ["collection"], "referenced_columns": ["collection"]},
        {"referenced_table": "profiles", "columns": ["profile_id"], "referenced_columns": ["profile_id"]},
    ],
)


def contacts_resource(account: Account, allow_deletes: bool, privacy: Callable[[str], TablePrivacy]) -> DltResource:
    """The `contacts` table.

    Args:
        account: Where to read.
        allow_deletes: Whether a scan may remove more than a tenth of the contacts, of all collections together.
        privacy: What is hashed and dropped, by table.
    """
    return mirror(CONTACTS, _pages, account, allow_deletes, privacy)


def _pages(client: OmetriaClient) -> Iterator[list[JsonObject]]:
    gone: list[str] = []
    short = CountNotices("contacts", "collections")
    collections, doubt = _collections(client)
    for name, count in collections.items():
        read = 0
        try:
            for page in scan(client, f"{PATH}/{quote(name, safe='')}"):
                read += len(page)
                yield [_of(name, contact) for contact in page]
        except NotFoundError:
            gone.append(name)
        else:
            short.note(read, count)
    short.warn()
    if gone:
        still_there, doubt_now = _collections(client)
        doubt = doubt or doubt_now
        if still_there.keys() & set(gone):
            raise NotFoundError(f"{PATH}/{{collection}}")
    if doubt:
        raise doubt
    if gone:
        add_note("contacts", f"{len(gone)} collections were deleted while they were read; their contacts are removed")


def _collections(client: OmetriaClient) -> tuple[dict[str, object], UnprovenScanError | None]:
    """The names of the collections, how many contacts Ometria reports for each, and why these may not be all."""
    counts: dict[str, object] = {}
    doubt = None
    try:
        for page in collection_pages(client):
            counts.update((collection_name(record), record.get("count")) for record in page)
    except UnprovenScanError as error:
        doubt = error
    if "" in counts:
        raise UnexpectedAnswerError(PATH, "a collection without a name")
    return counts, doubt


def _of(collection: str, contact: JsonObject) -> JsonObject:
    """A contact of the collection that was asked for, whatever it says itself."""
    return {**{name: value for name, value in contact.items() if name != "@collection"}, "collection": collection}
