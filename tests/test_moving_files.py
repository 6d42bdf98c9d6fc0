"""Files that are replaced or deleted between their listing and the end of their reading."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from ometria_source.simulator import write_events
from ometria_source.tables import event_files

NOW = datetime.now(timezone.utc).replace(microsecond=0)
PATH = "a.csv"


def events(kind: str, count: int = 40) -> list[dict[str, str | None]]:
    """Rows that have the same `event_id` in each version of a file; forty are more than the system reads ahead."""
    subject = "Back in stock: " * 20
    return [{"event_id": f"e{number:03}", "event_type": kind, "subject": subject} for number in range(count)]


@pytest.fixture
def bucket(bucket, small_tables):
    write_events(bucket / PATH, events("old"), NOW - timedelta(minutes=1))
    write_events(bucket / "other.csv", [{"event_id": f"x{number}", "event_type": "other"} for number in range(3)], NOW)
    return bucket


@pytest.fixture
def meanwhile(monkeypatch) -> Callable[[Callable[[], object]], None]:
    """Let something happen each time when the first part of the file was read, and before the next one is."""

    def happens(change: Callable[[], object]) -> None:
        read_tables = event_files.read_tables

        def interrupted(path, *arguments):
            for number, table in enumerate(read_tables(path, *arguments)):
                yield table
                if path == PATH and number == 0:
                    change()

        monkeypatch.setattr(event_files, "read_tables", interrupted)

    return happens


def ids(warehouse, kind: str) -> set[str]:
    return {row["event_id"] for row in warehouse.rows("email_events") if row["event_type"] == kind}


@pytest.mark.parametrize("key", ["", '["event_id"]'])
@pytest.mark.parametrize("rows", [40, 60, 2])
def test_a_file_that_is_replaced_while_it_is_read_is_read_again(
    bucket, load, warehouse, meanwhile, monkeypatch, rows, key
):
    """By one that is as long, longer, or so short that the old one seems to be cut off.

    With a declared key its rows replace what was read of the old one.
    """
    if key:
        monkeypatch.setenv("SOURCES__OMETRIA__EMAIL_EVENTS_KEY", key)
    new = iter([events("new", rows)])

    def replace() -> None:
        if (content := next(new, None)) is not None:
            write_events(bucket / PATH, content, NOW)

    meanwhile(replace)
    result = load()

    assert "a.csv was replaced while it was read" in result.out
    assert "2 files read" in result.out
    assert ids(warehouse, "new") == {event["event_id"] for event in events("new", rows)}
    assert len(ids(warehouse, "other")) == 3
    assert not (key and ids(warehouse, "old") & ids(warehouse, "new"))
    assert {row["_file_modified_at"] for row in warehouse.rows("email_events") if row["event_type"] == "new"} == {NOW}
    # and no more
    assert "2 known files not read again" in load().out


def test_a_file_that_is_replaced_again_and_again_fails_the_table_with_a_sentence(bucket, run, meanwhile):
    moments = iter(range(100))
    meanwhile(lambda: write_events(bucket / PATH, events("new"), NOW + timedelta(seconds=next(moments))))
    result = run()
    assert result.status == 1
    assert "a.csv: was replaced again and again" in result.out


def test_a_file_that_is_broken_is_refused_although_it_could_have_been_replaced(bucket, run):
    (bucket / PATH).write_text("event_id,event_type\ne1,open,x\n")
    result = run()
    assert result.status == 1
    assert "a.csv, line 2" in result.out
    assert "replaced" not in result.out


def test_a_file_that_is_deleted_while_it_is_read_keeps_no_other_from_loading(bucket, load, warehouse, meanwhile):
    meanwhile((bucket / PATH).unlink)
    load()
    # this system keeps it readable for whoever has opened it
    assert len(ids(warehouse, "old")) == 40
    assert len(ids(warehouse, "other")) == 3


def test_a_file_that_is_deleted_after_it_was_listed_is_skipped_with_a_notice(bucket, load, warehouse, monkeypatch):
    list_files = event_files.list_files

    def listed(*arguments):
        files = list(list_files(*arguments))
        (bucket / PATH).unlink()
        yield from files

    monkeypatch.setattr(event_files, "list_files", listed)
    assert "a.csv was deleted" in load().out
    assert len(ids(warehouse, "other")) == 3
