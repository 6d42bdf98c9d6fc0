"""The retailer's own records in the simulated account: coherent, paged, and spelled as the knobs say."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from urllib.parse import quote

import pytest
from asking import ask

from ometria_source.simulator import Behaviour, SimulatedAccount

NOW = datetime(2024, 3, 5, 10, 20, 30, tzinfo=timezone.utc)


@pytest.fixture
def account() -> SimulatedAccount:
    return SimulatedAccount.invent(60, now=NOW)


def test_orders_refer_to_products_and_to_people(account):
    shop, customers = account.shop, {row["customer_id"] for row in account.profiles.values()}
    for order in shop.orders.values():
        assert order["customer"] is None or order["customer"]["id"] in customers
        for item in order["lineitems"]:
            assert item["product_id"] in shop.products


def test_contacts_refer_to_people_and_leave_with_them(account):
    person = account.profiles.ids()[0]
    contacts = [row for rows in account.shop.contacts.values() for row in rows.values()]
    assert {row["@profile_id"] for row in contacts} <= set(account.profiles)
    account.erase_profile(person)
    contacts = [row for rows in account.shop.contacts.values() for row in rows.values()]
    assert person not in {row["@profile_id"] for row in contacts}


def test_a_collection_is_paged_whatever_its_name(account, ometria):
    names = [row["collection"] for row in ask(ometria, "/contacts").json()]
    assert names == list(account.shop.contacts)
    for name in names:
        wanted = list(account.shop.contacts[name])
        found = ask(ometria, f"/contacts/{quote(name, safe='')}", limit=4, offset=1).json()
        assert [row["id"] for row in found] == wanted[1:5]


def test_products_come_without_variants_unless_asked_for(account, ometria):
    parents = ask(ometria, "/products", limit=250).json()
    everything = ask(ometria, "/products", limit=250, includeVariants="true").json()
    assert not any(row["is_variant"] for row in parents)
    assert len(everything) == len(account.shop.products) > len(parents)
    active = ask(ometria, "/products", limit=250, includeVariants="true", active="true").json()
    assert active == [row for row in everything if row["is_active"]]


def test_the_changes_of_a_list_since_a_time(account, ometria):
    rows = account.shop.list_changes["77"]
    since = (NOW - timedelta(days=6)).strftime("%Y-%m-%dT%H:%M:%S")
    assert ask(ometria, "/lists/77/changes").json() == rows
    assert ask(ometria, "/lists/77/changes", since=since).json() == rows[-1:]
    ometria.behaviour = Behaviour(changes_parameter=None)
    assert ask(ometria, "/lists/77/changes", since=since).json() == rows


def test_push_errors_are_the_newest_hundred(account, ometria):
    for number in range(120):
        account.shop.fail_push(number, NOW)
    errors = ask(ometria, "/push/_errors").json()
    assert errors == account.shop.push_errors[:-101:-1]
    ometria.behaviour = Behaviour(push_errors_are_flat=True)
    assert "error_path" in ask(ometria, "/push/_errors").json()[0]


@pytest.mark.parametrize("path", ["/orders", "/custom-events", "/data-deletion-requests", "/contacts", "/products"])
def test_an_endpoint_may_be_missing_or_forbidden(ometria, path):
    assert ask(ometria, path).status_code == 200
    ometria.behaviour = Behaviour(missing=frozenset({path}))
    assert ask(ometria, path).status_code == 404
    ometria.behaviour = Behaviour(forbidden=frozenset({path}))
    assert ask(ometria, path).status_code == 403


def test_fields_are_spelled_as_the_knobs_say(ometria):
    ometria.behaviour = Behaviour(metadata_prefix="_", collection_field="id", order_discount="@discount")
    assert "_dt_object_created" in ask(ometria, "/contacts/customers").json()[0]
    assert ask(ometria, "/contacts").json()[0]["id"] == "customers"
    assert "@discount" in ask(ometria, "/orders").json()[0]
    ometria.behaviour = Behaviour(orders_have_totals=False, custom_events=False, optin_is_bool=True)
    order = ask(ometria, "/orders", offset=3).json()[0]
    assert "totals" not in order
    assert "totals" not in order["lineitems"][0]
    assert ask(ometria, "/custom-events").status_code == 404
    assert ask(ometria, "/contacts/customers").json()[0]["marketing_optin"] in (True, False, None)
