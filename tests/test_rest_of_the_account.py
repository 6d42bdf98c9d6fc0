"""The tables beside the first five: every cell, what is gone, and what the documentation leaves open. Invented data."""

from __future__ import annotations

import json
from datetime import timedelta

import dlt
import pytest
import shop_truth

from ometria_source import ometria_source
from ometria_source.api import client
from ometria_source.simulator import Behaviour
from ometria_source.tables import DOCUMENTED

MIRRORS = "collections,contacts,orders,products,custom_events,data_deletion_requests"
REST = f"{MIRRORS},list_changes,push_errors"


@pytest.fixture(autouse=True)
def no_pace_of_its_own(monkeypatch):
    """What is tested here is not the limit of 6 a minute: see tests/api/test_pacing.py."""
    monkeypatch.setattr(client, "ENDPOINT_LIMITS", {})


def assert_all(warehouse, account) -> None:
    shop_truth.assert_tables(warehouse, account)
    shop_truth.assert_list_changes(warehouse, account)
    shop_truth.assert_push_errors(warehouse, account)


def test_every_cell_equals_the_account_and_a_second_run_changes_nothing(account, ometria, load, warehouse):
    load("--tables", REST)
    assert_all(warehouse, account)
    load("--tables", REST)
    assert_all(warehouse, account)


@pytest.mark.slow
def test_each_table_has_its_own_columns_and_no_other(account, ometria, load, warehouse):
    load("--tables", REST)
    for table in (*shop_truth.KEYS, "list_changes", "push_errors"):
        columns = {name for name in warehouse.rows(table)[0] if not name.startswith("_dlt")}
        assert columns == set(DOCUMENTED[table]), table


@pytest.mark.slow
def test_changes_and_what_is_gone_show_in_the_next_run(account, ometria, load, warehouse):
    load("--tables", REST)
    shop_truth.change(account)
    load("--tables", REST)
    assert_all(warehouse, account)


@pytest.mark.slow
@pytest.mark.parametrize(
    "spelling",
    [
        {"metadata_prefix": "_", "collection_field": "id", "order_discount": "@discount"},
        {"metadata_prefix": "", "over_limit": "refuse", "max_limit": 250, "short_pages": True},
        {"push_errors_are_flat": True, "changes_paged": True, "changes_profile_field": "@profile_id"},
        {"changes_parameter": None, "lists_paged": True},
    ],
)
def test_other_spellings_of_what_the_reference_leaves_open_give_the_same_rows(
    account, ometria, load, warehouse, spelling
):
    ometria.behaviour = Behaviour(**spelling)
    load("--tables", REST)
    assert_all(warehouse, account)
    shop_truth.change(account)
    load("--tables", REST)
    assert_all(warehouse, account)


def test_a_consent_that_comes_as_true_or_false_is_kept_as_it_is(account, ometria, load, warehouse):
    load("--tables", "contacts")
    ometria.behaviour = Behaviour(optin_is_bool=True)
    load("--tables", "contacts")
    wanted = {"EXPLICITLY_OPTEDIN": True, "EXPLICITLY_OPTEDOUT": False}
    for row in warehouse.rows("contacts"):
        contact = account.shop.contacts[row["collection"]][row["contact_id"]]
        assert row["marketing_optin"] is None
        assert row["marketing_optin__v_bool"] == wanted.get(contact["marketing_optin"])


def test_a_contact_id_in_two_collections_is_two_contacts(account, ometria, load, warehouse):
    load("--tables", "contacts")
    rows = [row["collection"] for row in warehouse.rows("contacts") if row["contact_id"] == "0000"]
    assert sorted(rows) == ["customers", "newsletter"]


def test_to_enter_leave_and_enter_a_list_again_is_three_changes(account, ometria, load, warehouse):
    list_id, person = next((key, rows[-1]["profile_id"]) for key, rows in account.shop.list_changes.items() if rows)
    load("--tables", "list_changes")
    rows = sorted(warehouse.rows("list_changes"), key=lambda row: row["timestamp"])
    moves = [row["event"] for row in rows if (row["list_id"], row["profile_id"]) == (list_id, person)]
    assert moves == ["list_enter", "list_exit", "list_enter"]


