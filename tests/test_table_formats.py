"""The two logs as Delta and Iceberg tables in files, which dlt merges by itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import dlt
import pyarrow as pa
import pytest
from truth import utc

from ometria_source.simulator import write_events

NOW = datetime.now(timezone.utc).replace(microsecond=0)

pytestmark = pytest.mark.slow


@pytest.fixture(params=["delta", "iceberg"])
def table_format(request) -> str:
    return request.param


@pytest.fixture(autouse=True)
def lake(tmp_path, monkeypatch):
    folder = tmp_path / "lake"
    monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", folder.as_uri())
    return folder


@pytest.fixture
def flags(table_format) -> list[str]:
    return ["--destination", "filesystem", "--tables", "unsubscribes,email_events", "--table-format", table_format]


@pytest.fixture
def rows(table_format) -> Callable[[str], list[dict[str, Any]]]:
    """The rows of a table, read without any code of dlt's merge."""

    def read(name: str) -> list[dict[str, Any]]:
        with dlt.attach("ometria_pipeline").destination_client() as client:
            table = client.load_open_table(table_format, name)
        found = table.to_pyarrow_table() if table_format == "delta" else table.scan().to_arrow()
        assert isinstance(found, pa.Table)
        return found.to_pylist()

    return read


def event(number: int, kind: str = "open", **cells: str | None) -> dict[str, str | None]:
    return {"event_id": f"e{number}", "event_type": kind, **cells}


def now_in(result, table: str) -> int:
    """The rows that the summary says a table has."""
    line = next(line for line in result.out.splitlines() if line.startswith(table))
    return int(line.split()[2].replace(",", ""))


def assert_logs(account, rows) -> None:
    columns = ("profile_id", "email_address", "type", "reason")
    found = sorted(
        [(*(row[name] for name in columns), row["timestamp"].astimezone(timezone.utc)) for row in rows("unsubscribes")],
        key=repr,
    )
    expected = [(*(row.get(name) for name in columns), utc(row["timestamp"])) for row in account.unsubscribes]
    assert found == sorted(expected, key=repr)
    names = sorted({name for event in account.events for name in event})
    events = [tuple(row[name] for name in names) for row in rows("email_events")]
    expected_events = [tuple(event[name] for name in names) for event in account.events]
    assert sorted(events, key=repr) == sorted(expected_events, key=repr)


def test_the_logs_equal_the_account_after_a_load_none_and_changes(
    account, ometria, export, load, rows, flags, tmp_path
):
    first = load(*flags)
    assert_logs(account, rows)
    assert now_in(first, "email_events") == len(account.events)
    assert now_in(first, "unsubscribes") == len(account.unsubscribes)
    assert now_in(load(*flags), "email_events") == len(account.events)

    account.advance(timedelta(minutes=30))
    account.unsubscribe(list(account.profiles)[2], reason="Too many e-mails")
    account.unsubscribes[-2]["reason"] = "Filled in later"
    account.add_events(40)
    account.write_export(export)
    load(*flags)
    assert_logs(account, rows)

    # a machine that begins with nothing takes the state from the files
    shutil.rmtree(tmp_path / "dlt")
    result = load(*flags)
    assert "known files not read again" in result.out
    assert_logs(account, rows)


def test_the_newest_row_of_a_key_wins_and_new_columns_come(bucket, load, rows, flags, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__EMAIL_EVENTS_KEY", '["event_id"]')
    flags = [flag.replace("unsubscribes,", "") for flag in flags]
    write_events(bucket / "a.csv", [event(1, "old"), event(2), event(2)], NOW - timedelta(hours=5))
    write_events(bucket / "b.csv", [event(1, "new", one="x")], NOW)
    write_events(bucket / "c.csv", [event(3, two="y")], NOW - timedelta(hours=9))
    load(*flags)
    write_events(bucket / "late.csv", [event(1, "late", three="z"), event(4, three="z")], NOW - timedelta(hours=3))
    load(*flags)
    found = {
        row["event_id"]: (row["event_type"], row["one"], row["two"], row.get("three")) for row in rows("email_events")
    }
    assert found == {
        "e1": ("new", "x", None, None),
        "e2": ("open", None, None, None),
        "e3": ("open", None, "y", None),
        "e4": ("open", None, None, "z"),
    }
    assert len(rows("email_events")) == 4


def test_another_format_is_refused_until_the_table_is_loaded_anew(bucket, load, run, flags, table_format):
    other = {"delta": "iceberg", "iceberg": "delta"}[table_format]
    write_events(bucket / "a.csv", [event(1)], NOW)
    table = ["--destination", "filesystem", "--tables", "email_events"]
    load(*table, "--table-format", table_format)
    refused = run(*table, "--table-format", other)
    assert refused.status == 1
    assert f"`email_events` was loaded as {table_format}" in refused.out
    result = load(*table, "--table-format", other, "--full-refresh")
    assert now_in(result, "email_events") == 1
