"""Tables whose paging is not documented: nothing is removed that may be there, and no whole account fails."""

from __future__ import annotations

import json
from itertools import product

import pytest
import shop_truth
import truth

from ometria_source.api import client
from ometria_source.simulator import Behaviour, SimulatedAccount

# Servers by the most members that one answer has, and whether they page.
SERVERS = {
    "pages": (Behaviour(lists_paged=True), None),
    "pages of ten": (Behaviour(lists_paged=True, max_limit=10), None),
    "cuts at ten": (Behaviour(lists_paged=True, members_paged=False, unpaged_cap=10), 10),
    "cuts at 250": (Behaviour(lists_paged=True, members_paged=False, unpaged_cap=250), 250),
    "ignores limit and offset": (Behaviour(lists_paged=True, members_paged=False), 1000),
    "ignores offset": (Behaviour(lists_paged=True, members_paged=False, unpaged_limit=True), 250),
}

SIZES = {"right": 0, "too low": -1, "too high": 1, "absent": None}

MEMBERS = (1, 9, 10, 11, 249, 250, 251)


@pytest.fixture(autouse=True)
def no_pace_of_its_own(monkeypatch):
    monkeypatch.setattr(client, "ENDPOINT_LIMITS", {})


def report(workspace) -> dict:
    return json.loads((workspace / "report.json").read_text(encoding="utf-8"))["tables"]


def only(account: SimulatedAccount, lists: int) -> None:
    """Let the account have so many lists, each with a few members."""
    people = list(account.profiles)
    for list_id in list(account.lists):
        account.delete_list(list_id)
    for number in range(lists):
        account.add_list(f"List {number}", members=people[number % 5 : number % 5 + 3])


def members(warehouse) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in warehouse.rows("member_lists"):
        found.setdefault(row["list_id"], set()).add(row["profile_id"])
    return found


@pytest.mark.parametrize(
    "server", [name if name == "cuts at ten" else pytest.param(name, marks=pytest.mark.slow) for name in SERVERS]
)
def test_no_member_is_removed_that_is_there(account, ometria, load, warehouse, monkeypatch, server):
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "lists")
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    ometria.behaviour, cut = SERVERS[server]
    people = list(account.profiles)
    only(account, 0)
    lists = {
        account.add_list(f"{rows} {size}", members=people[:rows]): SIZES[size] for rows, size in product(MEMBERS, SIZES)
    }

    def report_sizes() -> None:
        for list_id, off in lists.items():
            there = len(account.members[list_id])
            account.reported_sizes[list_id] = None if off is None else there + off

    def shown(list_id: str) -> tuple[set[str], bool]:
        """The members that the server shows, and whether that is held to be all."""
        there = account.members[list_id][:cut]
        is_whole = cut is None or len(there) not in (10, 250) or account.reported_sizes[list_id] == len(there)
        return set(there), is_whole

    report_sizes()
    load("--tables", "member_lists")
    loaded = members(warehouse)
    assert loaded == {list_id: shown(list_id)[0] for list_id in lists}
    for list_id in lists:
        account.leave(list_id, account.members[list_id][0])
    report_sizes()

    load("--tables", "member_lists")

    found = members(warehouse)
    for list_id in lists:
        now, is_whole = shown(list_id)
        assert found.get(list_id, set()) == (now if is_whole else now | loaded[list_id]), account.lists[list_id][
            "title"
        ]
        assert loaded[list_id] & set(account.members[list_id]) <= found.get(list_id, set())


def test_ten_lists_that_are_not_paged_are_loaded_and_none_is_removed_in_doubt(
    account, ometria, load, warehouse, workspace
):
    only(account, 11)
    load("--tables", "lists,member_lists")
    account.delete_list(next(iter(account.lists)))
    before = warehouse.rows("lists"), members(warehouse)

    result = load("--tables", "lists,member_lists", "--report", "report.json")

    assert len(warehouse.rows("lists")) == len(before[0]) == 11
    assert members(warehouse) == before[1]
    for table in ("lists", "member_lists"):
        assert report(workspace)[table]["unproven"] is True
        assert any(note.startswith("unproven: /lists") for note in report(workspace)[table]["notes"])
        assert f"  {table}: unproven: /lists gives the same 10 rows" in result.out
    account.delete_list(next(iter(account.lists)))
    load("--tables", "lists,member_lists", "--report", "report.json")
    assert report(workspace)["lists"]["unproven"] is False
    truth.assert_lists(warehouse, account)
    truth.assert_members(warehouse, account)


