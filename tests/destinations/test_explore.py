"""The notebook asks every destination in its own SQL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "explore.py"


@pytest.mark.parametrize("destination", ["duckdb", "postgres", "snowflake"])
def test_each_cell_runs(account, ometria, export, load, request, monkeypatch, destination):
    place = request.getfixturevalue(f"at_{destination}")
    for name, value in place.settings.items():
        monkeypatch.setenv(name, value)
    load(*place.arguments)
    command = [sys.executable, NOTEBOOK, "--pipeline", "ometria_pipeline"]
    command += ["--destination", place.destination, "--dataset", place.dataset]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
