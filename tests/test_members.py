"""Who is in which list, when lists and people come and go while they are read."""

from __future__ import annotations

from itertools import groupby

import pytest
import truth
from examples import few

from ometria_source.api import client
from ometria_source.simulator import Behaviour, answers


def members_of(warehouse, list_id: str) -> set[str]:
    return {row["profile_id"] for row in warehouse.rows("member_lists") if row["list_id"] == list_id}


def test_a_list_that_is_deleted_between_two_of_its_pages_leaves_no_member_behind(
    account, ometria, load, warehouse, monkeypatch
):
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "lists")
    ometria.behaviour = Behaviour(max_limit=20)
    largest = max(account.lists.values(), key=lambda item: item["size"])["id"]
    load("--tables", "member_lists")
    assert members_of(warehouse, largest)
    account.leave(largest, account.members[largest][-1])
    seen = len(ometria.requests_to(f"/lists/{largest}/"))

    def delete_once_it_is_being_read() -> None:
        # the first page of it is the look whether the path still answers
        if len(ometria.requests_to(f"/lists/{largest}/")) > seen + 2:
            account.delete_list(largest)
        else:
            ometria.after_request(1, delete_once_it_is_being_read)

    ometria.after_request(1, delete_once_it_is_being_read)
    result = load("--tables", "member_lists")

    assert "a list was deleted while it was read" in result.out
    truth.assert_members(warehouse, account)


def test_a_profile_that_is_erased_leaves_both_tables_in_the_same_run(account, ometria, load, warehouse, monkeypatch):
    """Also where its list does not show that it changed, and a complete reading of the lists is not due."""
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "lists")
    load("--tables", "member_lists")
    dynamic = next(item for item in account.lists.values() if item["type"] == "DYNAMIC" and item["size"] > 1)
    before = {list_id: dict(item) for list_id, item in account.lists.items()}
    erased = account.members[dynamic["id"]][0]
    joined = [list_id for list_id, members in account.members.items() if erased in members]
    account.erase_profile(erased)
    for list_id in joined:
        # as many members as before, and the time of the refresh unchanged
        account.join(list_id, next(key for key in account.profiles if key not in account.members[list_id]))
        account.update_list(
            list_id, **{name: value for name, value in before[list_id].items() if name.startswith("timestamp")}
        )

    load("--tables", "profiles,member_lists")

    truth.assert_profiles(warehouse, account)
    truth.assert_members(warehouse, account)


def test_two_contacts_with_one_id_are_two_members(account, ometria, load, warehouse):
    """A contact's id is unique in its collection only."""
    ometria.behaviour = Behaviour(members_item="contact", profiles_carry_lists=False)
    for start in ("aaaa", "bbbb"):
        account.join("77", account.add_profile(id=f"{start}-000000-12345678"))

    load("--tables", "member_lists")

    truth.assert_members(warehouse, account)


def test_several_lists_are_read_at_a_time(account, ometria, load, warehouse, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "lists")
    ometria.behaviour = Behaviour(latency=0.1)
    load("--tables", "member_lists")

    # after the look for the path that answers
    lists = [request.path for request in ometria.requests if request.path.startswith("/lists/")][1:]
    one_after_the_other = [path for path, _ in groupby(lists)]
    assert len(one_after_the_other) > len(set(lists))
    truth.assert_members(warehouse, account)


def test_a_list_that_cannot_be_read_fails_the_table_and_keeps_what_was_there(
    account, ometria, run, load, warehouse, monkeypatch
):
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "lists")
    load("--tables", "member_lists")
    before = sorted(map(str, warehouse.rows("member_lists")))
    account.join("101", list(account.profiles)[5])
    ometria.fail("/lists/101/", 500, times=None)

    result = run("--tables", "member_lists")

    assert result.status == 1
    assert "member_lists was not loaded" in result.out
    assert sorted(map(str, warehouse.rows("member_lists"))) == before
    ometria.heal()
    load("--tables", "member_lists")
    truth.assert_members(warehouse, account)


