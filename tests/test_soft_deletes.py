"""`deletes = "soft"`: what vanishes is kept, with the time."""

from __future__ import annotations

import random
import re
from datetime import datetime, timezone
from typing import Any

import dlt
import pytest
import truth
from changing_account import TABLES, Current, change
from dlt.destinations import sqlalchemy

from ometria_source import ometria_source
from ometria_source.simulator import Behaviour, SimulatedAccount

pytestmark = pytest.mark.slow

SNAPSHOTS = ("--tables", ",".join(TABLES))


@pytest.fixture
def account() -> SimulatedAccount:
    return SimulatedAccount.invent(profiles=30)


@pytest.fixture(autouse=True)
def soft(monkeypatch) -> None:
    monkeypatch.setenv("SOURCES__OMETRIA__DELETES", "soft")
    monkeypatch.setenv("SOURCES__OMETRIA__ALLOW_DELETES", "true")
    scan_all(monkeypatch)


@pytest.fixture
def current(warehouse) -> Current:
    return Current(warehouse)


def scan_all(monkeypatch, complete: bool = True) -> None:
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0" if complete else "1")


def deleted(warehouse, table: str) -> dict[tuple[str, ...], datetime]:
    keys = {"profiles": ("profile_id",), "lists": ("list_id",), "member_lists": ("list_id", "profile_id")}[table]
    rows = [row for row in warehouse.rows(table) if row["deleted_at"] is not None]
    return {tuple(row[key] for key in keys): row["deleted_at"] for row in rows}


def assert_snapshots(current, account) -> None:
    truth.assert_profiles(current, account)
    truth.assert_lists(current, account)
    truth.assert_members(current, account)


def content(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("_dlt") and name != "deleted_at"}


def test_what_vanishes_is_kept_as_it_was_with_the_time_of_the_scan(account, ometria, load, warehouse, current):
    person, list_id = list(account.profiles)[0], "1000"
    account.update_profile(
        person, stats={"orders": "many"}, when="2024-02-03T04:05:06+01:00", odd={"deep": [None, 1]}, flag=True
    )
    load(*SNAPSHOTS)
    [before] = [row for row in warehouse.rows("profiles") if row["profile_id"] == person]
    account.erase_profile(person)
    account.delete_list(list_id)
    start = datetime.now(timezone.utc)
    load(*SNAPSHOTS)
    end = datetime.now(timezone.utc)

    [after] = [row for row in warehouse.rows("profiles") if row["profile_id"] == person]
    assert content(after) == content(before)
    assert set(deleted(warehouse, "profiles")) == {(person,)}
    assert set(deleted(warehouse, "lists")) == {(list_id,)}
    times = [time for table in TABLES for time in deleted(warehouse, table).values()]
    assert all(start <= time <= end for time in times)
    assert_snapshots(current, account)

    load(*SNAPSHOTS)
    assert [time for table in TABLES for time in deleted(warehouse, table).values()] == times


def test_a_row_that_comes_back_is_there_again(account, ometria, load, warehouse, current, monkeypatch):
    person = list(account.profiles)[0]
    kept = account.profiles.stored(person)
    list_id = account.add_list("Friends", members=list(account.profiles)[:3])
    load(*SNAPSHOTS)
    account.erase_profile(person)
    load(*SNAPSHOTS)
    assert set(deleted(warehouse, "profiles")) == {(person,)}
    assert (list_id, person) in deleted(warehouse, "member_lists")

    account.profiles.put(kept, account._epoch())
    account.join(list_id, person)
    scan_all(monkeypatch, complete=False)
    load(*SNAPSHOTS)

    assert deleted(warehouse, "profiles") == {}
    assert (list_id, person) not in deleted(warehouse, "member_lists")
    assert_snapshots(current, account)


@pytest.mark.parametrize("way", ["lists", "profiles"])
def test_members_that_leave_are_kept_where_what_they_left_was_read(
    account, ometria, load, warehouse, current, monkeypatch, way
):
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", way)
    people = list(account.profiles)
    list_id = account.add_list("Friends", members=people[:6])
    load(*SNAPSHOTS)
    scan_all(monkeypatch, complete=False)
    # no list shows it, and no profile: the row stays as it is
    ometria.behaviour = Behaviour(update_since_honoured=True)
    account.leave(list_id, people[0])
    account.update_profile(people[0], name="Somebody else")
    load(*SNAPSHOTS)

    assert set(deleted(warehouse, "member_lists")) == {(list_id, people[0])}
    truth.assert_members(current, account)


