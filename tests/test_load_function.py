"""`load()`, as a notebook or an orchestrator calls it."""

from __future__ import annotations

import json
import logging
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import dlt
import pytest
import truth
from dlt.common import logger as dlt_logger
from dlt.common.configuration.container import Container
from dlt.common.destination.exceptions import DestinationTerminalException
from dlt.common.pipeline import PipelineContext
from dlt.destinations.impl.duckdb.duck import DuckDbClient
from dlt.pipeline import trace

import ometria_source
from ometria_source import (
    InvalidSettingError,
    LoadFailedError,
    LoadReport,
    NothingConfiguredError,
    RunInProgressError,
    load,
)
from ometria_source.loading import shared_machine
from ometria_source.loading.pipeline import held, pipeline_folder
from ometria_source.loading.shared_machine import telemetry_off_by_default


def process_state() -> list[object]:
    """What a load could change in its process."""
    mask = os.umask(0)
    os.umask(mask)
    loggers = [logging.getLogger(name) for name in sorted(logging.root.manager.loggerDict) if "ometria" in name]
    return [
        mask,
        dict(os.environ),
        [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        list(trace.TRACKING_MODULES),
        [(logger.level, list(logger.filters), list(logger.handlers)) for logger in (*loggers, dlt_logger.LOGGER)],
        Container()[PipelineContext].is_active(),
    ]


def test_a_load_reports_what_it_did_and_leaves_its_process_as_it_was(account, ometria, export, warehouse, capsys):
    # dlt sets up its own logger when it is first asked
    dlt.current.run_context()
    before = process_state()

    # When two tables are loaded, of which Ometria refuses one
    ometria.fail("/lists", 403, times=None)
    report = load(["lists", "unsubscribes", "email_events"])

    # Then the others are loaded, and the report says so
    assert process_state() == before
    assert isinstance(report, LoadReport)
    assert not report.ok
    assert list(report.tables) == ["lists", "unsubscribes", "email_events"]
    assert report.tables["unsubscribes"].rows == len(account.unsubscribes)
    assert report.tables["unsubscribes"].error is None
    assert "403" in report.tables["lists"].error
    truth.assert_unsubscribes(warehouse, account)
    truth.assert_events(warehouse, account)
    figures = json.loads(json.dumps(report.to_dict()))
    assert figures["exit_status"] == 1
    assert [table["status"] for table in figures["tables"].values()] == ["failed", "ok", "ok"]
    with pytest.raises(LoadFailedError, match="lists was not loaded"):
        report.raise_for_failures()
    # nothing is printed where no progress is asked for
    assert capsys.readouterr().out == ""
    assert not dlt.attach("ometria_pipeline").has_pending_data


def test_settings_that_are_given_count_more_than_those_that_are_configured(
    account, ometria, warehouse, monkeypatch, tmp_path
):
    monkeypatch.setenv("SOURCES__OMETRIA__API_KEY", "wrong")
    report = load(
        "unsubscribes", dataset="given", pipelines_dir=str(tmp_path / "own"), api_key=ometria.api_key, full_scan_days=0
    )
    report.raise_for_failures()
    assert report.ok
    truth.assert_unsubscribes(warehouse, account, "given")
    assert (tmp_path / "own" / "ometria_pipeline" / "state.json").exists()
    assert not (tmp_path / "dlt" / "pipelines").exists()


def test_what_is_wrong_before_anything_is_read_is_raised_as_an_error_of_this_package(ometria, monkeypatch):
    with pytest.raises(InvalidSettingError, match="`tables` names no table `profile`"):
        load("profile")
    with pytest.raises(InvalidSettingError, match="`apikey` is no setting"):
        load("profiles", apikey="x")
    with pytest.raises(InvalidSettingError, match="It is `nowhere`"):
        load("profiles", destination="nowhere")
    with pytest.raises(InvalidSettingError, match="`progress`"):
        load("profiles", progress="loud")
    with pytest.raises(InvalidSettingError, match="`start_date`"):
        load("profiles", start_date="yesterday")
    with pytest.raises(InvalidSettingError, match="`end_date`"):
        load("unsubscribes", end_date="2026-01-01", full_refresh=True)
    with held(pipeline_folder("ometria_pipeline")), pytest.raises(RunInProgressError):
        load("profiles")
    monkeypatch.setenv("SOURCES__OMETRIA__REQUESTS_PER_SECOND", "many")
    with pytest.raises(InvalidSettingError, match="`requests_per_second`"):
        load("profiles")
    monkeypatch.setenv("SOURCES__OMETRIA__REQUESTS_PER_SECOND", "1000")
    with monkeypatch.context() as patch:
        patch.setenv("LOAD__RAISE_ON_FAILED_JOBS", "false")
        with pytest.raises(InvalidSettingError, match="raise_on_failed_jobs"):
            load("profiles")
    monkeypatch.delenv("SOURCES__OMETRIA__API_KEY")
    with pytest.raises(NothingConfiguredError):
        load()
    assert ometria.requests == []


# Of zstd, for the file that it is said of.
OTHER_PROGRAMS_FLAGS = {"--long"}


def test_no_sentence_of_the_library_has_a_flag_of_the_program():
    package = Path(ometria_source.__file__).parent
    flags = [
        (path.name, word)
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] not in ("cli", "simulator")
        for line in path.read_text(encoding="utf-8").splitlines()
        # comments and headers may say which flag leads to a module
        if not line.lstrip().startswith(("#", '"""', "One list for"))
        for word in line.replace("`", " ").replace("(", " ").split()
        if word.startswith("--") and len(word) > 2 and word not in OTHER_PROGRAMS_FLAGS
    ]
    assert flags == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a b", "-x", "_x", "ä"])
