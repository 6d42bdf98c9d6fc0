"""Loads and reloads of a whole account, as a user runs them."""

from __future__ import annotations

from datetime import timedelta

import pytest
import truth

from ometria_source.simulator import Behaviour

# The default, and both ways of which it chooses one.
WAYS_TO_MEMBERS = ["auto", *(pytest.param(way, marks=pytest.mark.slow) for way in ("lists", "profiles"))]


def test_a_first_load_equals_the_account(account, ometria, export, load, warehouse):
    load()
    truth.assert_equal(warehouse, account)
    assert warehouse.tables() == {"profiles", "lists", "member_lists", "unsubscribes", "email_events"}


@pytest.mark.parametrize("way", WAYS_TO_MEMBERS)
def test_a_second_run_doubles_nothing_and_reads_only_what_may_have_changed(
    account, ometria, export, load, warehouse, monkeypatch, way
):
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", way)
    load()
    before = warehouse.rows("email_events")
    first_requests = len(ometria.requests)

    second = load()

    truth.assert_equal(warehouse, account)
    profile_requests = [request for request in ometria.requests[first_requests:] if request.path == "/profiles"]
    assert profile_requests
    assert all("updateSince" in request.query for request in profile_requests)
    assert "files read" not in second.out
    assert sorted(map(str, warehouse.rows("email_events"))) == sorted(map(str, before))


def change_account(account, export) -> None:
    """An update, a newcomer, a join, a leave, an emptied and a deleted list, a late opt-out and a late file."""
    account.advance(timedelta(minutes=30))
    ids = list(account.profiles)
    account.update_profile(ids[0], name="Ada Renamed 🎉", customer_id="00000", properties={"loyalty_points": "none"})
    newcomer = account.add_profile(name="Newa Comer")
    account.join("77", newcomer)
    account.update_profile(newcomer)
    account.leave("007", account.members["007"][0])
    account.join("101", ids[5])
    account.empty_list("12")
    account.delete_list("230")
    account.unsubscribe(ids[4], reason="late", at=account.now - timedelta(days=1, hours=3))
    account.unsubscribes[-2]["reason"] = "filled in later"
    account.add_events(7)
    account.write_export(export, modified_at=account.now - timedelta(hours=26))


@pytest.mark.slow
def test_changes_are_followed_when_members_come_from_the_lists(account, ometria, export, load, warehouse, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "lists")
    load()
    change_account(account, export)
    load()

    truth.assert_lists(warehouse, account)
    truth.assert_members(warehouse, account)
    truth.assert_unsubscribes(warehouse, account)
    truth.assert_events(warehouse, account)


@pytest.mark.parametrize("way", WAYS_TO_MEMBERS)
def test_after_the_next_complete_scan_every_table_equals_the_account(
    account, ometria, export, load, warehouse, monkeypatch, way
):
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", way)
    load()
    change_account(account, export)
    account.erase_profile(list(account.profiles)[7])
    load()
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    load()

    truth.assert_equal(warehouse, account)


def test_a_vanished_profile_stays_until_the_next_complete_scan(account, ometria, load, warehouse, monkeypatch):
    load("--tables", "profiles")
    erased = list(account.profiles)[3]
    account.erase_profile(erased)
    load("--tables", "profiles")
    assert erased in {row["profile_id"] for row in warehouse.rows("profiles")}

    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    load("--tables", "profiles")
    truth.assert_profiles(warehouse, account)


def test_unchanged_dynamic_lists_are_not_read_again_and_static_ones_are(account, ometria, load):
    load("--tables", "member_lists")
    seen = len(ometria.requests)
    load("--tables", "member_lists")
    static = {list_id for list_id, item in account.lists.items() if item["type"] == "STATIC"}
    largest = max(account.lists.values(), key=lambda item: item["size"])["id"]

    paths = {request.path for request in ometria.requests[seen:] if request.path.endswith("/profiles")}

    # the largest list is asked once, to see that the path still answers
    assert paths - {f"/lists/{largest}/profiles"} == {f"/lists/{list_id}/profiles" for list_id in static}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "item"),
    [
        pytest.param(path, item, marks=[] if row == column else [pytest.mark.slow])
        for row, path in enumerate(("profiles", "members", "contacts"))
        for column, item in enumerate(("profile", "contact", "profile_id"))
    ],
)
def test_members_are_found_under_any_likely_path(account, ometria, load, warehouse, path, item):
    ometria.behaviour = Behaviour(members_path=path, members_item=item, profiles_carry_lists=False)
    load("--tables", "member_lists")
    truth.assert_members(warehouse, account)


def test_without_a_path_members_come_from_one_scan_shared_with_profiles(account, ometria, load, warehouse):
    ometria.behaviour = Behaviour(members_path=None)
    load()
    assert [request.query["offset"] for request in ometria.requests_to("/profiles")].count("0") == 1
    truth.assert_members(warehouse, account)


def test_members_fail_where_neither_a_path_answers_nor_profiles_carry_lists(account, ometria, run, warehouse):
    ometria.behaviour = Behaviour(members_path=None, profiles_carry_lists=False)
    result = run("--tables", "member_lists,lists")
    assert result.status == 1
    assert "member_lists was not loaded" in result.out
    truth.assert_lists(warehouse, account)


@pytest.mark.slow
@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(max_limit=100),
        Behaviour(short_pages=True),
        Behaviour(lists_paged=True, unsubscribes_paged=True),
        Behaviour(unsubscribes_cap=10, unsubscribes_order="descending"),
        Behaviour(unsubscribes_cap=20, unsubscribes_order="shuffled", since_inclusive=False),
        Behaviour(before_inclusive=True, since_inclusive=False),
        Behaviour(members_paged=False),
        Behaviour(update_since_honoured=False),
    ],
    ids=str,
)
def test_what_the_documentation_leaves_open_changes_no_table(account, ometria, export, load, warehouse, behaviour):
    ometria.behaviour = behaviour
    load()
    truth.assert_equal(warehouse, account)
    load()
    truth.assert_equal(warehouse, account)


def test_new_profiles_at_the_front_are_no_repeat(account, ometria, load, warehouse):
    """The page after the last one then holds a row that was seen: it has been pushed on."""
    while len(account.profiles) < 500:
        account.add_profile()
    real = account.profiles.ids

    def shifted():
        return [real()[-1], *real()[:-1]]

    ometria.after_request(2, lambda: (account.add_profile(), setattr(account.profiles, "ids", shifted)))
    load("--tables", "profiles")
    assert len(warehouse.rows("profiles")) == 500


@pytest.mark.parametrize("way", WAYS_TO_MEMBERS)
def test_an_empty_account_gives_empty_tables(load, warehouse, monkeypatch, way):
    from ometria_source.simulator import SimulatedAccount, SimulatedOmetria  # noqa: PLC0415

    with SimulatedOmetria(SimulatedAccount()) as server:
        monkeypatch.setenv("SOURCES__OMETRIA__API_KEY", server.api_key)
        monkeypatch.setenv("SOURCES__OMETRIA__BASE_URL", server.base_url)
        monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", way)
        load()
    for table in ("profiles", "lists", "member_lists", "unsubscribes"):
        assert warehouse.rows(table) == []


def test_each_request_that_leaves_is_a_get_below_the_documented_paths(ometria, export, load):
    load()
    assert {request.method for request in ometria.requests} == {"GET"}
    known = ("/profiles", "/lists", "/unsubscribes")
    assert all(request.path.startswith(known) for request in ometria.requests)
