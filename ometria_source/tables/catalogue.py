"""All tables: what each is documented to have, and which come with another."""

from __future__ import annotations

from collections.abc import Mapping

from dlt.common.schema.typing import TTableSchemaColumns

from ometria_source.tables import (
    collections,
    contacts,
    custom_events,
    data_deletion_requests,
    event_rows,
    list_changes,
    lists,
    member_lists,
    orders,
    products,
    profiles,
    push_errors,
    unsubscribes,
)

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