@pytest.mark.slow
def test_lists_that_are_cut_take_nothing_with_them(account, ometria, load, warehouse, workspace):
    """Not from `lists`, nor the members of those that are not shown, nor their changes until they are shown again."""
    only(account, 14)
    ometria.behaviour = Behaviour(lists_paged=True)
    tables = ("--tables", "lists,member_lists,list_changes")
    account.shop.list_changes.clear()
    people = list(account.profiles)
    load(*tables)
    ometria.behaviour = Behaviour(unpaged_cap=10, changes_paged=True)
    last = list(account.lists)[-1]
    account.delete_list(list(account.lists)[-2])
    account.join(last, people[9])
    account.shop.list_changes[last] = [
        {"profile_id": people[9], "email": None, "event": "list_enter", "timestamp": "2024-02-03T04:05:06+00:00"}
    ]
    first = next(iter(account.lists))
    account.shop.list_changes[first] = [
        {"profile_id": people[8], "email": None, "event": "list_enter", "timestamp": "2024-03-03T04:05:06+00:00"}
    ]
    before = members(warehouse)

    load(*tables, "--report", "report.json")

    assert len(warehouse.rows("lists")) == 14
    assert members(warehouse) == before
    assert all(report(workspace)[table]["unproven"] for table in ("lists", "member_lists", "list_changes"))
    assert len(warehouse.rows("list_changes")) == 1
    ometria.behaviour = Behaviour(lists_paged=True)
    load(*tables, "--report", "report.json")
    assert not any(table["unproven"] for table in report(workspace).values())
    truth.assert_lists(warehouse, account)
    truth.assert_members(warehouse, account)
    assert len(warehouse.rows("list_changes")) == 2


@pytest.mark.slow
def test_changes_of_a_list_that_are_cut_are_made_up_for(account, ometria, load, warehouse, workspace):
    """Whichever end is cut off: a change that was not shown is loaded once it is."""
    only(account, 2)
    one, other = account.lists
    people = list(account.profiles)
    changes = [
        {
            "profile_id": person,
            "email": None,
            "event": "list_enter",
            "timestamp": f"2024-02-{day + 1:02}T04:05:06+00:00",
        }
        for day, person in enumerate(people[:20])
    ]
    account.shop.list_changes.clear()
    account.shop.list_changes.update({one: changes, other: changes[-1:]})
    ometria.behaviour = Behaviour(unpaged_cap=10)
    load("--tables", "list_changes", "--report", "report.json")
    assert report(workspace)["list_changes"]["unproven"]
    assert len(warehouse.rows("list_changes")) == 11

    load("--tables", "list_changes")
    # those from two days before the newest one that is known
    assert len(warehouse.rows("list_changes")) == 14
    ometria.behaviour = Behaviour()
    load("--tables", "list_changes", "--report", "report.json")

    assert len(warehouse.rows("list_changes")) == 21
    assert not report(workspace)["list_changes"]["unproven"]


@pytest.mark.slow
def test_the_rest_of_the_account_keeps_what_is_not_shown(account, ometria, load, warehouse, workspace):
    tables = ("custom_events", "data_deletion_requests", "push_errors")
    while len(account.shop.deletion_requests) < 12:
        number = len(account.shop.deletion_requests)
        request = next(iter(account.shop.deletion_requests.values()))
        account.shop.deletion_requests[f"r{number}"] = {**request, "id": f"r{number}"}
    load("--tables", ",".join(tables))
    before = {table: len(warehouse.rows(table)) for table in tables}
    assert min(before.values()) > 10
    ometria.behaviour = Behaviour(unpaged=frozenset({"/custom-events", "/data-deletion-requests"}), unpaged_cap=10)

    load("--tables", ",".join(tables), "--report", "report.json")

    assert {table: len(warehouse.rows(table)) for table in tables} == before
    assert all(report(workspace)[table]["unproven"] for table in tables)


@pytest.mark.slow
def test_contacts_of_collections_that_are_not_shown_stay(account, ometria, load, warehouse, workspace):
    while len(account.shop.contacts) < 12:
        name = f"Source {len(account.shop.contacts)}"
        account.shop.contacts[name] = {"1": {"@type": "contact", "@collection": name, "id": "1"}}
    load("--tables", "collections,contacts")
    before = len(warehouse.rows("collections")), len(warehouse.rows("contacts"))
    # contacts themselves are paged (seen in a public client)
    page = client.OmetriaClient.get

    def cut(self, path, params, **rest):
        return page(self, path, {"limit": 10, "offset": 0} if path == "/contacts" else params, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client.OmetriaClient, "get", cut)
        load("--tables", "collections,contacts", "--report", "report.json")

    assert (len(warehouse.rows("collections")), len(warehouse.rows("contacts"))) == before
    assert all(report(workspace)[table]["unproven"] for table in ("collections", "contacts"))


def test_push_errors_that_are_paged_are_all_loaded(account, ometria, load, warehouse):
    del account.shop.push_errors[97:]
    ometria.behaviour = Behaviour(push_errors_paged=True, max_limit=10)

    load("--tables", "push_errors")

    shop_truth.assert_push_errors(warehouse, account)
    assert len(warehouse.rows("push_errors")) > 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "value", "column"), [("HISTORY", '["lists"]', "_dlt_valid_to"), ("DELETES", "soft", "deleted_at")]
)
def test_in_doubt_no_version_is_closed_and_no_row_is_marked_as_deleted(
    account, ometria, load, warehouse, monkeypatch, setting, value, column
):
    monkeypatch.setenv(f"SOURCES__OMETRIA__{setting}", value)
    only(account, 11)
    load("--tables", "lists,member_lists")
    account.delete_list(next(iter(account.lists)))

    load("--tables", "lists,member_lists")

    assert [row[column] for row in warehouse.rows("lists")] == [None] * 11
    if setting == "DELETES":
        assert not any(row["deleted_at"] for row in warehouse.rows("member_lists"))
