"""The manifest knows which files were read."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from ometria_source.tables.email_events.manifest import Manifest

NOON = datetime(2024, 2, 3, 12, tzinfo=timezone.utc)


def file(path="2024/events.csv", size=100, modified_at=NOON):
    return {"relative_path": path, "size_in_bytes": size, "modification_date": modified_at}


def test_a_file_that_was_read_is_known():
    state = {}
    manifest = Manifest(state, NOON - timedelta(days=2))
    assert file() not in manifest
    manifest.add(file())
    assert file() in Manifest(state, NOON - timedelta(days=2))


@pytest.mark.parametrize(
    "other",
    [
        file(size=101),
        file(modified_at=NOON + timedelta(seconds=1)),
        file(modified_at=NOON + timedelta(microseconds=1)),
        file(path="2024/events2.csv"),
        file(path="2025/events.csv"),
        file(path="2024/events.csv\n100", size=1),
    ],
)
def test_a_file_that_was_rewritten_or_is_another_is_new(other):
    state = {}
    Manifest(state, NOON - timedelta(days=2)).add(file())
    assert other not in Manifest(state, NOON - timedelta(days=2))


def test_the_next_run_knows_what_this_one_read():
    state = {}
    Manifest(state, NOON - timedelta(days=2)).add(file())
    state = json.loads(json.dumps(state))  # as dlt keeps it
    assert file() in Manifest(state, NOON - timedelta(days=2))
    assert file() in Manifest(state, NOON - timedelta(days=1))


def test_files_from_before_the_cutoff_are_forgotten_by_the_hour_and_no_others():
    state = {}
    manifest = Manifest(state, NOON - timedelta(days=2))
    files = [file(path=f"{hours}.csv", modified_at=NOON - timedelta(hours=hours)) for hours in (0, 1, 2, 3)]
    for item in files:
        manifest.add(item)
    manifest = Manifest(state, NOON - timedelta(minutes=30))
    assert [item in manifest for item in files] == [True, True, False, False]
    assert len(json.dumps(state)) < 80


def test_what_the_next_run_will_leave_alone_is_not_kept():
    """The first load of an export reads years of files."""
    state = {}
    manifest = Manifest(state, datetime(1970, 1, 1, tzinfo=timezone.utc))
    days = [file(path=f"{days}.csv", modified_at=NOON - timedelta(days=days)) for days in range(1000)]
    for newest, item in enumerate([*days[500:], *days[:500]]):
        manifest.add(item)
        manifest.forget_before(NOON - timedelta(days=502 if newest < 500 else 2))
    assert [item in Manifest(state, NOON - timedelta(days=2)) for item in days[:5]] == [True] * 3 + [False] * 2
    assert len(json.dumps(state)) < 200


def test_a_file_that_is_read_again_takes_no_more_room():
    state = {}
    for _ in range(3):
        manifest = Manifest(state, NOON - timedelta(days=2))
        manifest.add(file())
        manifest.add(file())
    assert sum(map(len, next(iter(state["manifest"].values())))) == 9


def test_a_cutoff_never_moves_back():
    state = {}
    manifest = Manifest(state, NOON)
    manifest.forget_before(NOON - timedelta(days=9))
    manifest.add(file(modified_at=NOON - timedelta(days=1)))
    assert state == {"manifest": {}}


@pytest.mark.parametrize("seconds", [0, 1], ids=["in one second", "over 28 hours"])
def test_a_hundred_thousand_files_take_less_than_a_megabyte(seconds):
    state = {}
    manifest = Manifest(state, NOON)
    files = [
        file(
            path=f"export/dt=2024-02-03/part-{number:06}.csv.gz", modified_at=NOON + timedelta(seconds=seconds * number)
        )
        for number in range(100_000)
    ]
    for item in files:
        manifest.add(item)
    assert len(json.dumps(state)) < 1_000_000
    known = Manifest(state, NOON)
    assert all(item in known for item in files)
    assert file() not in known
