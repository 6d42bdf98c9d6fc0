"""`history`: each version of a row, and none for a row that did not change."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest
import truth
from changing_account import Current
from examples import few

from ometria_source import ometria_source
from ometria_source.simulator import SimulatedAccount

PAGE = (Path(__file__).parents[1] / "docs" / "history.md").read_text(encoding="utf-8")
STATEMENTS = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)

SNAPSHOTS = ("--tables", "profiles,lists,member_lists")


@pytest.fixture
def account() -> SimulatedAccount:
    return SimulatedAccount.invent(profiles=30)


@pytest.fixture
def history(monkeypatch) -> None:
    monkeypatch.setenv("SOURCES__OMETRIA__HISTORY", '["profiles", "lists"]')
    monkeypatch.setenv("SOURCES__OMETRIA__ALLOW_DELETES", "true")


@pytest.fixture
def current(warehouse) -> Current:
    return Current(warehouse)


def scan_all(monkeypatch, complete: bool = True) -> None:
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0" if complete else "1")


def versions(warehouse, identifier: str) -> list[dict[str, Any]]:
    """The versions of a profile, oldest first; each begins when the one before it ends."""
    rows = [row for row in warehouse.rows("profiles") if row["profile_id"] == identifier]
    return sorted(rows, key=lambda row: row["_dlt_valid_from"])


def test_an_update_ends_one_version_and_begins_the_next(account, ometria, history, load, warehouse, current):
    load("--tables", "profiles")
    person = list(account.profiles)[0]
    account.update_profile(person, name="Renamed")
    load("--tables", "profiles")

    old, new = versions(warehouse, person)
    assert (old["_dlt_valid_to"], new["_dlt_valid_to"]) == (new["_dlt_valid_from"], None)
    assert (old["customer_name"] != "Renamed", new["customer_name"]) == (True, "Renamed")
    assert len(warehouse.rows("profiles")) == len(account.profiles) + 1
    truth.assert_profiles(current, account)


def test_a_row_that_vanishes_ends_and_one_that_comes_back_begins_anew(
    account, ometria, history, load, warehouse, current, monkeypatch
):
    load("--tables", "profiles")
    person = list(account.profiles)[0]
    kept = account.profiles.stored(person)
    account.erase_profile(person)
    load("--tables", "profiles")
    assert versions(warehouse, person)[0]["_dlt_valid_to"] is None
    scan_all(monkeypatch)
    load("--tables", "profiles")
    [ended] = versions(warehouse, person)
    assert ended["_dlt_valid_to"] is not None
    truth.assert_profiles(current, account)

    account.profiles.put(kept, account._epoch())
    load("--tables", "profiles")

    assert [row["_dlt_valid_to"] is None for row in versions(warehouse, person)] == [False, True]
    truth.assert_profiles(current, account)


def spelled_differently(profile: dict[str, Any]) -> dict[str, Any]:
    """The same profile: keys and sets in another order, nulls left out, numbers in their other form."""
    fields = dict(reversed([(name, value) for name, value in profile.items() if value is not None]))
    for name in ("tags", "identities"):
        if name in fields:
            fields[name] = list(reversed(fields[name]))
    fields["stats"] = {
        name: float(value) if isinstance(value, int) else value
        for name, value in reversed((profile.get("stats") or {}).items())
    }
    if profile.get("properties") is not None:
        fields["properties"] = {**dict(reversed(profile["properties"].items())), "never": None}
    fields.setdefault("a_new_field", None)
    return fields


def test_a_row_that_is_spelled_differently_is_no_new_version(account, ometria, history, load, warehouse, monkeypatch):
    person = list(account.profiles)[0]
    account.update_profile(
        person, tags=["a", "b"], properties={"size": 1, "depth": {"x": [1, 2], "y": 2}}, ratio=2, customer_id=42
    )
    load("--tables", "profiles,lists")
    before = {table: warehouse.rows(table) for table in ("profiles", "lists")}
    for identifier in account.profiles:
        spelled = json.loads(json.dumps(spelled_differently(account.profiles.stored(identifier))))
        account.profiles.put(spelled, account._epoch())
    account.update_profile(person, ratio=2.0, customer_id="42")
    for identifier, item in account.lists.items():
        account.lists[identifier] = dict(reversed(item.items()))

    for complete in (False, True):
        scan_all(monkeypatch, complete)
        load("--tables", "profiles,lists")

    assert {table: warehouse.rows(table) for table in ("profiles", "lists")} == before


def test_a_row_whose_content_changes_is_a_new_version(account, ometria, history, load, warehouse):
    changes: list[dict[str, Any]] = [
        {"tags": ["a", "c"]},
        {"tags": ["a", "b", "b"]},
        {"tags": []},
        {"properties": {"list": [2, 1]}},
        {"properties": {"list": [1, 2], "more": "x"}},
        {"properties": {"list": ["1", 2]}},
        {"properties": {"list": [True, 2]}},
        {"properties": {"list": [1.5, 2]}},
        {"ratio": 2.5},
        {"customer_id": "042"},
        {"marketing_optin": None},
    ]
    people = list(account.profiles)[: len(changes)]
    for person in people:
        account.update_profile(
            person, tags=["a", "b"], properties={"list": [1, 2]}, ratio=2, customer_id="42", marketing_optin=True
        )
    load("--tables", "profiles")
    for person, fields in zip(people, changes, strict=True):
        account.update_profile(person, **fields)
    load("--tables", "profiles")
    for person, fields in zip(people, changes, strict=True):
        assert len(versions(warehouse, person)) == 2, fields


@pytest.mark.slow
def test_the_readme_tells_how_to_query_the_state_as_of_any_run(
    account, ometria, history, load, warehouse, current, monkeypatch
):
    """Also where incremental and complete scans alternate."""
    now, _, as_of_runs = STATEMENTS
    states = []
    for complete in (True, False, False, True, False, True):
        scan_all(monkeypatch, complete)
        load(*SNAPSHOTS)
        states.append(sorted(map(str, current.rows("profiles"))))
        people = list(account.profiles)
        account.erase_profile(people[0])
        account.update_profile(people[1], name=f"Name {len(states)}")
        account.add_profile()

    with duckdb.connect(str(warehouse.path), read_only=True) as connection:
        found = connection.sql(as_of_runs).to_arrow_table().to_pylist()
        assert len(connection.sql(now).fetchall()) == len(current.rows("profiles"))
    # a run has a row for each of its tables
    by_run: dict[Any, list[dict[str, Any]]] = {}
    for row in found:
        by_run.setdefault(row.pop("as_of"), []).append(row)
    runs = [by_run[time] for time in sorted(by_run)]
    assert len(runs) == 3 * len(states)
    for number, rows in enumerate(runs):
        ids = {(row["profile_id"], row["customer_name"]) for row in rows}
        assert len(ids) == len(rows)
        assert len(rows) == len(states[number // 3])
        for identifier, name in ids:
            assert any(f"'{identifier}'" in state and repr(name) in state for state in states[number // 3])


def test_the_state_as_of_a_time_is_what_the_readme_says(account, ometria, history, load, warehouse, current):
    load("--tables", "profiles")
    before = sorted(map(str, current.rows("profiles")))
    moment = max(row["_dlt_valid_from"] for row in warehouse.rows("profiles"))
    account.update_profile(list(account.profiles)[0], name="Renamed")
    load("--tables", "profiles")

    statement = STATEMENTS[1].replace("2026-01-31 00:00:00+00", moment.isoformat())
    with duckdb.connect(str(warehouse.path), read_only=True) as connection:
        connection.execute(f"CREATE TEMP VIEW found AS {statement.rstrip().rstrip(';')}")
        found = connection.sql("SELECT profile_id, customer_name FROM found").fetchall()
    assert len(found) == len(before)
    assert "Renamed" not in {name for _, name in found}


def test_the_summary_counts_the_current_rows(account, ometria, history, load):
    load("--tables", "profiles")
    account.update_profile(list(account.profiles)[0], name="Renamed")
    assert re.search(r"profiles +\d+ +30 ", load("--tables", "profiles").out)


@pytest.mark.parametrize(("first", "then"), few([("[]", '["profiles"]'), ('["profiles"]', "[]")]))
def test_switching_history_needs_a_full_refresh(account, ometria, run, load, warehouse, monkeypatch, first, then):
    monkeypatch.setenv("SOURCES__OMETRIA__HISTORY", first)
    load(*SNAPSHOTS)
    before = warehouse.rows("profiles"), len(ometria.requests)
    monkeypatch.setenv("SOURCES__OMETRIA__HISTORY", then)

    result = run(*SNAPSHOTS)

    assert result.status == 2
    assert "--tables profiles --full-refresh" in result.err
    assert (warehouse.rows("profiles"), len(ometria.requests)) == before
    load("--tables", "lists")
    load("--tables", "profiles", "--full-refresh")
    load("--tables", "profiles")
    truth.assert_profiles(Current(warehouse), account)
    assert ("_dlt_valid_to" in warehouse.types("profiles")) == ("profiles" in then)
    assert len(warehouse.rows("profiles")) == len(account.profiles)


def test_switching_history_is_refused_when_the_working_folder_is_lost(
    account, ometria, run, load, monkeypatch, tmp_path
):
    load("--tables", "profiles")
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "another"))
    monkeypatch.setenv("SOURCES__OMETRIA__HISTORY", '["profiles"]')
    assert run("--tables", "profiles").status == 2


def test_switching_history_is_refused_in_a_notebook_too(account, ometria, warehouse):
    pipeline = dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria")
    pipeline.run(ometria_source().with_resources("profiles"))
    with pytest.raises(Exception, match="history"):
        pipeline.run(ometria_source(history=["profiles"]).with_resources("profiles"))
    assert "_dlt_valid_to" not in warehouse.types("profiles")
    pipeline.run(ometria_source(history=["profiles"]).with_resources("profiles"), refresh="drop_resources")
    truth.assert_profiles(Current(warehouse), account)


@pytest.mark.parametrize("value", ["profiles", '["member_lists"]', '["profile"]'])
def test_a_table_that_cannot_keep_its_history_is_refused(ometria, run, monkeypatch, value):
    monkeypatch.setenv("SOURCES__OMETRIA__HISTORY", value)
    result = run("--tables", "lists")
    assert result.status == 2
    assert "history" in result.err
    assert not ometria.requests


def test_a_destination_without_scd2_is_refused(ometria, run, workspace, monkeypatch):
    monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", (workspace / "files").as_uri())
    monkeypatch.setenv("SOURCES__OMETRIA__HISTORY", '["profiles"]')
    result = run("--tables", "profiles", "--destination", "filesystem")
    assert result.status == 2
    assert "`profiles`" in result.err
    assert not ometria.requests