def test_two_errors_of_one_record_in_one_request_are_two(account, ometria, load, warehouse):
    account.shop.push_errors.clear()
    for _ in range(2):
        account.shop.fail_push(1, account.now)
    load("--tables", "push_errors")
    rows = warehouse.rows("push_errors")
    assert len(rows) == 2
    assert len({(row["request_id"], row["record_id"], row["timestamp"]) for row in rows}) == 1


def test_two_equal_line_items_of_one_order_are_two(account, ometria, load, warehouse):
    order = next(order for order in account.shop.orders.values() if len(order["lineitems"]) == 3)
    assert order["lineitems"][1] == order["lineitems"][2]
    load("--tables", "orders")
    rows = [row["line_number"] for row in warehouse.rows("order_line_items") if row["order_id"] == order["id"]]
    assert sorted(rows) == [1, 2, 3]


def test_a_parameter_that_means_nothing_is_told_of(account, ometria, load):
    load("--tables", "list_changes")
    assert "means nothing" not in load("--tables", "list_changes").out
    ometria.behaviour = Behaviour(changes_parameter=None)
    assert "`since` means nothing to this server" in load("--tables", "list_changes").out


def test_a_limited_run_replaces_what_it_read_and_removes_nothing_else(account, ometria, load, warehouse):
    load("--tables", "orders")
    orders = list(account.shop.orders.values())
    orders[1]["lineitems"] = []
    orders[2]["lineitems"][0]["variant_options"] = []
    orders[3]["lineitems"] = orders[3]["lineitems"][:1]
    gone = account.shop.orders.pop(orders[4]["id"])
    pipeline = dlt.attach("ometria_pipeline")
    source = ometria_source().with_resources("orders")
    # the rows of a page of orders, of their line items, and of the options of these
    source.orders.add_limit(3)
    pipeline.run(source, loader_file_format="parquet")
    account.shop.orders[gone["id"]] = gone
    shop_truth.assert_tables(warehouse, account, ["orders", "order_line_items", "order_line_item_options"])


def test_a_limited_run_touches_no_contact_that_only_looks_like_one_it_read(account, ometria, load, warehouse):
    """Names and ids with the character in them that stands between the two."""
    shop, people = account.shop, account.profiles
    person = people[next(iter(people))]
    shop.contacts = {"a": shop.contacts["newsletter"], "a/b": {}}
    shop.contacts["a"].clear()
    for collection, contact_id in (("a", "b/c"), ("a", "x"), ("a/b", "c"), ("a/b", "/c")):
        shop.add_contact(collection, contact_id, person)
    load("--tables", "contacts")
    shop.contacts["a"]["b/c"]["email"] = "changed@shop.test"
    source = ometria_source().with_resources("contacts")
    source.contacts.add_limit(1)
    dlt.attach("ometria_pipeline").run(source, loader_file_format="parquet")
    shop_truth.assert_tables(warehouse, account, ["contacts"])


def test_a_scan_that_would_empty_a_table_is_refused(account, ometria, run, load, warehouse):
    load("--tables", MIRRORS)
    account.shop.contacts.clear()
    account.shop.orders.clear()
    result = run("--tables", "contacts,orders,products")
    assert result.status == 1
    assert result.out.count("was not loaded") == 2
    assert warehouse.rows("contacts")
    assert warehouse.rows("order_line_items")


