"""The simulated account hangs together, and its changes do what they say."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import pytest

from ometria_source.simulator import SimulatedAccount
from ometria_source.simulator.timestamps import parse

NOW = datetime(2024, 3, 5, 10, 20, 30, tzinfo=timezone.utc)


@pytest.fixture
def account() -> SimulatedAccount:
    return SimulatedAccount.invent(300, now=NOW)


def of_kind(account: SimulatedAccount, kind: str) -> list[dict]:
    return [event for event in account.events if event["event_type"] == kind]


def test_three_hundred_people_are_invented_within_a_second():
    started = time.process_time()

    SimulatedAccount.invent(300)

    assert time.process_time() - started < 1


def test_the_same_seed_and_present_make_the_same_account(account):
    same, other = SimulatedAccount.invent(300, now=NOW), SimulatedAccount.invent(300, seed=2, now=NOW)

    for part in ("profiles", "lists", "members", "unsubscribes", "events"):
        assert getattr(account, part) == getattr(same, part)
    assert set(account.profiles).isdisjoint(other.profiles)


def test_every_address_is_under_test_and_every_id_differs(account):
    addresses = [profile["email"] for profile in account.profiles.values()]

    assert all(address is None or address.endswith(".test") for address in addresses)
    assert len({event["event_id"] for event in account.events}) == len(account.events)
    assert None in addresses
    assert len(set(addresses)) < len(addresses)  # a household shares one


def test_profiles_and_lists_tell_the_same_of_memberships(account):
    for list_id, members in account.members.items():
        assert account.lists[list_id]["size"] == len(members) == len(set(members))
        assert set(members) == {
            identifier
            for identifier, profile in account.profiles.items()
            if list_id in {item["id"] for item in profile["lists"]}
        }


def test_events_and_unsubscribes_tell_one_story(account):
    sends = {event["send_id"]: event for event in of_kind(account, "send")}
    opens = {event["send_id"]: event for event in of_kind(account, "open")}

    assert {event["event_type"] for event in account.events} == {"send", "open", "click", "bounce"}
    for event in account.events:
        assert event["profile_id"] == sends[event["send_id"]]["profile_id"]
        assert event["event_time"] >= sends[event["send_id"]]["event_time"]
    assert {event["send_id"] for event in of_kind(account, "click")} <= opens.keys()
    assert account.unsubscribes
    for row in account.unsubscribes:
        assert account.profiles[row["profile_id"]]["marketing_optin"] is False
        assert account.profiles[row["profile_id"]]["email"] == row["email_address"]
        assert row.get("send_id") is None or row["send_id"] in opens
        last_mail = [event["event_time"] for event in sends.values() if event["profile_id"] == row["profile_id"]]
        assert all(parse(at) <= parse(row["timestamp"]) for at in last_mail)


def test_all_history_lies_in_the_sixty_days_before_the_present(account):
    instants = [parse(event["event_time"]) for event in account.events]
    instants += [parse(row["timestamp"]) for row in account.unsubscribes]

    assert all(NOW - timedelta(days=60) <= instant <= NOW for instant in instants)


def test_a_present_without_time_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        SimulatedAccount(now=datetime(2024, 3, 5))  # noqa: DTZ001  what is refused


def test_an_account_is_empty_until_something_is_added():
    account = SimulatedAccount(now=NOW)

    assert not any((account.profiles, account.lists, account.members, account.unsubscribes, account.events))


def test_time_moves_only_when_told_and_never_back(account):
    account.advance(timedelta(hours=2))

    assert account.now == NOW + timedelta(hours=2)
    with pytest.raises(ValueError, match="backwards"):
        account.advance(timedelta(seconds=-1))


def test_a_new_person_comes_last_with_the_given_fields(account):
    identifier = account.add_profile(email="ada@shop.test", new_field=[1])

    assert account.profiles.ids()[-1] == identifier
    assert account.profiles[identifier]["email"] == "ada@shop.test"
    assert account.profiles[identifier]["new_field"] == [1]
    assert account.profiles[identifier]["lists"] == []


def test_a_change_keeps_the_place_and_the_other_fields(account):
    order, identifier = list(account.profiles), account.profiles.ids()[7]
    before = account.profiles[identifier]

    account.update_profile(identifier, country="IS")

    assert list(account.profiles) == order
    assert account.profiles[identifier] == {**before, "country": "IS"}


def test_what_a_profile_gives_is_a_copy(account):
    identifier = account.profiles.ids()[0]
    account.profiles[identifier]["email"] = "changed@shop.test"

    assert account.profiles[identifier]["email"] != "changed@shop.test"


def test_an_erased_person_is_gone_from_all_lists_but_not_from_the_logs(account):
    identifier = account.unsubscribes[0]["profile_id"]
    logs = len(account.unsubscribes), len(account.events)

    account.erase_profile(identifier)

    assert identifier not in account.profiles
    assert not [list_id for list_id, members in account.members.items() if identifier in members]
    assert (len(account.unsubscribes), len(account.events)) == logs


def test_joining_and_leaving_show_in_list_and_profile_but_not_in_update_since(account):
    identifier = account.profiles.ids()[1]
    account.advance(timedelta(days=3))
    size = account.lists["007"]["size"]
    refreshed = account.lists["007"]["timestamp_last_refreshed"]

    account.join("007", identifier)
    account.join("007", identifier)  # once is enough
    joined = "007" in {item["id"] for item in account.profiles[identifier]["lists"]}
    size_with = account.lists["007"]["size"]
    account.leave("007", identifier)

    assert joined
    assert (size_with, account.lists["007"]["size"]) == (size + 1, size)
    assert account.lists["007"]["timestamp_last_refreshed"] > refreshed
    assert account.profiles.updated_since(int(account.now.timestamp())) == []


def test_a_static_list_does_not_tell_that_it_changed(account):
    refreshed = account.lists["101"]["timestamp_last_refreshed"]

    account.join("101", account.profiles.ids()[0])

    assert account.lists["101"]["timestamp_last_refreshed"] == refreshed


def test_a_list_is_added_changed_emptied_and_deleted(account):
    people = account.profiles.ids()[:3]

    list_id = account.add_list("New", members=people)
    assert list_id not in ("007", "1000")
    assert account.members[list_id] == people
    account.update_list(list_id, title="Newer", status="ARCHIVED")
    assert account.lists[list_id]["title"] == "Newer"
    assert account.profiles[people[0]]["lists"][-1]["title"] == "Newer"
    account.empty_list(list_id)
    assert account.lists[list_id]["size"] == 0
    account.delete_list(list_id)

    assert list_id not in account.lists
    assert list_id not in account.members


def test_deleting_a_list_takes_it_from_its_members(account):
    member = account.members["12"][0]

    account.delete_list("12")

    assert "12" not in {item["id"] for item in account.profiles[member]["lists"]}


def test_an_opt_out_has_the_time_that_it_is_given(account):
    identifier = account.profiles.ids()[1]

    now = account.unsubscribe(identifier)
    odd = account.unsubscribe(identifier, "app", "bored", at="sometime")

    assert (now["timestamp"], odd["timestamp"]) == ("2024-03-05 10:20:30+00", "sometime")
    assert (odd["type"], odd["reason"]) == ("app", "bored")
    assert account.unsubscribes[-2:] == [now, odd]


def test_new_events_are_of_people_in_the_account(account):
    before = len(account.events)

    added = account.add_events(8, at=NOW - timedelta(days=1))

    assert account.events[before:] == added
    assert len(added) == 8
    assert {event["event_time"] for event in added} == {"2024-03-04T10:20:30+00:00"}
    assert all(event["profile_id"] in account.profiles for event in added)
