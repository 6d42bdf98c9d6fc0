"""What an earlier version left behind is continued from: its working folder, its database, its columns and keys.

`previous_version/` holds what that version left, of an invented account.
"""

from __future__ import annotations

import json
import tarfile
from datetime import datetime, timezone
from pathlib import Path

import pytest
import truth

from ometria_source.simulator import SimulatedAccount, SimulatedOmetria

STORED = Path(__file__).parent / "previous_version" / "0.1.0.tar.xz"

# What `previous_version/store.py` wrote for the folder in which the version ran.
WORKSPACE = "{workspace}"

TABLES = "profiles,lists,member_lists,unsubscribes,email_events"


def restore(scenario: str, workspace: Path) -> SimulatedAccount:
    """Put the folders of a scenario into the workspace; the account as that version loaded it."""
    with tarfile.open(STORED) as archive:
        members = [member for member in archive if member.name.startswith(f"./{scenario}/")]
        archive.extractall(workspace, members, filter="data")
    folder = workspace / scenario
    for path in folder.iterdir():
        path.rename(workspace / path.name)
    for path in (workspace / "dlt").rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(WORKSPACE, str(workspace)), encoding="utf-8")
    return read_account(json.loads((workspace / "account.json").read_text(encoding="utf-8")))


def read_account(stored: dict) -> SimulatedAccount:
    now = datetime.fromisoformat(stored["now"])
    account = SimulatedAccount(now=now)
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
def upgraded(workspace, monkeypatch):
    """Restore a scenario; the account, and the server that the settings lead to."""
    servers = []

    def upgrade(scenario: str, **settings: str) -> tuple[SimulatedAccount, SimulatedOmetria]:
        account = restore(scenario, workspace)
        server = SimulatedOmetria(account)
        servers.append(server)
        server.__enter__()
        settings = {
            "API_KEY": server.api_key,
            "BASE_URL": server.base_url,
            "BUCKET_URL": (workspace / "export").as_uri(),
            # however long ago the version ran
            "FULL_SCAN_DAYS": "36000",
            **settings,
        }
        for name, value in settings.items():
            monkeypatch.setenv(f"SOURCES__OMETRIA__{name}", value)
        monkeypatch.setenv("DLT_DATA_DIR", str(workspace / "dlt"))
        return account, server

    yield upgrade
    for server in servers:
        server.__exit__(None, None, None)


def test_a_dataset_of_the_previous_version_continues_incrementally(upgraded, load, warehouse):
    """Nothing known is read again, no column moves, and what is new arrives."""
    account, server = upgraded("plain")
    before = {name: warehouse.types(name) for name in TABLES.split(",")}
    events = warehouse.rows("email_events")
    ids = list(account.profiles)
    account.advance(datetime.now(timezone.utc) - account.now)
    account.update_profile(ids[3], name="Ada Renamed")

    result = load("--tables", TABLES)

    assert "dropped" not in result.out + result.err
    assert all("updateSince" in request.query for request in server.requests if request.path == "/profiles")
    assert "files read" not in result.out
    assert {name: warehouse.types(name) for name in before} == before
    assert sorted(map(str, warehouse.rows("email_events"))) == sorted(map(str, events))
    rows = {row["profile_id"]: row for row in warehouse.rows("profiles")}
    assert rows[ids[3]]["customer_name"] == "Ada Renamed"
    assert rows[ids[0]]["customer_id_2"] == "another customer id"
    assert rows.keys() == set(ids)
    truth.assert_lists(warehouse, account)
    truth.assert_members(warehouse, account)
    truth.assert_unsubscribes(warehouse, account)


def test_keys_of_the_previous_version_hold(upgraded, load, warehouse):
    """Read whole again, every row has the key that it had."""
    upgraded("plain")
    tables = {"email_events": "event_key", "unsubscribes": "unsubscribe_id"}
    before = {table: {row[key] for row in warehouse.rows(table)} for table, key in tables.items()}

    load("--tables", "unsubscribes,email_events", "--full-refresh")

    assert {table: {row[key] for row in warehouse.rows(table)} for table, key in tables.items()} == before
    columns = {"event_key_2", "user_id", "user_id_2"}
    assert columns <= warehouse.types("email_events").keys()