@pytest.mark.parametrize(
    ("behaviour", "tables"),
    [
        pytest.param(Behaviour(members_path=None), "member_lists", id="404"),
        pytest.param(
            Behaviour(forbidden=frozenset(f"/lists/{number}" for number in range(1, 10))),
            "all",
            id="403",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_path_that_answered_before_and_fails_fails_the_table(
    account, ometria, run, load, warehouse, monkeypatch, behaviour, tables
):
    """Under `all` too, where a table that was refused is left out; the setting is the way on."""
    monkeypatch.setattr(client, "ENDPOINT_LIMITS", {})
    load("--tables", "member_lists")
    before = sorted(map(str, warehouse.rows("member_lists")))
    account.empty_list("77")
    ometria.behaviour = behaviour

    result = run("--tables", tables)

    assert result.status == 1
    assert "member_lists was not loaded. /lists/{list_id}/profiles, from which" in result.out
    assert 'set `member_lists_from = "profiles"`' in result.out
    assert sorted(map(str, warehouse.rows("member_lists"))) == before

    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "profiles")
    load("--tables", "member_lists")
    truth.assert_members(warehouse, account)
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "auto")
    load("--tables", "member_lists")
    truth.assert_members(warehouse, account)


def test_a_list_that_is_refused_in_the_first_run_was_never_read(ometria, run, monkeypatch):
    """The sentence says what this run found, and names the way on."""
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "lists")
    ometria.behaviour = Behaviour(forbidden=frozenset({"/lists/101"}))

    result = run("--tables", "member_lists")

    assert result.status == 1
    assert "/lists/{list_id}/profiles, which answers for other lists, answers status 403 for one list" in (result.out)
    assert "before" not in result.out
    assert 'set `member_lists_from = "profiles"`' in result.out


def test_a_path_that_moved_is_followed(account, ometria, load, warehouse):
    load("--tables", "member_lists")
    ometria.behaviour = Behaviour(members_path="members", profiles_carry_lists=False)
    account.empty_list("77")

    load("--tables", "member_lists")

    truth.assert_members(warehouse, account)


def test_a_path_that_never_gave_a_member_is_none_that_answered_before(account, ometria, load, warehouse):
    for list_id in account.lists:
        account.empty_list(list_id)
    load("--tables", "member_lists")
    account.join("77", next(iter(account.profiles)))
    ometria.behaviour = Behaviour(members_path=None)

    load("--tables", "member_lists")

    truth.assert_members(warehouse, account)


def test_lists_that_empty_are_emptied_although_their_size_is_stale(account, ometria, load, warehouse):
    for list_id in list(account.lists)[1:]:
        account.delete_list(list_id)
    (only,) = account.lists
    account.empty_list(only)
    people = list(account.profiles)
    account.join(only, people[0])
    load("--tables", "member_lists")
    account.reported_sizes[only] = 1
    account.empty_list(only)

    load("--tables", "member_lists")

    truth.assert_members(warehouse, account)


def test_a_path_that_answers_nothing_for_large_lists_fails_the_table(account, ometria, run, load, warehouse):
    load("--tables", "member_lists")
    before = sorted(map(str, warehouse.rows("member_lists")))
    for list_id, members in account.members.items():
        account.reported_sizes[list_id] = len(members)
    for list_id in account.lists:
        account.empty_list(list_id)

    result = run("--tables", "member_lists")

    assert result.status == 1
    assert "answers without members" in result.out
    assert sorted(map(str, warehouse.rows("member_lists"))) == before


@pytest.mark.parametrize("tables", few(["lists,member_lists", "profiles,lists,member_lists"]))
def test_members_of_a_deleted_list_go_with_it_where_they_come_from_the_profiles(
    account, ometria, load, warehouse, monkeypatch, tables
):
    """Also where no profile shows it, because a complete scan is not due; and no request more is made for it."""
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "profiles")
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "30")
    load("--tables", tables)
    account.delete_list("1000")
    requests_for_lists = len(ometria.requests_to("/lists"))

    load("--tables", "member_lists")
    assert len(ometria.requests_to("/lists")) == requests_for_lists
    assert members_of(warehouse, "1000")
    load("--tables", tables)

    truth.assert_members(warehouse, account)


@pytest.fixture
def stale_profiles(account):
    """Profiles whose `lists` stay as they are now, whatever becomes of the lists."""
    kept = {profile_id: account.profiles[profile_id]["lists"] for profile_id in account.profiles}
    account.profiles._lists_of = kept.__getitem__


@pytest.mark.slow
def test_members_of_a_deleted_list_never_come_back(account, ometria, load, warehouse, monkeypatch, stale_profiles):
    """Though profiles still carry the list; one that is listed again counts again."""
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "profiles")
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "30")
    load("--tables", "lists,member_lists")
    deleted, members = account.lists["1000"], list(account.members["1000"])
    account.delete_list("1000")

    for tables in ("lists,member_lists", "member_lists"):
        account.update_profile(members[0], firstname=tables)
        load("--tables", tables)
        assert not members_of(warehouse, "1000")
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    load("--tables", "lists,member_lists")
    assert not members_of(warehouse, "1000")

    account.lists["1000"], account.members["1000"] = deleted, members
    load("--tables", "lists,member_lists")
    assert members_of(warehouse, "1000") == set(members)


