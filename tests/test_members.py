"""Who is in which list, when lists and people come and go while they are read."""

from __future__ import annotations

from itertools import groupby

import truth

from ometria_source.simulator import Behaviour


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


def test_a_path_that_answers_no_more_is_reported_and_the_members_come_from_the_profiles(
    account, ometria, load, warehouse
):
    assert "any more" not in load("--tables", "profiles,member_lists").out
    ometria.behaviour = Behaviour(members_path=None)

    result = load("--tables", "profiles,member_lists")

    assert "no path to members answers any more" in result.out
    truth.assert_members(warehouse, account)


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
