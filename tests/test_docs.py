"""What docs/ says holds: the tables are the code's, and the SQL runs as it is written. All data is invented."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from ometria_source.api import client

DOCS = Path(__file__).parents[1] / "docs"


def sql(document: str) -> list[str]:
    """The SQL of a document, block by block."""
    return re.findall(r"```sql\n(.*?)```", (DOCS / document).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def everything(account, ometria, export, load, monkeypatch) -> None:
    monkeypatch.setattr(client, "ENDPOINT_LIMITS", {})
    load("--tables", "all")


def test_the_tables_are_those_of_the_code():
    command = [sys.executable, str(DOCS / "write_tables.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_the_views_give_fivetrans_names(account, everything, warehouse):
    with duckdb.connect(str(warehouse.path)) as connection:
        for block in sql("coming-from-fivetran.md"):
            connection.execute(block)
        views = connection.execute(
            "SELECT view_name FROM duckdb_views() WHERE schema_name = 'fivetran_ometria'"
        ).fetchall()
        counts = {
            name: connection.execute(f"SELECT count(*) FROM fivetran_ometria.{name}").fetchone()[0] for (name,) in views
        }
    text = (DOCS / "coming-from-fivetran.md").read_text(encoding="utf-8")
    assert counts.keys() == set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert all(counts.values()), counts
    assert counts["orders"] == len(account.shop.orders)


@pytest.mark.slow
def test_rows_of_erased_people_are_found_in_all_tables(account, ometria, export, load, warehouse, monkeypatch):
    monkeypatch.setattr(client, "ENDPOINT_LIMITS", {})
    person = next(row for row in account.profiles.values() if row["email"] and account.shop)
    address = person["email"].strip().lower()
    account.unsubscribe(person["id"])
    account.shop.change_list("77", person["id"], "list_enter", account.now, email=person["email"])
    for order in list(account.shop.orders.values())[:2]:
        order["customer"] = {"id": person["customer_id"], "email": person["email"].upper(), "firstname": None}
    account.shop.request_deletion(hashlib.md5(address.encode()).hexdigest(), account.now)
    load("--tables", "all")
    *views, counts = sql("erasure.md")
    with duckdb.connect(str(warehouse.path)) as connection:
        for block in views:
            connection.execute(block)
        found = dict(connection.execute(counts).fetchall())
    assert found["profiles"] == 1
    assert found["contacts"] == sum(
        row["@profile_id"] == person["id"] for rows in account.shop.contacts.values() for row in rows.values()
    )
    assert found["orders"] >= 2
    assert found["unsubscribes"] == sum(row["profile_id"] == person["id"] for row in account.unsubscribes)
    assert found["list_changes"] >= 1
    assert found["email_events"] == sum((event["email"] or "").strip().lower() == address for event in account.events)


def test_events_that_were_loaded_and_copied_are_there_once(account, export, load, warehouse):
    load("--tables", "email_events")
    *_, view = sql("scale.md")
    with duckdb.connect(str(warehouse.path)) as connection:
        # copied: all files but the oldest, and one that was never loaded
        connection.execute("""
            CREATE TABLE ometria.email_events_copied AS
            SELECT * EXCLUDE (event_key) REPLACE ('prefix/' || _file_path AS _file_path)
            FROM ometria.email_events WHERE _file_path > (SELECT min(_file_path) FROM ometria.email_events);
            INSERT INTO ometria.email_events_copied
            SELECT * REPLACE ('prefix/new.csv.gz' AS _file_path, event_id || '-new' AS event_id)
            FROM ometria.email_events_copied LIMIT 10""")
        connection.execute(view)
        found = connection.execute("SELECT event_id FROM ometria.all_email_events").fetchall()
    events = {event["event_id"] for event in account.events}
    assert len(found) == len(set(found)) == len(events) + 10