@pytest.mark.parametrize("way", ["lists", "profiles"])
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_what_was_ever_there_is_there_or_deleted(account, ometria, load, warehouse, current, monkeypatch, way, seed):
    monkeypatch.setenv("SOURCES__OMETRIA__MEMBER_LISTS_FROM", way)
    chance = random.Random(seed)
    ever: dict[str, set[tuple[str, ...]]] = {table: set() for table in TABLES}
    for complete in (True, False, True, False, True):
        for _ in range(chance.randrange(1, 5)):
            change(account, chance)
        scan_all(monkeypatch, complete)
        load(*SNAPSHOTS)
        if complete:
            assert_snapshots(current, account)
        for table, there in (
            ("profiles", {(key,) for key in account.profiles}),
            ("lists", {(key,) for key in account.lists}),
            ("member_lists", {(key, member) for key, members in account.members.items() for member in members}),
        ):
            is_certain = complete or table == "lists"
            ever[table] |= there if is_certain else set()
            gone = set(deleted(warehouse, table))
            assert not gone & there
            if is_certain:
                assert gone >= ever[table] - there
        rows = [(row["list_id"], row["profile_id"]) for row in warehouse.rows("member_lists")]
        assert len(rows) == len(set(rows))


def test_an_emptied_account_is_kept_whole(account, ometria, load, warehouse, monkeypatch):
    load(*SNAPSHOTS)
    before = {table: len(warehouse.rows(table)) for table in TABLES}
    for identifier in list(account.profiles):
        account.erase_profile(identifier)
    for identifier in list(account.lists):
        account.delete_list(identifier)
    load(*SNAPSHOTS)
    assert {table: len(deleted(warehouse, table)) for table in TABLES} == before


def test_a_mass_deletion_is_still_refused(account, ometria, run, load, warehouse, monkeypatch):
    load("--tables", "profiles")
    monkeypatch.setenv("SOURCES__OMETRIA__ALLOW_DELETES", "false")
    for identifier in list(account.profiles)[:15]:
        account.erase_profile(identifier)
    result = run("--tables", "profiles")
    assert result.status == 1
    assert "allow_deletes" in result.out
    assert deleted(warehouse, "profiles") == {}


def test_a_limited_run_deletes_nothing(account, ometria, load, warehouse):
    load(*SNAPSHOTS)
    account.erase_profile(list(account.profiles)[0])
    account.delete_list("1000")
    dlt.attach("ometria_pipeline").run(ometria_source().with_resources(*TABLES).add_limit(1))
    assert [deleted(warehouse, table) for table in TABLES] == [{}, {}, {}]


def test_from_hard_to_soft_and_back(account, ometria, load, warehouse, current, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__DELETES", "hard")
    load(*SNAPSHOTS)
    account.erase_profile(list(account.profiles)[0])
    monkeypatch.setenv("SOURCES__OMETRIA__DELETES", "soft")
    result = load(*SNAPSHOTS)
    assert len(deleted(warehouse, "profiles")) == 1
    assert re.search(r"profiles +29 +29 ", result.out)

    monkeypatch.setenv("SOURCES__OMETRIA__DELETES", "hard")
    load(*SNAPSHOTS)
    assert [deleted(warehouse, table) for table in TABLES] == [{}, {}, {}]
    assert_snapshots(warehouse, account)


def test_a_full_refresh_keeps_nothing_of_before(account, ometria, load, warehouse):
    load(*SNAPSHOTS)
    account.erase_profile(list(account.profiles)[0])
    load(*SNAPSHOTS)
    account.erase_profile(list(account.profiles)[0])
    load(*SNAPSHOTS, "--full-refresh")
    assert [deleted(warehouse, table) for table in TABLES] == [{}, {}, {}]
    assert_snapshots(warehouse, account)


def test_a_lost_working_folder_loses_no_row(account, ometria, load, warehouse, current, monkeypatch, tmp_path):
    load(*SNAPSHOTS)
    account.erase_profile(list(account.profiles)[0])
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "another"))
    load(*SNAPSHOTS)
    assert len(deleted(warehouse, "profiles")) == 1
    assert_snapshots(current, account)


