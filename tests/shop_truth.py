"""What the tables beside the first five must hold, worked out from the simulated account without code of the loader."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from conftest import Warehouse
from truth import assert_row, utc

from ometria_source.simulator import SimulatedAccount

# Objects whose fields are columns.
OBJECTS = ("customer", "totals", "base", "local", "shipping_address", "billing_address", "channels", "sms", "message",
           "source", "user")  # fmt: skip

INSTANTS = ("timestamp", "dt_", "special_price_dt_")


def _flat(record: Mapping[str, Any], without: Iterable[str] = (), within: str = "") -> dict[str, Any]:
    row: dict[str, Any] = {}
    for field, value in record.items():
        name = field.lstrip("@_")
        if field == "@type" or field in without:
            continue
        if name in OBJECTS and (value is None or isinstance(value, dict)):
            row.update(_flat(value or {}, (), f"{within}{name}__"))
        elif value is not None and name.startswith(INSTANTS):
            row[f"{within}{name}"] = utc(value)
        elif value is not None and name == "date_of_birth":
            row[name] = date.fromisoformat(value)
        elif name == "phone_number" and isinstance(value, dict):
            row.update(phone_number=value["number"], phone_number_country=value["country_code"])
        else:
            row[f"{within}{name}"] = value
    return row


def _named(row: dict[str, Any], **names: str) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in row.items()}


def expected(account: SimulatedAccount) -> dict[str, list[dict[str, Any]]]:
    """All rows of each table but `list_changes` and `push_errors`, whose keys are hashes."""
    shop = account.shop
    orders = shop.orders.values()
    items = [(order, number, item) for order in orders for number, item in enumerate(order["lineitems"], 1)]
    products = shop.products.values()
    return {
        "collections": [{"collection": name, "count": len(rows)} for name, rows in shop.contacts.items()],
        "contacts": [_named(_flat(row), id="contact_id") for rows in shop.contacts.values() for row in rows.values()],
        "orders": [_named(_flat(row, ["lineitems"]), id="order_id") for row in orders],
        "order_line_items": [
            {"order_id": order["id"], "line_number": number, **_flat(item, ["variant_options"])}
            for order, number, item in items
        ],
        "order_line_item_options": [
            {"order_id": order["id"], "line_number": number, "option_number": place, **option}
            for order, number, item in items
            for place, option in enumerate(item.get("variant_options", []), 1)
        ],
        "products": [_named(_flat(row, ["attributes", "listings"]), id="product_id") for row in products],
        "product_listings": [{"product_id": row["id"], **listing} for row in products for listing in row["listings"]],
        "product_attributes": [{"product_id": row["id"], **part} for row in products for part in row["attributes"]],
        "custom_events": [_named(_flat(row), id="custom_event_id") for row in shop.custom_events.values()],
        "data_deletion_requests": [
            _named(_flat(row, ["identities"]), id="request_id") for row in shop.deletion_requests.values()
        ],
        "data_deletion_identities": [
            {"request_id": row["id"], **identity}
            for row in shop.deletion_requests.values()
            for identity in row["identities"]
        ],
    }


KEYS = {
    "collections": ("collection",),
    "contacts": ("collection", "contact_id"),
    "orders": ("order_id",),
    "order_line_items": ("order_id", "line_number"),
    "order_line_item_options": ("order_id", "line_number", "option_number"),
    "products": ("product_id",),
    "product_listings": ("product_id", "store"),
    "product_attributes": ("product_id", "type", "id"),
    "custom_events": ("custom_event_id",),
    "data_deletion_requests": ("request_id",),
    "data_deletion_identities": ("request_id", "hashed_email"),
}


def assert_tables(warehouse: Warehouse, account: SimulatedAccount, tables: Iterable[str] = KEYS) -> None:
    """Every cell of these tables equals the account's value, and no row is missing, doubled or left over."""
    rows = expected(account)
    for table in tables:
        key = KEYS[table]
        wanted = {tuple(row[name] for name in key): row for row in rows[table]}
        found = warehouse.rows(table)
        by_key = {tuple(row[name] for name in key): row for row in found}
        assert len(by_key) == len(found), table
        assert by_key.keys() == wanted.keys(), table
        for identifier, row in wanted.items():
            assert_row(by_key[identifier], row)


def assert_list_changes(warehouse: Warehouse, account: SimulatedAccount) -> None:
    """`list_changes` holds each change of each list once."""
    wanted = [
        (list_id, row["profile_id"], row["email"], row["event"], utc(row["timestamp"]))
        for list_id, changes in account.shop.list_changes.items()
        for row in changes
    ]
    rows = warehouse.rows("list_changes")
    found = [(row["list_id"], row["profile_id"], row["email"], row["event"], row["timestamp"]) for row in rows]
    assert sorted(found, key=repr) == sorted(wanted, key=repr)
    assert len({row["list_change_id"] for row in rows}) == len(rows)


def assert_push_errors(warehouse: Warehouse, account: SimulatedAccount) -> None:
    """`push_errors` holds each error once."""
    wanted = [
        json.dumps({**row, "timestamp": str(utc(row["timestamp"]))}, sort_keys=True) for row in account.shop.push_errors
    ]
    found = [
        json.dumps(
            {
                **{name: row[name] for name in ("request_id", "record_type", "record_id")},
                # files hold JSON as text
                "record": json.loads(row["record"]) if isinstance(row["record"], str) else row["record"],
                "timestamp": str(row["timestamp"].astimezone(utc("2024-01-01T00:00:00Z").tzinfo)),
                "message": {name: row[f"message__{name}"] for name in ("error_message", "error_path")},
            },
            sort_keys=True,
        )
        for row in warehouse.rows("push_errors")
    ]
    assert sorted(found) == sorted(wanted)


def change(account: SimulatedAccount) -> None:
    """Something is added, changed and removed in each collection, and each log grows."""
    shop, people = account.shop, account.profiles
    account.advance(timedelta(minutes=5))
    account.erase_profile(list(people)[0])
    shop.add_contact("newsletter", "new", people[list(people)[3]])
    del shop.contacts["in store/till 2"]
    orders = list(shop.orders.values())
    with_items = [order for order in orders if len(order["lineitems"]) == 3]
    with_items[0].update(status="refunded", total_refunded=4.5, lineitems=with_items[0]["lineitems"][1:])
    with_items[1]["lineitems"] = []
    with_items[2]["lineitems"][0]["variant_options"] = []
    del shop.orders[orders[0]["id"]]
    products = list(shop.products.values())
    products[4]["price"] = 99.5
    products[5]["listings"] = products[5]["listings"][:1]
    products[6]["attributes"] = []
    del shop.products[products[8]["id"]]
    del shop.custom_events["event 3"]
    shop.complete_deletion(shop.request_deletion("ab" * 16, account.now))
    shop.change_list(next(iter(account.lists)), list(people)[1], "list_exit", account.now)
    shop.fail_push(1, account.now)
