"""What an account may answer, and a user may set, by which rows would be lost and nobody told. All data is invented."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import dlt
import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.timezone_context import TimezoneContext
from examples import few

from ometria_source import ometria_source
from ometria_source.api import client
from ometria_source.simulator import Behaviour, SimulatedAccount, SimulatedOmetria, answers, shop_answers
from ometria_source.sync import state as watermark
from ometria_source.sync.rows import read_instant


@pytest.fixture(autouse=True)
def no_pace_of_its_own(monkeypatch):
    monkeypatch.setattr(client, "ENDPOINT_LIMITS", {})


def run_in_code(*tables: str, steps: Callable[[Any], object], **settings: Any) -> None:
    source = ometria_source(**settings).with_resources(*tables)
    steps(source)
    dlt.attach("ometria_pipeline").run(source, loader_file_format="parquet")


# What is nested


def test_a_nested_table_that_would_be_emptied_is_refused(account, ometria, run, load, warehouse):
    load("--tables", "orders,products")
    before = {name: warehouse.rows(name) for name in ("order_line_items", "product_listings")}
    for order in account.shop.orders.values():
        order.pop("lineitems")
    for product in account.shop.products.values():
        product["listings"] = None
    result = run("--tables", "orders,products")
    assert result.status == 1
    assert "order_line_items" in result.out + result.err
    assert {name: warehouse.rows(name) for name in before} == before


def test_nested_rows_that_share_a_key_are_all_there_and_told_of(account, ometria, load, warehouse):
    product = next(iter(account.shop.products.values()))
    product["attributes"] = [{"type": "colour", "label": "red"}, {"type": "colour", "label": "blue"}]
    product["listings"] = [{"store": "uk", "currency": "GBP"}, {"store": "uk", "currency": "EUR"}]
    request = account.shop.deletion_requests[account.shop.request_deletion("0" * 32, account.now)]
    request["identities"] = [{"hashed_phone": "a@x"}, {"hashed_phone": "b@x"}, {"hashed_phone": "b@x"}]
    for _ in range(2):
        told = load("--tables", "products,data_deletion_requests").out
        of_product = {
            table: sorted(row[name] for row in warehouse.rows(table) if row["product_id"] == product["id"])
            for table, name in (("product_attributes", "label"), ("product_listings", "currency"))
        }
        assert of_product == {"product_attributes": ["blue", "red"], "product_listings": ["EUR", "GBP"]}
        identities = [row for row in warehouse.rows("data_deletion_identities") if row["request_id"] == request["id"]]
        assert sorted(row["hashed_phone"] for row in identities) == ["a@x", "b@x"]
        assert "product_attributes: 1 rows have the key of another one" in told


def test_a_rule_for_the_key_of_a_table_holds_in_those_that_come_with_it(account, ometria, load, warehouse, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__HASH_COLUMNS", '["orders.order_id"]')
    monkeypatch.setenv("SOURCES__OMETRIA__PII_SALT", "an invented salt")
    load("--tables", "orders")
    orders = {row["order_id"] for row in warehouse.rows("orders")}
    assert not orders & account.shop.orders.keys()
    assert {row["order_id"] for row in warehouse.rows("order_line_items")} <= orders
    assert {row["order_id"] for row in warehouse.rows("order_line_item_options")} <= orders


# Steps of a user's


def test_a_filter_of_the_users_sees_rows_only_and_what_it_leaves_out_goes(account, ometria, load, warehouse):
    load("--tables", "profiles,orders,lists,member_lists")
    order = next(key for key, row in account.shop.orders.items() if row["status"] == "complete" and row["lineitems"])
    account.shop.orders[order]["lineitems"] = account.shop.orders[order]["lineitems"][:1]
    kept = [key for key, row in account.profiles.items() if row["email"]]

    def steps(source: Any) -> None:
        source.profiles.add_filter(lambda row: row["email"] is not None)
        source.profiles.add_map(lambda row: {**row, "email": row["email"].lower()})
        source.orders.add_filter(lambda row: row["status"] == "complete")
        source.lists.add_filter(lambda row: row["title"] is not None)
        source.member_lists.add_filter(lambda row: row["list_id"] != "12")

    tables = ("profiles", "orders", "lists", "member_lists")
    run_in_code(*tables, steps=steps, full_scan_days=0, allow_deletes=True)
    assert sorted(row["profile_id"] for row in warehouse.rows("profiles")) == sorted(kept)
    complete = {key for key, row in account.shop.orders.items() if row["status"] == "complete"}
    assert {row["order_id"] for row in warehouse.rows("orders")} == complete
    assert [row["line_number"] for row in warehouse.rows("order_line_items") if row["order_id"] == order] == [1]
    assert "12" not in {row["list_id"] for row in warehouse.rows("member_lists")}


def test_outside_of_a_run_a_resource_gives_its_own_rows(account, ometria):
    assert {row["order_id"] for row in ometria_source().with_resources("orders")} == account.shop.orders.keys()
    assert {row["profile_id"] for row in ometria_source().profiles} == account.profiles.keys()
    members = [(row["list_id"], row["profile_id"]) for row in ometria_source().member_lists]
    assert len(members) == sum(map(len, account.members.values()))


def test_a_table_under_another_name_loses_what_is_gone(account, ometria, load, warehouse):
    load("--tables", "lists")
    gone, *_ = account.profiles
    for is_erased in (False, True):
        if is_erased:
            account.erase_profile(gone)
        source = ometria_source(full_scan_days=0)
        dlt.attach("ometria_pipeline").run(source.profiles.with_name("people"), loader_file_format="parquet")
        assert {row["profile_id"] for row in warehouse.rows("people")} == account.profiles.keys()


# Clocks


def test_a_scan_of_the_future_does_not_count(account, ometria, load, warehouse, monkeypatch):
    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(days=365)

    with monkeypatch.context() as clock:
        clock.setattr(watermark, "datetime", Ahead)
        load("--tables", "profiles,member_lists")
    changed, gone, *_ = account.profiles
    account.update_profile(changed, firstname="Changed")
    account.erase_profile(gone)
    assert "in the future" in load("--tables", "profiles,member_lists").out
    names = {row["profile_id"]: row["first_name"] for row in warehouse.rows("profiles")}
    assert names.keys() == account.profiles.keys()
    assert names[changed] == "Changed"


def test_an_instant_without_an_offset_is_utc_wherever_dlt_is():
    with Container().injectable_context(TimezoneContext("America/New_York")):
        assert read_instant("2024-07-01 12:00:00") == datetime(2024, 7, 1, 12, tzinfo=timezone.utc)


# Keys


def with_marks(answer: Callable[..., list[dict[str, Any]]]) -> Callable[..., list[dict[str, Any]]]:
    def marked(*arguments: Any) -> list[dict[str, Any]]:
        return [
            {name if name == "profile_id" else f"@{name}": value for name, value in row.items()}
            for row in answer(*arguments)
        ]

    return marked


def test_changes_stay_apart_whatever_their_fields_are_called(account, ometria, load, warehouse, monkeypatch):
    monkeypatch.setattr(shop_answers, "list_changes", with_marks(shop_answers.list_changes))
    load("--tables", "list_changes")
    assert len(warehouse.rows("list_changes")) == sum(map(len, account.shop.list_changes.values()))


def test_changes_whose_event_has_another_name_stay_apart(account, ometria, load, warehouse):
    (list_id, changes), *_ = account.shop.list_changes.items()
    person = next(iter(account.profiles))
    changes.clear()
    for what in ("in", "out", "in again"):
        changes.append({"profile_id": person, "kind": what, "timestamp": "2024-01-02T00:00:00+00:00"})
    load("--tables", "list_changes")
    assert len([row for row in warehouse.rows("list_changes") if row["list_id"] == list_id]) == 3


def test_opt_outs_of_one_second_stay_apart_whatever_their_fields_are_called(
    account, ometria, load, warehouse, monkeypatch
):
    account.unsubscribes.clear()
    for person in list(account.profiles)[:7]:
        account.unsubscribe(person, type="stopword_unsubscribe_TF")["email_address"] = None
    answer = answers._Api.unsubscribes
    monkeypatch.setattr(
        answers._Api,
        "unsubscribes",
        lambda api: [row.replace(b'"profile_id"', b'"@profile_id"') for row in answer(api)],
    )
    load("--tables", "unsubscribes")
    assert len(warehouse.rows("unsubscribes")) == 7


def test_an_error_is_the_same_however_it_is_spelt(account, ometria, load, warehouse):
    account.shop.push_errors.clear()
    account.shop.fail_push(1, account.now)
    (error,) = account.shop.push_errors
    error["record"]["total"] = 1
    error.update({"@source": "a", "source": "b"})
    load("--tables", "push_errors")
    error["record"]["total"] = 1.0
    load("--tables", "push_errors")
    account.shop.push_errors[:] = [dict(reversed(error.items()))]
    load("--tables", "push_errors")
    assert [(row["source"], row["source_e3acd6ee"]) for row in warehouse.rows("push_errors")] == [("b", "a")]


@pytest.mark.parametrize(
    "column", ["list_changes.profile_id", "unsubscribes.email_address", "push_errors.record", "*.email_address"]
)
def test_what_a_key_is_made_of_is_not_left_out_without_a_salt(ometria, run, monkeypatch, column):
    monkeypatch.setenv("SOURCES__OMETRIA__DROP_COLUMNS", json.dumps([column]))
    result = run("--tables", "list_changes,unsubscribes,push_errors")
    assert result.status == 2
    assert "pii_salt" in result.err
    assert not ometria.requests


def test_ids_that_differ_in_case_stay_apart_under_strict(account, ometria, load, warehouse, monkeypatch):
    person = next(iter(account.profiles.values()))
    account.shop.contacts.clear()
    for contact in ("Ada@shop.test", "ada@shop.test", "c1"):
        account.shop.add_contact("customers", contact, person)
    monkeypatch.setenv("SOURCES__OMETRIA__PRIVACY", "strict")
    monkeypatch.setenv("SOURCES__OMETRIA__PII_SALT", "an invented salt")
    load("--tables", "contacts")
    ids = {row["contact_id"] for row in warehouse.rows("contacts")}
    assert len(ids) == 3
    assert not any("@" in contact for contact in ids)


# Answers that deny what there is


def test_a_list_that_had_no_changes_for_a_while_is_made_up_for(account, ometria, load, warehouse):
    list_id = next(key for key, changes in account.shop.list_changes.items() if changes)
    ometria.behaviour = Behaviour(missing=frozenset({f"/lists/{list_id}/changes"}))
    load("--tables", "list_changes")
    ometria.behaviour = Behaviour()
    told = load("--tables", "list_changes").out
    assert len(warehouse.rows("list_changes")) == sum(map(len, account.shop.list_changes.values()))
    assert "means nothing" not in told


def test_contacts_under_no_path_fail_their_table(account, ometria, run):
    ometria.behaviour = Behaviour(missing=frozenset({"/contacts/"}))
    result = run("--tables", "contacts")
    assert result.status == 1
    assert "404" in result.out


def test_a_collection_that_is_listed_and_not_found_keeps_its_contacts(account, ometria, run, load, warehouse):
    load("--tables", "contacts")
    before = warehouse.rows("contacts")
    ometria.fail(
        f"/contacts/{min(account.shop.contacts, key=lambda name: len(account.shop.contacts[name]))}", 404, times=1
    )
    assert run("--tables", "contacts").status == 1
    assert warehouse.rows("contacts") == before


def test_members_do_not_vanish_where_profiles_carry_empty_lists(account, ometria, run, load, warehouse, monkeypatch):
    ometria.behaviour = Behaviour(members_path=None)
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    load("--tables", "profiles,lists,member_lists")
    before = warehouse.rows("member_lists")
    answer = type(account.profiles).answer

    def with_empty_lists(profiles: Any, ids: Any, carry_lists: bool) -> list[bytes]:
        rows = [json.loads(row) for row in answer(profiles, ids, carry_lists=carry_lists)]
        return [json.dumps({**row, "lists": []}).encode() for row in rows]

    monkeypatch.setattr(type(account.profiles), "answer", with_empty_lists)
    assert run("--tables", "profiles,lists,member_lists").status == 1
    assert warehouse.rows("member_lists") == before


@pytest.mark.parametrize("status", few([403, 401]))
def test_under_all_a_table_is_not_left_out_that_was_refused_in_mid_scan(account, ometria, run, monkeypatch, status):
    answer = ometria._answer

    def refusing(method: str, path: str, query: dict[str, str], *rest: Any) -> Any:
        if path == "/profiles" and query.get("offset") not in (None, "0"):
            return answers.RefusalError(status, "invented").answer
        return answer(method, path, query, *rest)

    monkeypatch.setattr(ometria, "_answer", refusing)
    result = run("--tables", "all")
    assert result.status == 1
    assert "profiles was left out" not in result.out


@pytest.mark.slow
def test_under_all_a_table_is_not_left_out_whose_key_is_refused(ometria, run):
    ometria.fail("/orders", 401, times=None)
    result = run("--tables", "all")
    assert result.status == 1
    assert "orders was left out" not in result.out


def test_collections_and_lists_that_end_early_are_told_of(run, load, warehouse, monkeypatch):
    account = SimulatedAccount.invent(3000)
    page = answers._Api.page
    monkeypatch.setattr(answers._Api, "page", lambda api, items, **rest: page(api, items[:1000], **rest))
    with SimulatedOmetria(account) as ometria:
        monkeypatch.setenv("SOURCES__OMETRIA__API_KEY", ometria.api_key)
        monkeypatch.setenv("SOURCES__OMETRIA__BASE_URL", ometria.base_url)
        told = load("--tables", "contacts,lists,member_lists").out
    assert "1 collections gave 1000 rows" in told
    assert "1 lists gave 1000 rows" in told


def test_names_of_fields_that_are_addresses_are_not_shown(account, ometria, run):
    for changes in account.shop.list_changes.values():
        for change in changes:
            change.pop("profile_id")
            change["ada.lovelace@shop.test"] = change.pop("event")
    result = run("--tables", "list_changes")
    assert result.status == 1
    assert "ada" not in result.out + result.err
