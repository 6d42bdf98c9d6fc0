"""What the simulated API answers about the retailer's own records: see `shop`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ometria_source.simulator.behaviour import Behaviour
from ometria_source.simulator.shop import MOST_PUSH_ERRORS, Record, Shop
from ometria_source.simulator.timestamps import parse

# What the reference spells with an `@`, a `_` or neither.
METADATA = ("dt_object_created", "dt_object_updated")


def contacts(shop: Shop, behaviour: Behaviour, collection: str) -> list[Record]:
    """The contacts of a collection."""
    return [_contact(row, behaviour) for row in shop.contacts[collection].values()]


def _contact(contact: Mapping[str, Any], behaviour: Behaviour) -> Record:
    row = dict(contact)
    for name in METADATA:
        if name in row:
            row[f"{behaviour.metadata_prefix}{name}"] = row.pop(name)
    if behaviour.optin_is_bool:
        row["marketing_optin"] = {"EXPLICITLY_OPTEDIN": True, "EXPLICITLY_OPTEDOUT": False}.get(row["marketing_optin"])
    return row


def collections(shop: Shop, behaviour: Behaviour) -> list[Record]:
    """The collections, with their counts."""
    return [{behaviour.collection_field: name, "count": len(rows)} for name, rows in shop.contacts.items()]


def orders(shop: Shop, behaviour: Behaviour) -> list[Record]:
    """The orders, in internal order."""
    if behaviour.order_discount == "discount" and behaviour.orders_have_totals:
        return list(shop.orders.values())
    return [_order(row, behaviour) for row in shop.orders.values()]


def _order(order: Mapping[str, Any], behaviour: Behaviour) -> Record:
    row = dict(order)
    row[behaviour.order_discount] = row.pop("discount")
    if not behaviour.orders_have_totals:
        del row["totals"]
        row["lineitems"] = [{k: v for k, v in item.items() if k != "totals"} for item in row["lineitems"]]
    return row


def products(shop: Shop, query: Mapping[str, str]) -> list[Record]:
    """The products that a query asks for: without `includeVariants=true`, parents only."""
    with_variants = query.get("includeVariants") == "true"
    wanted = {"true": True, "false": False}.get(query.get("active", ""))
    return [
        row
        for row in shop.products.values()
        if (with_variants or not row["is_variant"]) and wanted in (None, row["is_active"])
    ]


def list_changes(shop: Shop, behaviour: Behaviour, list_id: str, query: Mapping[str, str]) -> list[Record]:
    """The changes of a list since a time, if its parameter has the name that this server honours."""
    rows = shop.list_changes.get(list_id, [])
    since = parse(query.get(behaviour.changes_parameter or "", ""))
    if since is not None:
        rows = [row for row in rows if (moment := parse(row["timestamp"])) is None or moment >= since]
    if behaviour.changes_profile_field != "profile_id":
        rows = [{behaviour.changes_profile_field: row["profile_id"], **_without(row, "profile_id")} for row in rows]
    return rows[: behaviour.changes_cap]


def push_errors(shop: Shop, behaviour: Behaviour) -> list[Record]:
    """The newest push errors, newest first."""
    rows = shop.push_errors[-MOST_PUSH_ERRORS:][::-1]
    if behaviour.push_errors_are_flat:
        rows = [{**_without(row, "message"), **row["message"]} for row in rows]
    return rows


def _without(row: Mapping[str, Any], *names: str) -> Record:
    return {name: value for name, value in row.items() if name not in names}


def answers(
    shop: Shop, behaviour: Behaviour, parts: Sequence[str], query: Mapping[str, str]
) -> tuple[list[Record], bool] | None:
    """What a path gives, and whether it is paged; None: there is no such path."""
    match parts:
        case ["contacts"]:
            return collections(shop, behaviour), True
        case ["contacts", *names] if "/".join(names) in shop.contacts:
            return contacts(shop, behaviour, "/".join(names)), True
        case ["orders"]:
            return orders(shop, behaviour), True
        case ["products"]:
            return products(shop, query), True
        case ["custom-events"] if behaviour.custom_events:
            return list(shop.custom_events.values()), True
        case ["lists", list_id, "changes"]:
            return list_changes(shop, behaviour, list_id, query), behaviour.changes_paged
        case ["push", "_errors"]:
            return push_errors(shop, behaviour), behaviour.push_errors_paged
        case ["data-deletion-requests"]:
            return list(shop.deletion_requests.values()), True
    return None
