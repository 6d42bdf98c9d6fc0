"""What must hold on every destination: the tables equal the account, whatever became of it.

The name of each test is that of the scenario in the results. SQLite holds what the others hold: where it has no type of
its own for a timestamp, a date, a truth value or JSON, the text or number that it keeps is read as what it stands for.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from datetime import timedelta

import pytest
import shop_truth
import truth
from machine import KILLED_PROGRAM, PROGRAM
from warm_python import warm_python

from destinations.places import declared_types
from ometria_source.api import client

pytestmark = pytest.mark.slow

CHECKS = {
    "profiles": truth.assert_profiles,
    "lists": truth.assert_lists,
    "member_lists": truth.assert_members,
    "unsubscribes": truth.assert_unsubscribes,
    "email_events": truth.assert_events,
    "list_changes": shop_truth.assert_list_changes,
    "push_errors": shop_truth.assert_push_errors,
}

# Where in dlt's `load` the program is killed, as shares of all moments of that phase.
FATES = (0.15, 0.5, 0.85)


def assert_equal(place, account, leave_out=()) -> None:
    for table in place.tables:
        if table not in leave_out:
            CHECKS[table](place, account)


@pytest.fixture(autouse=True)
def every_scan_is_complete(monkeypatch) -> None:
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")


def change(account, export) -> None:
    """An update, a newcomer, a join, a leave, opt-outs, a reason that is filled in, and new events."""
    account.advance(timedelta(minutes=5))
    people, lists = list(account.profiles), list(account.lists)
    account.update_profile(people[20], name="Changed Name 🎉", customer_id="00000")
    account.join(lists[0], account.add_profile(name="Newa Comer"))
    account.leave(lists[0], account.members[lists[0]][0])
    account.unsubscribe(people[5], reason="late", at=account.now - timedelta(hours=27))
    account.unsubscribes[-2]["reason"] = "filled in later"
    account.add_events(7)
    account.write_export(export)


def test_first_load(account, ometria, export, place, load_there):
    load_there()
    assert_equal(place, account)
    for table in place.tables:
        declared, stored = declared_types(table), place.stored_types(table)
        if place.table_format:
            # files hold JSON as text
            declared = {name: "text" if kind == "json" else kind for name, kind in declared.items()}
        assert {name: stored.get(name) for name in declared} == declared


def test_no_op(account, ometria, export, place, load_there):
    load_there()
    events = place.rows("email_events")
    load_there()
    assert_equal(place, account)
    assert sorted(map(repr, place.rows("email_events"))) == sorted(map(repr, events))


def test_changes(account, ometria, export, place, load_there, monkeypatch):
    load_there()
    change(account, export)
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "1")
    load_there()
    # who is in a dynamic segment shows in a profile at the next complete scan only
    assert_equal(place, account, leave_out={"profiles"})
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    load_there()
    assert_equal(place, account)


def test_deletes(account, ometria, export, place, load_there):
    load_there()
    people, lists = list(account.profiles), list(account.lists)
    account.erase_profile(people[3])
    account.erase_profile(people[-1])
    account.empty_list(lists[2])
    account.delete_list(lists[3])
    load_there()
    assert_equal(place, account)


def test_late_file(account, ometria, export, place, load_there):
    load_there()
    account.add_events(3, at=account.now - timedelta(days=3))
    account.write_export(export, modified_at=account.now - timedelta(hours=30))
    load_there()
    assert_equal(place, account)


def test_schema_change(account, ometria, export, place, load_there, run, monkeypatch):
    people = list(account.profiles)
    account.update_profile(people[0], score=5, shop={"open": True})
    for event in account.unsubscribes:
        event["shop"] = "Leeds"
    load_there()
    account.update_profile(people[1], score="high", colour="blue", shop={"open": {"until": [18, "half past"]}})
    account.update_profile(people[2], timezone=None)
    new = account.add_events(2)
    for event in new:
        event["device"] = "phone"
    account.write_events(export / "with_device.jsonl", new)
    for event in account.unsubscribes:
        del event["shop"]
    for item in account.lists.values():
        del item["description"]
    out = load_there().out

    changes = {
        "profiles": ["new columns: colour\n", "`score` now also comes as text: see `score__v_text`"],
        "lists": ["not in any row of this run: description"],
        "unsubscribes": ["not in any row of this run: shop"],
        "email_events": ["new columns: device\n"],
    }
    for table in place.tables:
        for change in changes.get(table, ()):
            assert f"{table}: {change}" in out, out
    check_changed(account, place, people, new)

    refused = account.add_events(1)
    refused[0]["weather"] = "rain"
    account.write_events(export / "with_weather.jsonl", refused)
    account.unsubscribe(people[7], at=account.now)
    account.unsubscribes[-1]["weather"] = "snow"
    refusing = [table for table in place.tables if table in ("unsubscribes", "email_events")]
    before = [sorted(map(repr, place.rows(table))) for table in refusing]
    monkeypatch.setenv("SOURCES__OMETRIA__SCHEMA_CONTRACT", "freeze")
    result = run(*place.arguments)
    assert result.status == 1
    assert "`weather`" in result.out
    assert [sorted(map(repr, place.rows(table))) for table in refusing] == before
    monkeypatch.delenv("SOURCES__OMETRIA__SCHEMA_CONTRACT")
    load_there()
    for table in ("unsubscribes", "email_events"):
        assert [row["weather"] for row in place.rows(table) if row["weather"]] == [
            "snow" if table == "unsubscribes" else "rain"
        ]


def check_changed(account, place, people, new) -> None:
    """The rows after the fields have changed."""
    events = {row["event_id"]: row["device"] for row in place.rows("email_events")}
    assert events.keys() == {event["event_id"] for event in account.events}
    assert {identifier for identifier, device in events.items() if device} == {event["event_id"] for event in new}
    if "profiles" not in place.tables:
        return
    rows = {row["profile_id"]: row for row in place.rows("profiles")}
    assert rows.keys() == set(account.profiles)
    assert [rows[people[number]]["score"] for number in (0, 1)] == [5, None]
    assert [rows[people[number]]["score__v_text"] for number in (0, 1)] == [None, "high"]
    assert rows[people[0]]["shop"] == {"open": True}
    assert rows[people[1]]["shop"] == {"open": {"until": [18, "half past"]}}
    assert rows[people[1]]["colour"] == "blue"
    assert rows[people[2]]["timezone"] is None


@pytest.mark.parametrize("place", ["duckdb", "postgres", "sqlalchemy", "snowflake", "live_snowflake"], indirect=True)
def test_past(account, ometria, export, place, load_there, monkeypatch):
    """Each version of a profile and a list, and the rows that vanished from `member_lists`."""
    monkeypatch.setenv("SOURCES__OMETRIA__HISTORY", '["profiles", "lists"]')
    monkeypatch.setenv("SOURCES__OMETRIA__DELETES", "soft")
    load_there()
    before = {table: place.rows(table) for table in ("profiles", "lists", "member_lists")}
    people, lists = list(account.profiles), list(account.lists)
    leaver = account.members[lists[0]][0]
    account.update_profile(people[20], name="Changed Name 🎉", properties={"shoe": [1, {"é": None}]})
    account.erase_profile(people[3])
    account.leave(lists[0], leaver)
    account.delete_list(lists[3])
    load_there()
    load_there()

    for table, key, is_there in (("profiles", "profile_id", account.profiles), ("lists", "list_id", account.lists)):
        rows = place.rows(table)
        current = [row for row in rows if row["_dlt_valid_to"] is None]
        assert sorted(row[key] for row in current) == sorted(is_there)
        past = {row[key]: row for row in rows if row["_dlt_valid_to"] is not None}
        told = {row[key]: row for row in before[table]}
        for identifier, row in past.items():
            assert without_dlts(row) == without_dlts(told[identifier])
        assert {people[20], people[3]} <= past.keys() or table == "lists"
        assert lists[3] in past or table == "profiles"
    pairs = {(row["list_id"], row["profile_id"]): row["deleted_at"] for row in place.rows("member_lists")}
    assert len(pairs) == len(place.rows("member_lists"))
    assert pairs.keys() == {(row["list_id"], row["profile_id"]) for row in before["member_lists"]}
    there = {(identifier, member) for identifier, members in account.members.items() for member in members}
    assert {pair for pair, deleted_at in pairs.items() if deleted_at is None} == there
    assert pairs[(lists[0], leaver)] >= account.now - timedelta(hours=1)


@pytest.mark.parametrize("place", ["duckdb", "postgres", "sqlalchemy", "snowflake", "live_snowflake"], indirect=True)
def test_rest(account, ometria, place, load_there, monkeypatch):
    """The tables beside the first five, and those that come with them."""
    monkeypatch.setattr(client, "ENDPOINT_LIMITS", {})
    tables = "collections,contacts,orders,products,custom_events,data_deletion_requests,list_changes,push_errors"
    load_there("--tables", tables)
    shop_truth.assert_tables(place, account)
    shop_truth.assert_list_changes(place, account)
    # most rows are as they were
    shop_truth.change(account)
    load_there("--tables", tables)
    shop_truth.assert_tables(place, account)
    shop_truth.assert_list_changes(place, account)


def without_dlts(row: dict[str, object]) -> dict[str, object]:
    """A row without the columns that dlt fills, and without what was added later."""
    return {name: value for name, value in row.items() if not name.startswith("_dlt_") and value is not None}


def test_crash_and_rerun(account, ometria, export, place, load_there, tmp_path):
    """The program is a process of its own, killed by SIGKILL: see `killed_program`."""
    load_there()
    change(account, export)
    moments = json.loads(run_to_be_killed("-", 0, place, tmp_path).stderr.splitlines()[-1])
    assert_equal(place, account)
    # the emulator of Snowflake takes as long for one as others for all
    for fate in FATES[1:2] if place.destination == "emulator" else FATES:
        change(account, export)
        killed = run_to_be_killed("load", int(moments["load"] * fate), place, tmp_path)
        assert killed.returncode == -signal.SIGKILL, (fate, killed.stdout, killed.stderr)
        load_there()
        assert_equal(place, account)


def run_to_be_killed(phase, number, place, tmp_path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*warm_python(), KILLED_PROGRAM, phase, str(number), PROGRAM, *place.arguments],
        env={**os.environ, "SQL_CLIENT": place.sql_client, "WATCHED_FOLDERS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
