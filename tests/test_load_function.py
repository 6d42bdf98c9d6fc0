"""`load()`, as a notebook or an orchestrator calls it."""

from __future__ import annotations

import json
import logging
import os
import signal
from pathlib import Path

import dlt
import pytest
import truth
from dlt.common import logger as dlt_logger
from dlt.common.configuration.container import Container
from dlt.common.pipeline import PipelineContext
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
from ometria_source.loading.pipeline import held, pipeline_folder


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
    with pytest.raises(InvalidSettingError, match="`destination` `nowhere` is not known to dlt"):
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
