"""A working folder and a database of an earlier version continue: columns, keys, state, privacy rules.

`previous_version/` holds what that version left behind, of an invented account.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

import pytest
import truth
from examples import few
from previous_version.store import SCENARIOS, TABLES, WORKSPACE

from ometria_source.simulator import SimulatedAccount, SimulatedOmetria, write_events

STORED = Path(__file__).parent / "previous_version" / "0.1.0-8d7acf8.tar.xz"

Upgrade = Callable[..., tuple[SimulatedAccount, SimulatedOmetria]]


def restore(scenario: str, workspace: Path) -> SimulatedAccount:
    """Put the folders of a scenario into the workspace; the account as that version loaded it."""
    with tarfile.open(STORED) as archive:
        members = [member for member in archive if member.name.startswith(f"./{scenario}/")]
        archive.extractall(workspace, members)
    for path in list((workspace / scenario).iterdir()):
        path.rename(workspace / path.name)
    for path in (workspace / "dlt").rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(WORKSPACE, str(workspace)), encoding="utf-8")
    return read_account(json.loads((workspace / "account.json").read_text(encoding="utf-8")))


def read_account(stored: dict) -> SimulatedAccount:
    now = datetime.fromisoformat(stored["now"])
    account = SimulatedAccount(seed=7, now=now)
    for profile in stored["profiles"]:
        account.profiles.put(profile, int(now.timestamp()))
    account.lists.update(stored["lists"])
    for list_id, members in stored["members"].items():
        account.members[list_id] = list(members)
        for profile_id in members:
            account._member_of[profile_id] = (*account._member_of.get(profile_id, ()), list_id)
    account.unsubscribes.extend(stored["unsubscribes"])
    account.events.extend(stored["events"])
    return account


@pytest.fixture
def upgrade(workspace, monkeypatch) -> Iterator[Upgrade]:
    """Restore a scenario; the account, and the server that the settings lead to."""
    with ExitStack() as servers:

        def restore_and_serve(scenario: str, **settings: str) -> tuple[SimulatedAccount, SimulatedOmetria]:
            account = restore(scenario, workspace)
            # the shop is invented when it is first asked for: from the people of that time
            assert account.shop.orders
            server = servers.enter_context(SimulatedOmetria(account))
            settings = {
                "API_KEY": server.api_key,
                "BASE_URL": server.base_url,
                "BUCKET_URL": (workspace / "export").as_uri(),
                # however long ago the version ran
                "FULL_SCAN_DAYS": "36000",
                **SCENARIOS[scenario],
                **settings,
            }
            for name, value in settings.items():
                monkeypatch.setenv(f"SOURCES__OMETRIA__{name}", value)
            monkeypatch.setenv("DLT_DATA_DIR", str(workspace / "dlt"))
            return account, server

        yield restore_and_serve


def change(account: SimulatedAccount, export: Path) -> None:
    """A profile is renamed, somebody opts out, joins a list, and a file of one event arrives."""
    account.advance(datetime.now(timezone.utc) - account.now)
    ids = list(account.profiles)
    account.update_profile(ids[3], lifecycle_status="renewed")
    account.unsubscribe(ids[4], reason="late")
    dynamic = next(item["id"] for item in account.lists.values() if item["type"] == "DYNAMIC")
    account.join(dynamic, next(person for person in ids if person not in account.members[dynamic]))
    write_events(export / "new.csv", [{**account.events[0], "event_id": "new"}], account.now)


@pytest.mark.parametrize("scenario", few([name for name in SCENARIOS if name != "strict"]))
def test_previous_version_continues(upgrade, load, warehouse, workspace, scenario):
    """What is new arrives; nothing known is read again, no column moves, and rows keep their keys and hashes."""
    account, server = upgrade(scenario)
    tables = TABLES.split(",")
    types = {name: warehouse.types(name) for name in tables}
    before = {name: warehouse.rows(name) for name in tables}
    unchanged = {
        item["id"] for item in account.lists.values() if item["type"] == "DYNAMIC" and item["timestamp_last_refreshed"]
    }
    change(account, workspace / "export")
    unchanged -= {item["id"] for item in account.lists.values() if item["timestamp_last_refreshed"] > "2026-11-02"}

    load("--tables", TABLES, "--report", "report.json")

    report = json.loads(Path("report.json").read_text())["tables"]
    assert report["email_events"]["files"]["files_read"] == 1
    profiles = [request for request in server.requests if request.path == "/profiles"]
    assert profiles
    assert all("updateSince" in request.query for request in profiles)
    asked = Counter(request.path.split("/")[2] for request in server.requests if request.path.startswith("/lists/"))
    assert unchanged
    # one request finds out that the path still answers; a list that is read takes two at least
    assert max(asked[list_id] for list_id in unchanged) <= 1
    assert min(r.query["since"] for r in server.requests if r.path == "/unsubscribes") > "2026-10"
    assert {name: warehouse.types(name) for name in tables} == types
    after = {name: warehouse.rows(name) for name in tables}
    grown = {"unsubscribes": 1, "email_events": 1, "member_lists": 1}
    assert {name: len(after[name]) - len(before[name]) for name in tables} == {
        name: grown.get(name, 0) for name in tables
    }
    for name, key in (("email_events", "event_key"), ("unsubscribes", "unsubscribe_id"), ("orders", "order_id")):
        assert {row[key] for row in before[name]} <= {row[key] for row in after[name]}
    emails = {row["profile_id"]: row["email"] for row in before["profiles"]}
    assert {row["profile_id"]: row["email"] for row in after["profiles"]} == emails
    renewed = [row for row in after["profiles"] if row["lifecycle_status"] == "renewed"]
    assert len(renewed) == 1


def test_previous_version_under_strict_asks_for_a_full_refresh_once(upgrade, run, load, warehouse):
    """Its rows hold what this version hashes."""
    _, server = upgrade("strict")
    tables = TABLES.split(",")
    before = {name: warehouse.rows(name) for name in tables}

    refused = run("--tables", TABLES)

    assert refused.status == 2
    assert "`strict` now hashes whatever is not known to be harmless" in refused.err
    assert "--full-refresh" in refused.err
    assert server.requests == []
    assert {name: warehouse.rows(name) for name in tables} == before
    load("--tables", TABLES, "--full-refresh")
    assert {name: len(warehouse.rows(name)) for name in tables} == {name: len(rows) for name, rows in before.items()}
    load("--tables", TABLES)


def test_previous_version_equals_the_account(upgrade, load, warehouse, workspace):
    """After a change, the tables that are read whole equal the account, and a field keeps its numbered column."""
    account, _ = upgrade("plain", FULL_SCAN_DAYS="0")
    change(account, workspace / "export")
    load("--tables", TABLES)
    rows = {row["profile_id"]: row for row in warehouse.rows("profiles")}
    assert rows.keys() == set(account.profiles)
    assert rows[next(iter(account.profiles))]["customer_id_2"] == "another customer id"
    truth.assert_lists(warehouse, account)
    truth.assert_members(warehouse, account)
    truth.assert_unsubscribes(warehouse, account)


def test_keys_of_the_previous_version_hold(upgrade, load, warehouse):
    """Read whole again, every row has the key that it had."""
    upgrade("plain", FULL_SCAN_DAYS="0")
    tables = {"email_events": "event_key", "unsubscribes": "unsubscribe_id"}
    before = {table: {row[key] for row in warehouse.rows(table)} for table, key in tables.items()}

    load("--tables", "unsubscribes,email_events", "--full-refresh")

    assert {table: {row[key] for row in warehouse.rows(table)} for table, key in tables.items()} == before
    assert {"event_key_2", "user_id", "user_id_2"} <= warehouse.types("email_events").keys()
