"""The manifest knows which files were read."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from ometria_source.export.manifest import Manifest

NOON = datetime(2024, 2, 3, 12, tzinfo=timezone.utc)


def file(path="2024/events.csv", size=100, modified_at=NOON):
    return {"relative_path": path, "size_in_bytes": size, "modification_date": modified_at}


def test_a_file_that_was_read_is_known():
    manifest = Manifest({}, NOON - timedelta(days=2))
    assert file() not in manifest
    manifest.add(file())
    assert file() in manifest


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
    manifest = Manifest({}, NOON - timedelta(days=2))
    manifest.add(file())
    assert other not in manifest


def test_the_next_run_knows_what_this_one_read():
    state = {}
    Manifest(state, NOON - timedelta(days=2)).add(file())
    state = json.loads(json.dumps(state))  # as dlt keeps it
    assert file() in Manifest(state, NOON - timedelta(days=2))
    assert file() in Manifest(state, NOON - timedelta(days=1))


def test_files_from_before_the_cutoff_are_forgotten_and_no_others():
    state = {}
    manifest = Manifest(state, NOON - timedelta(days=2))
    files = [file(path=f"{hours}.csv", modified_at=NOON - timedelta(hours=hours)) for hours in (0, 1, 2, 3)]
    for item in files:
        manifest.add(item)
    manifest = Manifest(state, NOON - timedelta(hours=1))
    assert [item in manifest for item in files] == [True, True, False, False]
    assert len(json.dumps(state)) < 200


def test_two_readers_of_one_run_share_the_manifest():
    """Files are read in parallel, each with its own look at the state."""
    state = {}
    first, second = (Manifest(state, NOON - timedelta(days=2)) for _ in range(2))
    first.add(file())
    assert file() in second