def test_a_name_that_no_working_folder_can_have_is_refused(ometria, name):
    with pytest.raises(InvalidSettingError, match="pipeline_name"):
        load("lists", pipeline_name=name)


def test_a_folder_with_files_that_are_not_dlts_is_left_alone(account, ometria, warehouse, tmp_path):
    own = tmp_path / "folder" / "ometria_pipeline" / "own.py"
    own.parent.mkdir(parents=True)
    own.write_text("precious")
    with pytest.raises(InvalidSettingError, match="not dlt's"):
        load("lists", pipelines_dir=str(tmp_path / "folder"))
    assert own.read_text() == "precious"
    with pytest.raises(InvalidSettingError, match="leads to a file"):
        load("lists", pipelines_dir=str(own))


@pytest.mark.slow
def test_rows_that_a_refused_full_refresh_has_appended_are_no_reason_to_go_on_from_the_old_state(
    account, ometria, warehouse, refused_at_once, monkeypatch
):
    """The first of the jobs is loaded, the second refused."""
    monkeypatch.setenv("LOAD__WORKERS", "1")
    for name in ("BUFFER_MAX_ITEMS", "FILE_MAX_ITEMS"):
        for step in ("", "NORMALIZE__"):
            monkeypatch.setenv(f"{step}DATA_WRITER__{name}", "2")
    jobs = []
    real = DuckDbClient.create_load_job

    def refuse_second(client, table, file_path, *arguments, **options):
        if table["name"] == "unsubscribes":
            jobs.append(file_path)
        if len(jobs) == 2:
            raise DestinationTerminalException("no")
        return real(client, table, file_path, *arguments, **options)

    load("unsubscribes", append=True).raise_for_failures()
    with monkeypatch.context() as patch:
        patch.setattr(DuckDbClient, "create_load_job", refuse_second)
        assert not load("unsubscribes", append=True, full_refresh=True).ok
    load("unsubscribes", append=True).raise_for_failures()
    truth.assert_unsubscribes(warehouse, account)


def test_telemetry_stays_off_until_the_last_load_of_a_process_ends(monkeypatch):
    monkeypatch.delenv("RUNTIME__DLTHUB_TELEMETRY")
    configuration = dlt.current.run_context().runtime_config
    monkeypatch.setattr(configuration, "dlthub_telemetry", True)
    started = []
    monkeypatch.setattr(shared_machine, "is_telemetry_started", lambda: not started or started[-1])
    monkeypatch.setattr(shared_machine, "stop_telemetry", lambda: started.append(False))
    monkeypatch.setattr(shared_machine, "start_telemetry", lambda config: started.append(config.dlthub_telemetry))
    with ExitStack() as second:
        with telemetry_off_by_default():
            second.enter_context(telemetry_off_by_default())
        assert started[-1] is False
    assert started[-1] is True
