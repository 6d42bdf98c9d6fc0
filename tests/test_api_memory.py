"""What the whole program takes in memory for answers without bounds, measured in a process of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from peak_memory import run_measured
from raw_api import endless, page, plain, serving

pytestmark = pytest.mark.slow

# 1 GB
MOST_MIB = 953

# The bounds that would take hours to reach are lowered.
PROGRAM = """
import sys
from ometria_source.api import offset_scan, window_scan
from ometria_source.cli import main
offset_scan.MAX_SCAN_ROWS = window_scan.MAX_WINDOW_ROWS = 30_000
print("status", main(["--tables", sys.argv[1]]))
"""

TEXT = "x" * 1_000


def fields(rows: int, columns: int) -> Callable[[dict[str, str]], bytes]:
    """Profiles, each with these fields."""
    many = {f"field_{number}": number for number in range(columns)}
    return lambda query: page([{"id": str(number), **many} for number in range(rows)], query)


def without_end(query: dict[str, str]) -> bytes:
    """New rows at whatever offset."""
    start = int(query.get("offset", 0))
    row = {"timestamp": "2024-01-05 00:00:00+00", "text": TEXT}
    return plain(json.dumps([{**row, "id": str(start + n), "n": start + n} for n in range(250)]).encode())


CASES: dict[str, tuple[str, Callable[[dict[str, str]], bytes | Iterable[bytes]], str | None]] = {
    "endless answer": ("profiles", lambda _: endless(b"[" + b" " * 1_000_000), "answers with more than 64 MiB"),
    "gzip bomb": ("profiles", lambda _: endless(bytes(10_000_000), as_gzip=True), "answers with more than 64 MiB"),
    "members": ("member_lists", lambda _: endless(b"[" + b" " * 1_000_000), 'Set `member_lists_from = "profiles"`'),
    "endless scan": ("profiles", without_end, "gives new rows without end: more than 30,000"),
    "endless log": ("unsubscribes", without_end, "gives new rows without end: more than 30,000"),
    "1,000 fields": ("profiles", fields(400, 1_000), None),
    "5,000 fields": ("profiles", fields(400, 5_000), "more than 1,000 new columns in this run"),
    "5,000 fields, discarded": ("profiles", fields(400, 5_000), None),
}


@pytest.mark.parametrize("name", CASES)
def test_an_account_without_bounds_is_loaded_or_refused_within_a_gigabyte(name, workspace, warehouse, monkeypatch):
    """The sentence says what was found; the peak of the whole program stays below 1 GB."""
    table, answer, problem = CASES[name]
    monkeypatch.setenv("SOURCES__OMETRIA__API_KEY", "key")
    monkeypatch.setenv("SOURCES__OMETRIA__PATIENCE_MINUTES", "0.1")
    # the pace of most accounts, so that as many pages are in flight
    monkeypatch.setenv("SOURCES__OMETRIA__REQUESTS_PER_SECOND", "1000")
    if "discarded" in name:
        monkeypatch.setenv("SOURCES__OMETRIA__SCHEMA_CONTRACT", "discard_value")

    def answers(path: str, query: dict[str, str]) -> bytes | Iterable[bytes]:
        return page([{"id": "1", "size": 5}], query) if path == "/lists" else answer(query)

    with serving(answers) as address:
        monkeypatch.setenv("SOURCES__OMETRIA__BASE_URL", address)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        result, (*lines, status), peak = run_measured(PROGRAM, table, cwd=workspace, env=environment)

    assert "Traceback" not in result.stderr
    assert status == f"status {int(problem is not None)}", lines
    assert problem is None or problem in "\n".join(lines)
    assert peak < MOST_MIB, (name, peak)
    if problem is None:
        assert len(warehouse.rows(table)) == 400
        assert len(warehouse.types(table)) < 1_100
