"""`notebooks/explore.py` where the destination cannot be opened: run as a script, without a browser."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ometria_source import load

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "explore.py"

# The page as marimo's `run` makes it, without its server.
SHOW = """
import runpy, sys
sys.argv = [sys.argv[1]]
app = runpy.run_path(sys.argv[0])["app"]
outputs, _ = app.run()
print(*(getattr(output, "text", "") for output in outputs if output is not None))
"""


def test_a_destination_that_does_not_answer_shows_a_sentence(ometria, monkeypatch, tmp_path):
    load("unsubscribes").raise_for_failures()
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(tmp_path / "no" / "such" / "folder.duckdb"))
    shown = subprocess.run([sys.executable, "-c", SHOW, NOTEBOOK], capture_output=True, text=True, check=False)
    assert "cannot be read" in shown.stdout, shown.stderr
    assert "destination.duckdb.credentials" in shown.stdout
