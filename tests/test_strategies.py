"""The two logs under every way in which a destination may merge them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import dlt
import pytest
import truth
from dlt.extract import DltSource
from examples import few

from ometria_source import ometria_source
from ometria_source.simulator import write_events
from ometria_source.sync.deletes import snapshot_merge
from ometria_source.tables.email_events import reading as event_reading
from ometria_source.tables.member_lists import MERGE

NOW = datetime.now(timezone.utc).replace(microsecond=0)

LOGS = ("unsubscribes", "email_events")


def event(number: int, kind: str = "open", **cells: str | None) -> dict[str, str | None]:
    return {"event_id": f"e{number}", "event_type": kind, **cells}


@pytest.fixture(
    params=[
        "delete-insert",
        "upsert",
        pytest.param("insert-only", marks=pytest.mark.slow),
        pytest.param("cdc", marks=pytest.mark.slow),
    ]
)
def strategy(request) -> str:
    return request.param


@pytest.fixture
def load_logs(workspace, strategy):
    """Load logs as a notebook does, merged by the strategy; returns the source, which has counted what it read."""

    def load_with(*tables: str, **settings: object) -> DltSource:
        source = ometria_source(**settings).with_resources(*tables)
        for name in tables:
            # what is not in a batch stays, as it must in a log
            scope = {"destination_scope": "1 = 0"} if strategy == "cdc" else {}
            source.resources[name].apply_hints(
                write_disposition={"disposition": "merge", "strategy": strategy, **scope}
            )
        pipeline = dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria")
        pipeline.run(source, loader_file_format="parquet")
        return source

    return load_with


def kinds(warehouse) -> dict[str, str]:
    rows = warehouse.rows("email_events")
    by_id = {row["event_id"]: row["event_type"] for row in rows}
    assert len(by_id) == len(rows)
    return by_id


def test_logs_equal_the_account_after_a_first_load_and_after_changes(
    account, ometria, export, load_logs, warehouse, strategy
):
    load_logs(*LOGS)
    truth.assert_unsubscribes(warehouse, account)
    truth.assert_events(warehouse, account)

    account.advance(timedelta(minutes=30))
    account.unsubscribe(list(account.profiles)[2], reason="Too many e-mails")
    account.add_events(40)
    account.write_export(export)
    for _ in range(2):
        load_logs(*LOGS)
        truth.assert_unsubscribes(warehouse, account)
        truth.assert_events(warehouse, account)


def test_a_reason_that_is_filled_in_later_updates_the_row_unless_the_first_version_stays(
    account, ometria, load_logs, warehouse, strategy
):
    account.unsubscribe(list(account.profiles)[2], reason=None)
    load_logs("unsubscribes")
    account.unsubscribes[-1]["reason"] = "Too many e-mails"
    load_logs("unsubscribes")
    reasons = [row["reason"] for row in warehouse.rows("unsubscribes")]
    assert reasons.count("Too many e-mails") == (
        sum(row["reason"] == "Too many e-mails" for row in account.unsubscribes) - (strategy == "insert-only")
    )
    assert len(reasons) == len(account.unsubscribes)


def test_a_row_without_a_readable_time_is_loaded_once_although_windows_far_apart_give_it(
    account, ometria, load_logs, warehouse
):
    account.unsubscribe(list(account.profiles)[1], at="the day before yesterday")
    row = account.unsubscribes[-1]
    # the windows before that with all other rows, and those after it, give it; it does not
    ometria.after_request(6, lambda: account.unsubscribes.remove(row))
    ometria.after_request(7, lambda: account.unsubscribes.append(row))
    load_logs("unsubscribes")
    assert len(warehouse.rows("unsubscribes")) == len(account.unsubscribes)


@pytest.mark.parametrize("key", [None, ["event_id"]])
def test_rows_that_several_files_or_one_file_twice_have_are_loaded_once(bucket, load_logs, warehouse, key):
    write_events(bucket / "a.csv", [event(1), event(2), event(1)], NOW)
    write_events(bucket / "b.csv", [event(2), event(3)], NOW - timedelta(days=1))
    # with a column of its own it is in a table of its own
    write_events(bucket / "c.csv", [event(3, more=None), event(4, more=None)], NOW - timedelta(days=2))
    load_logs("email_events", email_events_key=key)
    assert kinds(warehouse) == dict.fromkeys(["e1", "e2", "e3", "e4"], "open")


def test_of_the_rows_of_a_declared_key_the_one_of_the_newest_file_is_loaded(bucket, load_logs, warehouse):
    for days in (3, 0, 5, 1):
        write_events(
            bucket / f"{days}.csv", [event(1, f"{days} days old"), event(2 + days)], NOW - timedelta(days=days)
        )
    load_logs("email_events", email_events_key=["event_id"])
    assert kinds(warehouse)["e1"] == "0 days old"
    assert len(kinds(warehouse)) == 5


def test_a_late_file_does_not_overwrite_newer_rows(bucket, load_logs, warehouse):
    write_events(bucket / "newest.csv", [event(1, "newest")], NOW)
    load_logs("email_events", email_events_key=["event_id"])
    write_events(bucket / "late.csv", [event(1, "late"), event(2, "late")], NOW - timedelta(hours=3))
    load_logs("email_events", email_events_key=["event_id"])
    assert kinds(warehouse) == {"e1": "newest", "e2": "late"}


def test_a_newer_file_updates_a_row_unless_the_first_version_stays(bucket, load_logs, warehouse, strategy):
    write_events(bucket / "a.csv", [event(1, "old")], NOW - timedelta(hours=3))
    load_logs("email_events", email_events_key=["event_id"])
    write_events(bucket / "b.csv", [event(1, "new")], NOW)
    load_logs("email_events", email_events_key=["event_id"])
    assert kinds(warehouse) == {"e1": "old" if strategy == "insert-only" else "new"}


@pytest.mark.parametrize("lag", few([0, 2]))
def test_a_file_that_is_replaced_while_it_is_read_is_up_to_date_after_the_next_run(
    bucket, load_logs, warehouse, strategy, small_tables, monkeypatch, lag
):
    """Rows of its old version were handed on by then, so that those of the new one may be left out."""
    long = "Back in stock: " * 20
    write_events(bucket / "a.csv", [event(number, "old", subject=long) for number in range(40)], NOW)
    write_events(bucket / "newer.csv", [event(99)], NOW + timedelta(seconds=-1))
    read_tables = event_reading.read_tables
    waiting = [1]

    def interrupted(path, *arguments):
        for table in read_tables(path, *arguments):
            yield table
            if path == "a.csv" and waiting:
                waiting.clear()
                rows = [event(number, "new", subject=long) for number in range(50)]
                write_events(bucket / "a.csv", rows, NOW - timedelta(seconds=5))

    monkeypatch.setattr(event_reading, "read_tables", interrupted)
    for _ in range(2):
        load_logs("email_events", email_events_key=["event_id"], file_lag_days=lag)
    found = kinds(warehouse)
    assert len(found) == 51
    assert found["e49"] == "new"
    if strategy != "insert-only":
        assert {found[f"e{number}"] for number in range(40)} == {"new"}
    # and no more
    source = load_logs("email_events", email_events_key=["event_id"], file_lag_days=lag)
    assert source.resources["email_events"].custom_metrics["files_read"] == 0


def test_a_strategy_that_is_no_longer_asked_for_stays_and_gets_each_key_once(bucket, warehouse):
    """dlt keeps the hints of a table: without any in the resource it goes on with the ones of earlier runs."""
    pipeline = dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria")
    source = ometria_source(email_events_key=["event_id"]).with_resources("email_events")
    upsert = {"disposition": "merge", "strategy": "upsert"}
    source.resources["email_events"].apply_hints(write_disposition=upsert)
    write_events(bucket / "a.csv", [event(1, "old")], NOW - timedelta(hours=3))
    pipeline.run(source, loader_file_format="parquet")

    write_events(bucket / "b.csv", [event(1, "new")], NOW)
    write_events(bucket / "c.csv", [event(1, "in between")], NOW - timedelta(hours=1))
    again = ometria_source(email_events_key=["event_id"]).with_resources("email_events")
    pipeline.run(again, loader_file_format="parquet")
    assert kinds(warehouse) == {"e1": "new"}


@pytest.mark.slow
def test_snapshots_lose_what_is_gone_and_keep_the_rest_under_cdc(account, ometria, warehouse, monkeypatch):
    pipeline = dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria")
    tables = {"profiles": snapshot_merge("profile_id"), "lists": snapshot_merge("list_id"), "member_lists": MERGE}

    def load(**settings: object) -> None:
        source = ometria_source(**settings).with_resources(*tables)
        for name, disposition in tables.items():
            source.resources[name].apply_hints(write_disposition={**disposition, "strategy": "cdc"})
        pipeline.run(source, loader_file_format="parquet")

    for way in ("lists", "profiles"):
        load(member_lists_from=way)
        people = list(account.profiles)
        account.erase_profile(people[5])
        account.update_profile(people[6], name="Changed Name")
        account.join(next(iter(account.lists)), account.add_profile(name="Newa Comer"))
        load(member_lists_from=way)
        # a scan of what changed removes nothing
        assert people[5] in {row["profile_id"] for row in warehouse.rows("profiles")}
        load(member_lists_from=way, full_scan_days=0)
        truth.assert_profiles(warehouse, account)
        truth.assert_lists(warehouse, account)
        truth.assert_members(warehouse, account)