@pytest.mark.parametrize(
    "table",
    [
        name if name in ("contacts", "list_changes") else pytest.param(name, marks=pytest.mark.slow)
        for name in REST.split(",")
    ],
)
def test_an_endpoint_that_is_not_offered_fails_alone_if_it_was_named(account, ometria, run, load, warehouse, table):
    load("--tables", table)
    paths = {"custom_events": "/custom-events", "data_deletion_requests": "/data-deletion-requests",
             "push_errors": "/push", "collections": "/contacts", "list_changes": "/lists"}  # fmt: skip
    ometria.behaviour = Behaviour(forbidden=frozenset({paths.get(table, f"/{table}")}))
    rows = warehouse.rows(table)
    result = run("--tables", f"{table},profiles")
    assert result.status == 1
    assert f"{table} was not loaded." in result.out
    assert warehouse.rows(table) == rows
    assert len(warehouse.rows("profiles")) == len(account.profiles)


@pytest.mark.slow
def test_all_takes_what_the_account_offers(account, ometria, run, load, warehouse):
    load("--tables", "orders")
    before = warehouse.rows("orders")
    ometria.behaviour = Behaviour(forbidden=frozenset({"/orders"}), missing=frozenset({"/custom-events"}))
    result = load("--tables", "all")
    for table in ("orders", "custom_events", "email_events", "email_event_files"):
        assert f"{table} was left out." in result.out
    assert warehouse.rows("orders") == before
    assert len(warehouse.rows("products")) == len(account.shop.products)
    ometria.behaviour = Behaviour()
    load("--tables", "all")
    shop_truth.assert_tables(warehouse, account)


@pytest.mark.parametrize("status", [401, 403])
def test_all_fails_where_every_endpoint_refuses_the_key(account, ometria, run, monkeypatch, status):
    monkeypatch.setenv("SOURCES__OMETRIA__API_KEY", "another-key-1111")
    ometria.behaviour = Behaviour(refused_status=status)
    result = run("--tables", "all")
    assert result.status == 1
    assert "refuses the API key" in result.out


def test_a_table_that_comes_with_another_is_not_named_itself(ometria, run):
    result = run("--tables", "order_line_items")
    assert result.status == 2
    assert "`orders`" in result.err


def test_none_of_these_is_read_by_default(account, ometria, load):
    assert "orders" not in ometria_source().selected_resources
    load()
    assert {request.path.split("/")[1] for request in ometria.requests} == {"profiles", "lists", "unsubscribes"}


@pytest.mark.parametrize("cap", [10, 250])
def test_list_changes_that_look_cut_are_loaded_with_a_notice(account, ometria, load, cap):
    list_id = next(key for key, rows in account.shop.list_changes.items() if rows)
    person = list(account.profiles)[0]
    for minute in range(300):
        account.shop.change_list(list_id, person, "list_enter", account.now - timedelta(minutes=minute))
    ometria.behaviour = Behaviour(changes_cap=cap)
    result = load("--tables", "list_changes")
    assert "list_changes: unproven for " in result.out
    assert "looks cut" in result.out


def test_changes_without_a_profile_are_refused_with_the_names_of_their_fields(account, ometria, run):
    ometria.behaviour = Behaviour(changes_profile_field="person")
    result = run("--tables", "list_changes")
    assert result.status == 1
    assert "`email`, `event`, `person`, `timestamp`" in result.out


def test_errors_that_may_have_been_missed_are_told_of(account, ometria, load):
    for number in range(120):
        account.shop.fail_push(number, account.now)
    assert "push_errors: all" not in load("--tables", "push_errors").out
    for number in range(120):
        account.shop.fail_push(number, account.now)
    assert "push_errors: all 100 errors are new" in load("--tables", "push_errors").out
    account.shop.fail_push(1, account.now)
    assert "push_errors: all" not in load("--tables", "push_errors").out


def test_a_full_refresh_and_a_drop_leave_no_child_behind(account, ometria, load, warehouse):
    load("--tables", "orders,products")
    account.shop.orders.clear()
    load("--tables", "orders", "--full-refresh")
    for table in ("orders", "order_line_items", "order_line_item_options"):
        assert not warehouse.rows(table) if table in warehouse.tables() else True
    assert len(warehouse.rows("product_listings")) == len(shop_truth.expected(account)["product_listings"])


