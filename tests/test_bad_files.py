"""A file of the export that cannot be read: what becomes of it, and of the others."""

from __future__ import annotations

import os
import zipfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ometria_source.simulator import write_events

NOW = datetime.now(timezone.utc).replace(microsecond=0)
FILES = 50


def event(number: int) -> dict[str, str | None]:
    return {"event_id": f"e{number}", "event_type": "open"}


def break_file(path: Path, modified_at: datetime = NOW) -> None:
    """Many good rows, and behind them one with a cell too many."""
    rows = "".join(f"bad{number},open\n" for number in range(100))
    path.write_text(f"event_id,event_type\n{rows}bad,open,someone@shop.test\n")
    os.utime(path, (modified_at.timestamp(), modified_at.timestamp()))


@pytest.fixture
def bucket(bucket, small_tables):
    """Fifty files, of which one is broken."""
    for number in range(FILES):
        write_events(bucket / f"{number:02}.csv", [event(number)], NOW)
    break_file(bucket / "07.csv")
    return bucket


def ids(warehouse) -> set[str]:
    return {row["event_id"] for row in warehouse.rows("email_events")}


ALL = {f"e{number}" for number in range(FILES)}


def test_one_broken_file_loads_no_event_and_the_mended_file_and_all_others_follow(bucket, run, load, warehouse):
    result = run()

    assert result.status == 1
    assert "07.csv, line 102" in result.out
    assert "someone@shop.test" not in result.out + result.err
    assert "email_events" not in warehouse.tables()
    write_events(bucket / "07.csv", [event(7)], NOW)
    assert "50 files read" in load().out
    assert ids(warehouse) == ALL


def test_a_broken_file_that_is_skipped_keeps_no_other_from_loading_and_is_tried_again(
    bucket, load, warehouse, monkeypatch
):
    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", "skip")
    for result in (load(), load()):
        assert "07.csv, line 102" in result.out
        assert "1 unreadable files skipped" in result.out
        assert "someone@shop.test" not in result.out + result.err
        # none of its good rows either
        assert ids(warehouse) == ALL - {"e7"}

    write_events(bucket / "07.csv", [event(7)], NOW)
    result = load()
    assert "1 files read" in result.out
    assert "49 known files not read again" in result.out
    assert ids(warehouse) == ALL


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("EMAIL_EVENTS_COLUMNS", '{"event_type": "bigint"}'),
        ("EMAIL_EVENTS_KEY", '["send_key"]'),
        # there, but empty in all files but one
        ("EMAIL_EVENTS_KEY", '["send_id"]'),
    ],
)
def test_what_the_declared_settings_refuse_is_skipped_too(bucket, load, warehouse, monkeypatch, setting, value):
    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", "skip")
    monkeypatch.setenv(f"SOURCES__OMETRIA__{setting}", value)
    (bucket / "good.csv").write_text("event_id,send_id,send_key,event_type\ne1,s1,k1,1\n")
    result = load()
    assert "50 unreadable files skipped" in result.out
    assert [row["event_id"] for row in warehouse.rows("email_events")] == ["e1"]


def test_a_zip_that_was_cut_off_is_skipped_and_one_without_files_is_none_of_the_bad_ones(
    bucket, load, warehouse, monkeypatch
):
    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", "skip")
    (bucket / "07.csv").write_bytes(b"PK\x03\x04\x14\x00")
    (bucket / "cut.zip").write_bytes(b"PK\x03\x04\x14\x00")
    zipfile.ZipFile(bucket / "nothing.zip", "w").close()
    (bucket / "bare.csv.zip").write_bytes(b"")
    result = load()
    assert "skipped 07.csv: is not a zip file, is damaged" in result.out
    assert "skipped cut.zip: is not a zip file, is damaged" in result.out
    assert "2 unreadable files skipped" in result.out
    assert ids(warehouse) == ALL - {"e7"}


def test_a_skipped_file_is_left_alone_when_it_is_older_than_the_lag(bucket, load, warehouse, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", "skip")
    break_file(bucket / "07.csv", NOW - timedelta(days=5))
    assert "07.csv" in load().out
    result = load()
    assert "07.csv" not in result.out
    assert "1 files older than the window left alone" in result.out
    assert ids(warehouse) == ALL - {"e7"}


def test_only_broken_files_are_no_failure_where_they_are_to_be_skipped(tmp_path, load, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__BUCKET_URL", tmp_path.as_uri())
    monkeypatch.setenv("SOURCES__OMETRIA__FILE_GLOB", "*.csv")
    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", "skip")
    break_file(tmp_path / "a.csv")
    assert "1 unreadable files skipped" in load().out
    write_events(tmp_path / "b.csv", [event(1)], NOW)
    assert "1 files read" in load().out


def test_an_unknown_way_with_bad_files_is_refused_before_anything_is_read(run, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__BUCKET_URL", "file:///nowhere")
    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", "ignore")
    result = run()
    assert result.status == 2
    assert "`on_bad_file` must be one of fail, skip" in result.err


def test_a_skipped_file_does_not_have_newer_ones_read_again(bucket, load, monkeypatch):
    """Which are read again with a late file where a key is declared."""
    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", "skip")
    monkeypatch.setenv("SOURCES__OMETRIA__EMAIL_EVENTS_KEY", '["event_id"]')
    break_file(bucket / "07.csv", NOW - timedelta(hours=1))
    load()
    result = load()
    assert "1 unreadable files skipped" in result.out
    assert "49 known files not read again" in result.out
    write_events(bucket / "07.csv", [event(7)], NOW - timedelta(minutes=30))
    assert "49 of them known ones that are newer" in load().out
