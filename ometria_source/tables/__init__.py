"""All tables: their documented columns, the tables nested in them, and which of their columns are personal.

`privacy = "strict"` follows these registries for documented columns; for others it goes by `privacy.words`.
"""

from __future__ import annotations

from collections.abc import Mapping

from dlt.common.schema.typing import TTableSchemaColumns

from ometria_source.privacy.rules import CODE, DROP, HASH, KEEP, Preset
from ometria_source.privacy.words import is_harmless, list_digest
from ometria_source.tables import (
    collections,
    contacts,
    custom_events,
    data_deletion_requests,
    list_changes,
    lists,
    member_lists,
    orders,
    products,
    profiles,
    push_errors,
    unsubscribes,
)
from ometria_source.tables.email_events import rows as event_rows

# Those that are made of the records of one collection, each with the tables of what is nested in them.
_RECORDS = (
    collections.COLLECTIONS,
    contacts.CONTACTS,
    orders.ORDERS,
    products.PRODUCTS,
    custom_events.CUSTOM_EVENTS,
    data_deletion_requests.REQUESTS,
)

# Documented columns by table.
DOCUMENTED: Mapping[str, TTableSchemaColumns] = {
    "profiles": profiles.COLUMNS,
    "lists": lists.COLUMNS,
    "member_lists": member_lists.COLUMNS,
    "unsubscribes": unsubscribes.COLUMNS,
    event_rows.TABLE: event_rows.COLUMNS,
    **{table.name: table.columns for record in _RECORDS for table in record.family()},
    "list_changes": list_changes.COLUMNS,
    "push_errors": push_errors.COLUMNS,
}

# The tables that come with another, by that.
NESTED: Mapping[str, tuple[str, ...]] = {
    record.name: tuple(table.name for table in record.family() if table is not record)
    for record in _RECORDS
    if record.children
}

# The table that each of these comes with.
PARENTS: Mapping[str, str] = {name: parent for parent, names in NESTED.items() for name in names}


# What `strict` does to documented columns: an address and a number can still join, hashed; of a name, a birthday or a
# free text, a hash is of no use.
STRICT_DOCUMENTED: Mapping[str, Mapping[str, str]] = {
    "profiles": {
        "email": HASH,
        "phone_number": HASH,
        **dict.fromkeys(("customer_name", "prefix", "first_name", "middlename", "last_name", "suffix"), DROP),
        **dict.fromkeys(("date_of_birth", "identities", "properties"), DROP),
    },
    "lists": {"description": DROP},
    "unsubscribes": {"email_address": HASH, "reason_text": DROP, "reason": CODE},
    "contacts": {
        "email": HASH,
        "phone_number": HASH,
        **dict.fromkeys(("prefix", "firstname", "middlename", "lastname", "date_of_birth", "properties"), DROP),
    },
    "orders": {
        "customer__email": HASH,
        **dict.fromkeys(("customer__firstname", "customer__lastname", "ip_address", "properties"), DROP),
        **{name: DROP for name in DOCUMENTED["orders"] if "_address__" in name and not name.endswith("country_code")},
    },
    "order_line_items": {"properties": DROP},
    "order_line_item_options": {"label": DROP},
    # what a shop says of its goods
    "products": {"title": KEEP, "stores": KEEP, "properties": KEEP},
    "product_listings": {"title": KEEP},
    "product_attributes": {"label": KEEP},
    "custom_events": {"identity_email": HASH, "properties": DROP},
    "list_changes": {"email": HASH},
    "push_errors": {"record": DROP, "message__error_message": DROP},
    "data_deletion_requests": {
        "source__user__email": HASH,
        "source__user__name": DROP,
        "comment": DROP,
        "summary": DROP,
    },
    # Ometria's own hash has no secret, so that addresses can be tried on it
    "data_deletion_identities": {"hashed_email": HASH},
}

# Merge, cursor or lineage need these as they are.
UNTOUCHABLE: Mapping[str, frozenset[str]] = {
    "lists": frozenset({"list_id"}),
    "member_lists": frozenset({"list_id"}),
    "unsubscribes": frozenset({"unsubscribe_id", "timestamp", "_cursor"}),
    "list_changes": frozenset({"list_change_id", "list_id", "timestamp", "_cursor"}),
    "push_errors": frozenset({"push_error_id"}),
    event_rows.TABLE: frozenset(event_rows.COLUMNS),
}
# The tables whose keys a rule for all tables may mean.
PEOPLE = ("profiles", "lists", "member_lists", "unsubscribes", event_rows.TABLE)

# A key can be hashed, the same in every table, but not left out.
KEYS: Mapping[str, frozenset[str]] = {
    "profiles": frozenset({"profile_id"}),
    "member_lists": frozenset({"profile_id"}),
    **{
        name: frozenset(column for column, hints in columns.items() if hints.get("nullable") is False)
        for name, columns in DOCUMENTED.items()
        if name not in PEOPLE
    },
}


# Names of columns in which two spellings are two things, also of what looks like an address.
KEY_COLUMNS = frozenset().union(*KEYS.values())

# Keys that are hashes of these: one that is left out is hashed into the key, or else rows would become one.
HASHED_INTO_KEYS: Mapping[str, frozenset[str]] = {
    "unsubscribes": frozenset(unsubscribes.KEY_FIELDS),
    "list_changes": frozenset(list_changes.KEY_FIELDS),
    "push_errors": frozenset(push_errors.COLUMNS),
}

# Ids that `strict` keeps, by whatever table they come in.
IDS = frozenset(
    column
    for table, columns in DOCUMENTED.items()
    for column in columns
    if column.endswith(("_id", "__id")) and column not in STRICT_DOCUMENTED.get(table, {})
)


def strict(table: str) -> Preset:
    """The preset `strict` for a table."""
    return Preset("strict", STRICT_DOCUMENTED.get(table, {}), _is_harmless, list_digest())


def _is_harmless(name: str) -> bool:
    """Whether an undocumented column is kept: as an id of other tables is, which hold the same values."""
    return name in IDS or is_harmless(name)