def test_a_pending_package_is_finished_before_what_vanished_is_looked_for(account, ometria, load, warehouse, current):
    load(*SNAPSHOTS)
    account.erase_profile(list(account.profiles)[0])
    person = account.add_profile()
    pipeline = dlt.attach("ometria_pipeline")
    pipeline.extract(ometria_source().with_resources("profiles"))
    extracted = datetime.now(timezone.utc)
    account.erase_profile(person)
    load(*SNAPSHOTS)

    times = deleted(warehouse, "profiles")
    assert len(times) == 2
    assert [time > extracted for time in times.values()] == [key == (person,) for key in times]
    assert_snapshots(current, account)


def test_a_scan_that_breaks_deletes_nothing(account, ometria, run, load, warehouse):
    load("--tables", "profiles")
    account.erase_profile(list(account.profiles)[0])
    ometria.after_request(1, lambda: ometria.fail("/profiles", 403, times=None))
    assert run("--tables", "profiles").status == 1
    assert deleted(warehouse, "profiles") == {}
    ometria.heal()
    load("--tables", "profiles")
    assert len(deleted(warehouse, "profiles")) == 1


def test_a_table_with_history_has_no_second_mark(account, ometria, load, warehouse, current, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__HISTORY", '["profiles"]')
    load(*SNAPSHOTS)
    account.erase_profile(list(account.profiles)[0])
    load(*SNAPSHOTS)
    assert "deleted_at" not in warehouse.types("profiles")
    assert "deleted_at" in warehouse.types("lists")
    assert_snapshots(current, account)


def test_a_field_of_this_name_is_not_taken_for_ours(account, ometria, load, warehouse, current):
    account.update_list("77", deleted_at="yesterday")
    load("--tables", "lists")
    [row] = [row for row in warehouse.rows("lists") if row["list_id"] == "77"]
    assert (row["deleted_at"], row["deleted_at_1014deb1"]) == (None, "yesterday")


def test_keys_that_a_user_maps_are_compared_as_they_are_loaded(account, ometria, warehouse):
    def hidden(row: dict[str, Any]) -> dict[str, Any]:
        return row if row["profile_id"] == "*" else {**row, "profile_id": f"x{row['profile_id']}"}

    for erased in (0, 1):
        account.erase_profile(list(account.profiles)[0])
        source = ometria_source().with_resources("profiles")
        source.profiles.add_map(hidden)
        dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria").run(source)
        assert len(deleted(warehouse, "profiles")) == erased


def test_a_resource_that_is_iterated_over_outside_of_a_run_gives_what_it_reads(account, ometria, load):
    load("--tables", "lists")
    account.delete_list("1000")
    found = {row["list_id"] for row in ometria_source().lists}
    assert found == set(account.lists)


def test_a_step_that_yields_is_refused(account, ometria, warehouse):
    source = ometria_source().with_resources("profiles")
    source.profiles.add_yield_map(lambda row: iter([row]))
    with pytest.raises(Exception, match="add_map"):
        dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria").run(source)


def test_types_are_read_back_right_from_sqlite(account, ometria, workspace):
    """Where instants are texts, booleans numbers, and JSON is text."""
    pipeline = dlt.pipeline("ometria_pipeline", destination=sqlalchemy("sqlite:///ometria.db"), dataset_name="ometria")
    person = list(account.profiles)[0]
    account.update_profile(person, stats={"orders": "many"}, odd={"deep": [None, 1]}, flag=True, ratio=1.5)

    def row() -> list[Any]:
        with pipeline.sql_client() as client:
            names = [name for name in pipeline.default_schema.tables["profiles"]["columns"] if name[:4] != "_dlt"]
            [found] = client.execute_sql(f"SELECT {', '.join(names)} FROM profiles WHERE profile_id = %s", person)
        values = dict(zip(names, found, strict=True))
        assert (values.pop("deleted_at") is not None) == is_deleted
        return values

    is_deleted = False
    pipeline.run(ometria_source().with_resources("profiles"))
    before = row()
    account.erase_profile(person)
    pipeline.run(ometria_source().with_resources("profiles"))
    is_deleted = True
    assert row() == before