def test_a_deleted_list_is_remembered_under_another_setting(
    account, ometria, load, warehouse, monkeypatch, stale_profiles
):
    """One that was deleted while members were read by list, and one between the two settings."""
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "lists")
    load("--tables", "member_lists")
    account.delete_list("1000")
    load("--tables", "member_lists")
    account.delete_list("77")
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "profiles")

    load("--tables", "lists,member_lists")

    assert not members_of(warehouse, "1000")
    assert not members_of(warehouse, "77")
    assert members_of(warehouse, "101")


@pytest.mark.slow
def test_members_of_a_deleted_list_are_marked_as_deleted(account, ometria, load, warehouse, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "profiles")
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "30")
    monkeypatch.setenv("SOURCES__OMETRIA__DELETES", "soft")
    load("--tables", "lists,member_lists")
    gone = set(account.members["1000"])
    account.delete_list("1000")

    load("--tables", "lists,member_lists")

    deleted = [row for row in warehouse.rows("member_lists") if row["deleted_at"]]
    assert {(row["list_id"], row["profile_id"]) for row in deleted} == {("1000", member) for member in gone}


def test_members_of_a_list_that_was_never_listed_stay(account, ometria, load, warehouse, monkeypatch):
    """Profiles may carry lists that `/lists` does not show."""
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "profiles")
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "30")
    listed = answers._Api.lists
    monkeypatch.setattr(answers._Api, "lists", lambda api: [row for row in listed(api) if b'"1000"' not in row])

    for _ in range(2):
        load("--tables", "lists,member_lists")

    assert members_of(warehouse, "1000") == set(account.members["1000"])


def test_a_list_that_seemed_to_be_gone_is_read_again_by_the_next_run(account, ometria, load, warehouse, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "lists")
    load("--tables", "member_lists")
    smaller = sorted(account.lists.values(), key=lambda item: item["size"])[1]["id"]
    account.join(smaller, next(key for key in account.profiles if key not in account.members[smaller]))
    ometria.fail(f"/lists/{smaller}/", 404)
    assert "a list was deleted" in load("--tables", "member_lists").out

    load("--tables", "member_lists")

    truth.assert_members(warehouse, account)


def test_lists_that_vanish_by_the_dozen_take_no_member_with_them(account, ometria, run, load, warehouse, monkeypatch):
    """More often than a clean-up, this is the key of another account."""
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "lists")
    people = list(account.profiles)
    added = [account.add_list(f"List {number}", members=people[:3]) for number in range(12)]
    load("--tables", "member_lists")
    before = sorted(map(str, warehouse.rows("member_lists")))
    for list_id in added:
        account.delete_list(list_id)

    result = run("--tables", "member_lists")

    assert result.status == 1
    assert "allow_deletes" in result.out
    assert sorted(map(str, warehouse.rows("member_lists"))) == before
    monkeypatch.setenv("SOURCES__OMETRIA__ALLOW_DELETES", "true")
    load("--tables", "member_lists")
    truth.assert_members(warehouse, account)


def test_lists_that_answer_no_more_by_the_dozen_keep_their_members(account, ometria, run, load, warehouse, monkeypatch):
    """As when the permission to read members is taken away in mid-run: every list then looks deleted."""
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", "lists")
    people = list(account.profiles)
    for number in range(12):
        account.add_list(f"List {number}", members=people[:3])
    load("--tables", "member_lists")
    before = sorted(map(str, warehouse.rows("member_lists")))
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    seen = len(ometria.requests_to("/lists/"))

    def forbid_once_members_are_read() -> None:
        # the first one is the look whether the path still answers
        if len(ometria.requests_to("/lists/")) > seen + 1:
            ometria.fail("/lists/", 404, times=None)
        else:
            ometria.after_request(1, forbid_once_members_are_read)

    ometria.after_request(1, forbid_once_members_are_read)
    result = run("--tables", "member_lists")

    assert result.status == 1
    assert "allow_deletes" in result.out
    assert sorted(map(str, warehouse.rows("member_lists"))) == before
    ometria.heal()
    load("--tables", "member_lists")
    truth.assert_members(warehouse, account)