@pytest.mark.slow
def test_a_strict_load_holds_nobody_and_joins(account, ometria, load, warehouse, monkeypatch):
    load("--tables", f"{REST},profiles")
    raw = {table: len(warehouse.rows(table)) for table in (*shop_truth.KEYS, "list_changes", "push_errors")}
    monkeypatch.setenv("SOURCES__OMETRIA__PRIVACY", "strict")
    monkeypatch.setenv("SOURCES__OMETRIA__PII_SALT", "an invented salt")
    load("--tables", f"{REST},profiles", "--full-refresh")
    people = [account.profiles[key] for key in account.profiles]
    personal = {
        *(person["email"].strip().lower() for person in people if person["email"]),
        *(person["date_of_birth"] for person in people if person["date_of_birth"]),
        *("+4477009", "192.0.2.", "LS1 4AP", "agent@shop.test", "wrong@shop.test", "ticket", "Agent"),
    }
    for table, count in raw.items():
        rows = warehouse.rows(table)
        assert len(rows) == count, table
        text = json.dumps(rows, default=str).lower()
        found = [value for value in personal if value.lower() in text]
        assert not found, table
    hashes = {row["email"] for row in warehouse.rows("profiles")}
    assert {row["customer__email"] for row in warehouse.rows("orders")} <= {None, *hashes}
    assert {row["identity_email"] for row in warehouse.rows("custom_events")} <= {None, *hashes}


def test_rows_of_two_privacy_settings_are_not_mixed_in_a_table_that_comes_with_another(
    account, ometria, run, load, monkeypatch
):
    load("--tables", "orders")
    monkeypatch.setenv("SOURCES__OMETRIA__DROP_COLUMNS", '["order_line_items.sku"]')
    result = run("--tables", "orders")
    assert result.status == 2
    assert "`order_line_items`" in result.err
    load("--tables", "orders", "--full-refresh")
    load("--tables", "orders")


def test_changes_of_the_fields_of_a_nested_table_are_named(account, ometria, load, warehouse):
    load("--tables", "orders")
    items = [item for order in account.shop.orders.values() for item in order["lineitems"]]
    items[0]["colour"] = "red"
    items[1]["quantity"] = "many"
    for item in items:
        item.pop("is_on_sale")
    out = load("--tables", "orders").out
    assert "orders: new columns: order_line_items.colour\n" in out
    assert "`order_line_items.quantity` now also comes as text: see `order_line_items.quantity__v_text`" in out
    assert "order_line_items: not in any row of this run: is_on_sale" in out
    rows = warehouse.rows("order_line_items")
    assert [row["colour"] for row in rows if row["colour"]] == ["red"]
    assert [row["quantity__v_text"] for row in rows if row["quantity__v_text"]] == ["many"]


def test_errors_that_differ_in_what_is_hidden_stay_two(account, ometria, load, warehouse, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__PRIVACY", "strict")
    monkeypatch.setenv("SOURCES__OMETRIA__PII_SALT", "an invented salt")
    account.shop.push_errors.clear()
    for _ in range(2):
        account.shop.fail_push(1, account.now)
    load("--tables", "push_errors")
    rows = warehouse.rows("push_errors")
    assert len(rows) == 2
    assert {row["message__error_message"] for row in rows} == {None}


def test_a_limited_run_that_only_adds_rows_loads_no_marker(account, ometria, load, warehouse):
    source = ometria_source().with_resources("orders")
    source.orders.apply_hints(write_disposition="append")
    for table in ("order_line_items", "order_line_item_options"):
        source.orders.apply_hints(table_name=table, write_disposition="append", create_table_variant=True)
    source.orders.add_limit(3)
    load("--tables", "lists")
    dlt.attach("ometria_pipeline").run(source, loader_file_format="parquet")
    for table in ("orders", "order_line_items", "order_line_item_options"):
        assert not [row for row in warehouse.rows(table) if row["order_id"].startswith("*")]
