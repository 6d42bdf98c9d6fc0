"""The simulated export: files that can be read, with cells as awkward as real ones may be."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ometria_source.simulator import SimulatedAccount, write_events

NOW = datetime(2024, 3, 5, 10, 20, 30, tzinfo=timezone.utc)
ROWS = [
    {"event_id": "1", "subject": None, "device_type": ""},
    {"event_id": "2", "subject": 'two\nlines, "quoted"\r\n', "device_type": "tab\there 🌷"},
    {"event_id": "3", "subject": "NaN", "device_type": " padded "},
]


@pytest.fixture
def account() -> SimulatedAccount:
    return SimulatedAccount.invent(100, now=NOW)


def as_text(events) -> list[dict[str, str]]:
    """What a plain CSV reader sees: it cannot tell null from empty."""
    return [{name: cell or "" for name, cell in event.items()} for event in events]


def read_csv(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def modified(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)


def test_the_files_hold_every_event_once_in_the_folder_of_its_day(account, tmp_path):
    paths = account.write_export(tmp_path)

    assert [row for path in paths for row in read_csv(path)] == as_text(account.events)
    for path in paths:
        assert path.name.endswith(".csv.gz")
        assert {f"dt={row['event_time'][:10]}" for row in read_csv(path)} == {path.parent.name}


def test_a_file_is_as_old_as_the_end_of_its_day_but_not_younger_than_the_present(account, tmp_path):
    for path in account.write_export(tmp_path):
        day = datetime.fromisoformat(path.parent.name.removeprefix("dt=")).replace(tzinfo=timezone.utc)
        assert modified(path) == min(day + timedelta(days=1), NOW)


def test_a_later_delivery_holds_only_what_is_new_and_is_as_old_as_the_present(account, tmp_path):
    first = account.write_export(tmp_path)
    account.advance(timedelta(days=2))
    added = account.add_events(5, at=NOW - timedelta(days=3))

    (second,) = account.write_export(tmp_path)

    assert second not in first
    assert read_csv(second) == as_text(added)
    assert modified(second) == NOW + timedelta(days=2)
    assert account.write_export(tmp_path) == []


def test_the_modification_time_can_be_given(account, tmp_path):
    when = datetime(2020, 2, 2, 2, 2, 2, tzinfo=timezone.utc)

    assert {modified(path) for path in account.write_export(tmp_path, modified_at=when)} == {when}


def test_a_note_beside_the_files_says_that_all_of_it_is_invented_and_a_guess(account, tmp_path):
    paths = account.write_export(tmp_path)

    (note,) = [path for path in tmp_path.rglob("*") if path.is_file() and path not in paths]
    assert note.name.startswith("_")
    assert "invented" in note.read_text(encoding="utf-8")
    assert "guess" in note.read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "mark"), [("e.csv", ","), ("e.csv.gz", ","), ("e.tsv", "\t"), ("e.tsv.gz", "\t")])
def test_null_is_nothing_and_empty_text_is_a_pair_of_quotes(tmp_path, name, mark):
    path = write_events(tmp_path / name, ROWS)

    content = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    lines = content.decode().split("\n")
    assert lines[0] == mark.join(lines[0].split(mark))
    header = lines[0].split(mark)
    first = dict(zip(header, lines[1].split(mark), strict=True))
    assert (first["event_id"], first["subject"], first["device_type"]) == ("1", "", '""')
    rows = list(csv.DictReader(content.decode().splitlines(keepends=True), delimiter=mark))
    assert [{key: row[key] for key in ROWS[0]} for row in rows] == as_text(ROWS)


@pytest.mark.parametrize("name", ["e.jsonl", "e.jsonl.gz"])
def test_json_lines_keep_null_and_empty_text_apart(tmp_path, name):
    path = write_events(tmp_path / name, ROWS)

    content = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    assert [json.loads(line) for line in content.decode().strip("\n").split("\n")] == ROWS


def test_parquet_keeps_null_and_empty_text_apart(tmp_path):
    rows = pq.ParquetFile(write_events(tmp_path / "e.parquet", ROWS)).read().to_pylist()

    assert [{key: row[key] for key in ROWS[0]} for row in rows] == ROWS


def test_cells_are_as_awkward_as_real_ones_may_be(account):
    cells = {name: {event[name] for event in account.events} for name in account.events[0]}

    assert {"007", "0005"} <= cells["mass_campaign_id"]
    assert {None, " padded ", "NaN"} <= cells["campaign_title"]
    assert {None, "", "null"} <= cells["subject"]
    assert any(subject and "\n" in subject for subject in cells["subject"])
