"""However a run ends, it says so in a sentence, in its exit status and in its report. All data is invented."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dlt
import pytest
import truth
from dlt.destinations.impl.duckdb.duck import DuckDbClient
from machine import KILLED_PROGRAM, PROGRAM
from warm_python import warm_python

import ometria_source
from ometria_source.loading.pipeline import held, pipeline_folder
from ometria_source.simulator import Behaviour, SimulatedAccount

SENTENCE = "Interrupted. What was loaded before stays; the next run reads the rest again.\n"

# A phase of the program as `killed_program` counts it, and the moment in it.
MOMENTS = [
    ("open", 3),
    ("restore", 2),
    ("extract", 3),
    ("extract", 40),
    ("extract", 90),
    ("normalize", 3),
    ("normalize", 40),
    ("load", 3),
    ("load", 40),
    ("load", 90),
]


@pytest.fixture
def account() -> SimulatedAccount:
    """Small: what is tested does not depend on numbers."""
    return SimulatedAccount.invent(30, now=datetime.now(timezone.utc) - timedelta(hours=1))


def report_of(workspace) -> dict[str, object]:
    report: dict[str, object] = json.loads((workspace / "report.json").read_text(encoding="utf-8"))
    return report


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
@pytest.mark.parametrize(("phase", "moment"), MOMENTS)
def test_a_signal_ends_a_run_with_a_sentence_and_a_report(
    account, ometria, export, load, warehouse, workspace, tmp_path, monkeypatch, phase, moment, number
):
    monkeypatch.setenv("SOURCES__OMETRIA__FULL_SCAN_DAYS", "0")
    (workspace / "report.json").write_text('{"exit_status": 0}', encoding="utf-8")
    command = [*warm_python(), KILLED_PROGRAM, phase, moment, PROGRAM, "--report", "report.json"]
    result = subprocess.run(
        list(map(str, command)),
        env={**os.environ, "KILLED_BY": number.name, "WATCHED_FOLDERS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 128 + number, result
    assert SENTENCE in result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    report = report_of(workspace)
    assert report["exit_status"] == 128 + number
    assert report["error"].startswith("The run was interrupted.")
    load()
    truth.assert_equal(warehouse, account)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_while_the_program_starts_prints_no_traceback(workspace, number):
    # Python prints a line for each import
    command = [sys.executable, "-X", "importtime", str(PROGRAM)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        next(line for line in program.stderr if line.endswith(" dlt.common.typing\n"))
        program.send_signal(number)
        error = "".join(line for line in program.stderr if not line.startswith("import time:"))
    assert program.returncode == 128 + number
    assert error == SENTENCE


def refused_key(ometria, monkeypatch, tmp_path) -> None:
    ometria.behaviour = Behaviour(forbidden=frozenset({"/"}))


def refused_table(ometria, monkeypatch, tmp_path) -> None:
    ometria.fail("/lists", 500, times=None)


def broken_program(ometria, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("ometria_source.cli.program.make_plan", None)
    monkeypatch.setattr("ometria_source.cli.program.load", None)


def no_destination(ometria, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(tmp_path / "no" / "such" / "folder.duckdb"))


def no_key(ometria, monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("SOURCES__OMETRIA__API_KEY")


def wrong_setting(ometria, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("SOURCES__OMETRIA__PRIVACY", "strct")


def other_privacy(ometria, monkeypatch, tmp_path) -> None:
    ometria_source.load("lists,unsubscribes").raise_for_failures()
    monkeypatch.setenv("SOURCES__OMETRIA__HASH_COLUMNS", '["unsubscribes.email_address"]')
    monkeypatch.setenv("SOURCES__OMETRIA__PII_SALT", "an invented salt of tests")


def nothing(ometria, monkeypatch, tmp_path) -> None:
    """All is as it must be."""


ENDS = {
    "all loaded": (nothing, [], 0),
    "a table failed": (refused_table, [], 1),
    "a refused key": (refused_key, [], 1),
    "no destination": (no_destination, [], 1),
    "an error of the program": (broken_program, [], 1),
    "nothing configured": (no_key, [], 2),
    "a wrong setting": (wrong_setting, [], 2),
    "another privacy": (other_privacy, [], 2),
    "an unknown flag": (nothing, ["--tabels", "lists"], 2),
    "a flag without a value": (nothing, ["--dataset"], 2),
    "an unknown table": (nothing, ["--tables", "list"], 2),
    "an unknown destination": (nothing, ["--destination", "dukdb"], 2),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_report_is_that_of_this_run_whatever_its_exit_status(ometria, run, workspace, monkeypatch, tmp_path, end):
    arrange, flags, status = ENDS[end]
    (workspace / "report.json").write_text('{"exit_status": 99, "error": "of yesterday"}', encoding="utf-8")
    arrange(ometria, monkeypatch, tmp_path)
    began = datetime.now(timezone.utc)

    tables = [] if end == "nothing configured" or "--tables" in flags else ["--tables", "lists,unsubscribes"]
    result = run("--report", "report.json", *tables, *flags)

    report = report_of(workspace)
    assert result.status == status
    assert report["exit_status"] == status
    assert began <= datetime.fromisoformat(report["started_at"]) <= datetime.fromisoformat(report["ended_at"])
    assert report["version"] == ometria_source.__version__
    assert (report["pipeline"], report["dataset"]) == ("ometria_pipeline", "ometria")
    assert report["destination"] == ("dukdb" if "dukdb" in flags else "duckdb")
    said = result.out + result.err
    failed = [table["error"] for table in report["tables"].values() if table["error"]]
    # a refused key is said once
    errors = [report["error"]] if report["error"] else failed
    assert bool(errors) == (status != 0)
    assert all(error in said for error in errors)
    assert "of yesterday" not in str(report)
    if status == 0:
        loads = dlt.attach("ometria_pipeline").dataset()["_dlt_loads"].df()
        assert sorted(report["load_ids"]) == sorted(loads["load_id"])


def test_a_run_that_another_keeps_from_running_has_a_report(ometria, run, workspace):
    with held(pipeline_folder("ometria_pipeline")):
        assert run("--report", "report.json").status == 2
    assert "Another run" in str(report_of(workspace)["error"])


@pytest.fixture
def pending_package(account, ometria, load, run, monkeypatch, refused_at_once) -> None:
    """A package of `lists` with a new column, which waits for a destination that does not answer."""
    load("--tables", "lists,unsubscribes")
    for item in account.lists.values():
        item["owner"] = "Ada"
    with monkeypatch.context() as patch:
        patch.setattr(DuckDbClient, "create_load_job", unreachable)
        patch.setattr("ometria_source.loading.run.answers", lambda _: False)
        assert run("--tables", "lists").status == 1


@pytest.mark.usefixtures("pending_package")
def test_what_a_package_of_an_earlier_run_adds_is_reported(load, workspace):
    load("--tables", "unsubscribes", "--report", "report.json")

    assert report_of(workspace)["notes"] == ["`lists`, of an earlier run: new columns: owner"]


@pytest.mark.usefixtures("pending_package")
def test_what_a_package_of_an_earlier_run_adds_is_in_the_report_of_a_run_that_is_refused(run, workspace, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__HASH_COLUMNS", '["unsubscribes.email_address"]')
    monkeypatch.setenv("SOURCES__OMETRIA__PII_SALT", "an invented salt of tests")

    assert run("--tables", "unsubscribes", "--report", "report.json").status == 2

    report = report_of(workspace)
    assert report["exit_status"] == 2
    assert len(report["load_ids"]) == 1
    assert report["notes"] == ["`lists`, of an earlier run: new columns: owner"]


def test_the_columns_that_an_interrupted_run_added_are_in_its_report(
    account, ometria, load, run, workspace, monkeypatch
):
    load("--tables", "lists,unsubscribes")
    for item in account.lists.values():
        item["owner"] = "Ada"
    real = DuckDbClient.create_load_job

    def interrupt(client, table, *arguments, **options):
        if table["name"] == "unsubscribes":
            raise KeyboardInterrupt
        return real(client, table, *arguments, **options)

    monkeypatch.setattr(DuckDbClient, "create_load_job", interrupt)
    assert run("--tables", "lists,unsubscribes", "--report", "report.json").status == 130
    lists = report_of(workspace)["tables"]["lists"]
    assert (lists["status"], lists["new_columns"]) == ("ok", ["owner"])


def test_the_report_of_a_check_says_what_that_of_a_load_does(ometria, run, workspace):
    assert run("--check", "--tables", "lists", "--report", "report.json").status == 0
    report = report_of(workspace)
    assert (report["exit_status"], report["pipeline"], report["dataset"]) == (0, "ometria_pipeline", "ometria")
    assert report["started_at"] <= report["ended_at"]
    assert report["requests"] == len(ometria.requests)
    assert {check["name"] for check in report["checks"]} > {"key", "lists", "settings"}


@pytest.mark.parametrize("way", ["a full disk", "a folder that is gone"])
def test_a_report_that_cannot_be_written_is_said_in_a_sentence(
    account, ometria, warehouse, run, workspace, monkeypatch, way
):
    path = Path("/dev/full")
    if way == "a folder that is gone":
        path = workspace / "reports" / "report.json"
        path.parent.mkdir()
        monkeypatch.setattr("ometria_source.cli.program.show", lambda _: path.parent.rmdir())
    result = run("--tables", "lists", "--report", str(path))
    assert result.status == 1
    assert "The report could not be written" in result.err
    truth.assert_lists(warehouse, account)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_while_the_report_is_written_waits_for_it(ometria, run, workspace, monkeypatch, number):
    real = Path.replace

    def replace(path: Path, target: Path) -> Path:
        os.kill(os.getpid(), number)
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    (workspace / "report.json").write_text("old", encoding="utf-8")
    assert run("--tables", "lists", "--report", "report.json").status == 0
    assert report_of(workspace)["exit_status"] == 0
    assert list(workspace.glob(".report*")) == []


@pytest.mark.slow
def test_a_terminal_that_goes_away_ends_no_load(account, ometria, warehouse, workspace):
    ours, theirs = os.openpty()
    command = [sys.executable, str(PROGRAM), "--tables", "lists,unsubscribes,profiles"]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs) as program:
        os.close(theirs)
        # the first bar
        os.read(ours, 1)
        os.close(ours)
        program.communicate()
    assert program.returncode == 0
    truth.assert_lists(warehouse, account)
    truth.assert_profiles(warehouse, account)


def unreachable(*_: object, **__: object) -> None:
    raise OSError("no connection")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_cannot_write_a_name_fails_no_run(account, ometria, workspace, encoding):
    ometria_source.load("lists").raise_for_failures()
    for item in account.lists.values():
        item["名前"] = "Ada"
    command = [*warm_python(), str(PROGRAM), "--tables", "lists"]
    result = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False)
    assert result.returncode == 0, result
    assert b"new columns: " in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "> /dev/full"])
def test_a_closed_or_full_output_fails_no_run(account, ometria, warehouse, workspace, closed):
    command = f'"{sys.executable}" "{PROGRAM}" --tables lists --report report.json {closed}'
    result = subprocess.run(command, shell=True, capture_output=True, check=False)
    assert result.returncode == 0, result
    assert report_of(workspace)["exit_status"] == 0
    truth.assert_lists(warehouse, account)
