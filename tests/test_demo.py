"""The demo, as a newcomer runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Warehouse

PROGRAM = Path(__file__).parents[1] / "pipelines" / "ometria_pipeline.py"


@pytest.mark.slow
def test_the_demo_shows_two_loads_and_three_questions_and_meets_no_account(workspace, monkeypatch):
    # settings of a real account, none of which may be used
    monkeypatch.setenv("SOURCES__OMETRIA__API_KEY", "a-real-key")
    monkeypatch.setenv("SOURCES__OMETRIA__BASE_URL", "https://nowhere.test/v2")
    monkeypatch.setenv("SOURCES__OMETRIA__BUCKET_URL", "s3://nowhere/at-all")
    monkeypatch.setenv("SOURCES__OMETRIA__END_DATE", "2020-01-01")
    monkeypatch.delenv("RUNTIME__DLTHUB_TELEMETRY")
    for _ in range(2):
        result = subprocess.run(
            [sys.executable, str(PROGRAM), "--demo"], capture_output=True, text=True, check=False, env=dict(os.environ)
        )
        assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    assert "invented" in result.stdout
    assert "guess" in result.stdout
    assert result.stdout.count("profiles ") >= 2
    for title in ("Growth by list", "Opens and clicks by campaign", "Unsubscribes by reason"):
        assert title in result.stdout
    assert [path.name for path in workspace.iterdir()] == ["ometria_demo.duckdb"]
    demo = Warehouse(workspace / "ometria_demo.duckdb")
    for table in ("profiles", "lists", "member_lists", "unsubscribes", "email_events"):
        assert demo.rows(table)


@pytest.mark.slow
def test_a_demo_whose_output_nobody_reads_to_its_end_runs_to_its_end(workspace):
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), "--demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        demo.stdout.readline()
        demo.stdout.close()
        error = demo.stderr.read()
    assert (demo.returncode, error) == (0, "")
    assert Warehouse(workspace / "ometria_demo.duckdb").rows("email_events")
