"""`--report`: what a run tells the jobs that follow it. All data is invented."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import pytest
from machine import PROGRAM
from truth import utc
from warm_python import warm_python

from ometria_source import __version__
from ometria_source.simulator import Behaviour


def test_the_figures_of_a_run(account, ometria, export, load, workspace):
    load("--report", "report.json")
    report = json.loads((workspace / "report.json").read_text(encoding="utf-8"))
    assert report["exit_status"] == 0
    # one that is called off at the end of a scan may never arrive
    assert report["requests"] >= len(ometria.requests)
    assert report["requests"] == sum(table["requests"] for table in report["tables"].values())
    newest = max(utc(row["timestamp"]) for row in account.unsubscribes)
    assert datetime.fromisoformat(report["tables"]["unsubscribes"]["newest"]) == newest
    lag = (datetime.now(timezone.utc) - newest).total_seconds()
    assert abs(lag - report["tables"]["unsubscribes"]["lag_seconds"]) < 60
    assert report["tables"]["email_events"]["lag_seconds"] >= 0
    assert report["tables"]["profiles"] | {"seconds": 0, "requests": 0} == {
        "status": "ok",
        "rows_read": len(account.profiles),
        "rows": len(account.profiles),
        "nested": {},
        "requests": 0,
        "retries": 0,
        "seconds": 0,
        "seconds_waited": 0,
        "newest": None,
        "lag_seconds": None,
        "new_columns": [],
        "unproven": False,
        "files": {},
        "notes": [],
        "error": None,
    }
    assert report["tables"]["email_events"]["files"]["files_read"] == len(list(export.rglob("*.csv.gz")))


def test_a_table_that_failed_is_told_of_and_an_old_report_is_replaced(account, ometria, run, workspace):
    (workspace / "report.json").write_text("old", encoding="utf-8")
    ometria.behaviour = Behaviour(forbidden=frozenset({"/lists"}))
    assert run("--tables", "profiles,lists", "--report", "report.json").status == 1
    report = json.loads((workspace / "report.json").read_text(encoding="utf-8"))
    assert report["exit_status"] == 1
    assert report["tables"]["lists"]["status"] == "failed"
    assert "403" in report["tables"]["lists"]["error"]
    assert report["tables"]["profiles"]["status"] == "ok"
    assert [path.name for path in workspace.iterdir() if "report" in path.name] == ["report.json"]


def test_what_was_loaded_is_not_called_otherwise_where_the_key_is_refused(account, ometria, export, run, workspace):
    ometria.behaviour = Behaviour(forbidden=frozenset({"/"}))
    result = run("--tables", "all", "--report", "report.json")
    assert result.status == 1
    assert "Ometria refuses the API key (status" in result.out
    tables = json.loads((workspace / "report.json").read_text(encoding="utf-8"))["tables"]
    assert (tables["email_events"]["status"], tables["email_events"]["rows"]) == ("ok", len(account.events))
    assert tables["profiles"]["status"] == "left out"


def test_a_report_goes_where_a_link_or_a_pipe_leads(ometria, run, workspace):
    (workspace / "real.json").write_text("old", encoding="utf-8")
    (workspace / "link.json").symlink_to("real.json")
    assert run("--tables", "lists", "--report", "link.json").status == 0
    assert (workspace / "link.json").is_symlink()
    assert json.loads((workspace / "real.json").read_text(encoding="utf-8"))["exit_status"] == 0
    assert (workspace / "real.json").stat().st_mode & 0o777 == 0o600

    os.mkfifo(workspace / "pipe")
    with ThreadPoolExecutor(1) as thread:
        told = thread.submit((workspace / "pipe").read_text)
        assert run("--tables", "lists", "--report", "pipe").status == 0
        assert json.loads(told.result(60))["exit_status"] == 0
    assert (workspace / "pipe").is_fifo()


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--verbose", "--check"])
def test_a_report_is_written_also_where_nobody_reads_what_the_program_prints(ometria, workspace, flag):
    command = [*warm_python(), str(PROGRAM), "--tables", "lists", "--report", "report.json", flag]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        program.stdout.close()
        error = program.stderr.read()
    assert program.returncode == 0, error
    assert "BrokenPipe" not in error
    assert (workspace / "report.json").exists()


@pytest.mark.slow
def test_a_report_can_go_to_standard_error(ometria, workspace):
    command = [*warm_python(), str(PROGRAM), "--tables", "lists", "--report", "/dev/stderr"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stderr)["exit_status"] == 0


@pytest.mark.slow
def test_an_interrupted_run_leaves_a_report_that_says_so(ometria, workspace):
    (workspace / "report.json").write_text("old", encoding="utf-8")
    ometria.fail("/profiles", "hang", times=None)
    command = [*warm_python(), str(PROGRAM), "--tables", "lists,profiles", "--report", "report.json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        while not ometria.requests_to("/profiles"):
            assert program.poll() is None
        program.send_signal(signal.SIGINT)
        error = program.stderr.read()
    assert program.returncode == 130
    assert "Interrupted." in error
    report = json.loads((workspace / "report.json").read_text(encoding="utf-8"))
    assert report["exit_status"] == 130
    assert {table["status"] for table in report["tables"].values()} == {"not loaded"}


def test_what_was_added_is_told_of(account, ometria, load, workspace):
    load("--tables", "orders")
    order = next(row for row in account.shop.orders.values() if row["lineitems"])
    order["colour"] = "red"
    order["lineitems"][0]["size"] = "M"
    load("--tables", "orders", "--report", "report.json")
    table = json.loads((workspace / "report.json").read_text(encoding="utf-8"))["tables"]["orders"]
    assert table["new_columns"] == ["colour", "order_line_items.size"]
    assert table["nested"]["order_line_items"] == sum(len(row["lineitems"]) for row in account.shop.orders.values())


@pytest.mark.parametrize("place", ["nowhere/report.json", "."])
def test_a_place_that_cannot_be_written_is_found_before_anything_is_read(ometria, run, place):
    result = run("--tables", "lists", "--report", place)
    assert result.status == 2
    assert "--report" in result.err
    assert not ometria.requests


def test_nothing_of_anybody_is_in_it(account, ometria, export, load, workspace):
    load("--report", "report.json")
    text = (workspace / "report.json").read_text(encoding="utf-8")
    assert not [row["email"] for row in account.profiles.values() if row["email"] and row["email"] in text]
    assert ometria.api_key not in text


def test_the_version_is_told(run):
    assert __version__ in run("--version").out
