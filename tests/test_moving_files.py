"""Files that are replaced or deleted between their listing and the end of their reading."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from examples import few

from ometria_source.simulator import write_events
from ometria_source.tables.email_events import reading as event_export
from ometria_source.tables.email_events import reading as event_reading

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
        read_tables = event_reading.read_tables

        def interrupted(path, *arguments):
            for number, table in enumerate(read_tables(path, *arguments)):
                yield table
                if path == PATH and number == 0:
                    change()

        monkeypatch.setattr(event_reading, "read_tables", interrupted)

    return happens


def ids(warehouse, kind: str) -> set[str]:
    return {row["event_id"] for row in warehouse.rows("email_events") if row["event_type"] == kind}


@pytest.mark.parametrize("key", ["", '["event_id"]'])
@pytest.mark.parametrize("rows", few([40, 60, 2]))
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
    list_files = event_export.list_files

    def listed(*arguments):
        files = list(list_files(*arguments))
        (bucket / PATH).unlink()
        yield from files

    monkeypatch.setattr(event_export, "list_files", listed)
    assert "a.csv was deleted" in load().out
    assert len(ids(warehouse, "other")) == 3


def numbered(version: str, count: int = 300) -> str:
    """A file whose rows say in their first and in their last cell which version they are of."""
    return "".join(["number,text,again\n", *(f"{version}{n:04},{'x' * 50},{version}\n" for n in range(count))])


def test_no_row_is_made_of_two_versions_of_a_file_that_is_written_over(bucket, load, warehouse, meanwhile, monkeypatch):
    """Nothing but the time tells: whoever has opened the file reads the new bytes from here on."""
    monkeypatch.setattr("ometria_source.export.compression.PIECE_BYTES", 1000)
    (bucket / PATH).write_text(numbered("old"))
    versions = iter(["new"])

    def write_over() -> None:
        for version in versions:
            with (bucket / PATH).open("r+") as file:
                # a row further on, so that no line begins where one did
                file.write(numbered(version).replace("\n", f"\n{version}0000,{'x' * 40},{version}\n", 1))

    meanwhile(write_over)
    assert "a.csv was replaced while it was read" in load().out
    rows = [row for row in warehouse.rows("email_events") if row["number"]]
    assert all(row["number"] == f"{row['again']}{row['number'][3:]}" for row in rows)
    assert {row["number"] for row in rows if row["again"] == "new"} == {f"new{n:04}" for n in range(300)}
    assert any(row["again"] == "old" for row in rows)


@pytest.mark.parametrize("seconds_later", [0, -3600])
def test_the_new_version_wins_under_a_declared_key_whatever_its_time(
    bucket, load, warehouse, meanwhile, monkeypatch, seconds_later
):
    monkeypatch.setenv("SOURCES__OMETRIA__EMAIL_EVENTS_KEY", '["event_id"]')
    versions = iter(["new"])

    def version(name: str, count: int) -> list[dict[str, str | None]]:
        return [{"event_id": f"e{number:03}", "event_type": name} for number in range(count)]

    def replace() -> None:
        for name in versions:
            write_events(bucket / PATH, version(name, 41), NOW + timedelta(seconds=seconds_later))

    write_events(bucket / PATH, version("old", 40), NOW)
    meanwhile(replace)
    assert "a.csv was replaced while it was read" in load().out
    assert [row["event_type"] for row in warehouse.rows("email_events") if row["event_id"][0] == "e"] == ["new"] * 41
    assert "2 known files not read again" in load().out


def test_a_broken_late_file_that_is_replaced_while_it_is_looked_at_is_not_skipped(
    bucket, load, warehouse, meanwhile, monkeypatch
):
    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", "skip")
    monkeypatch.setenv("SOURCES__OMETRIA__EMAIL_EVENTS_KEY", '["event_id"]')
    (bucket / PATH).unlink()
    load()
    # one row a part, of which the second is wrong
    long = "x" * 250
    (bucket / PATH).write_text(f"event_id,event_type,subject\ne000,old,{long}\ntoo,many,cells,{long}\n")
    os.utime(bucket / PATH, (NOW.timestamp() - 3600,) * 2)
    mended = iter([events("new")])

    def replace() -> None:
        for content in mended:
            write_events(bucket / PATH, content, NOW - timedelta(minutes=1))

    meanwhile(replace)
    assert "skipped" not in load().out
    assert len(ids(warehouse, "new")) == 40
