"""The program: flags in, exit status out. What a run is stands in `loading`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dlt

from ometria_source.cli.account_checks import Findings
from ometria_source.cli.advice import advice
from ometria_source.cli.check import run_check
from ometria_source.cli.console import complain, show
from ometria_source.cli.describe import run_describe
from ometria_source.cli.options import Options, parse_options, report_flag
from ometria_source.cli.report_file import check_report_path, write_json
from ometria_source.cli.signals import INTERRUPTED, interrupts, interrupts_wait
from ometria_source.export.retry import cancel_all_retries
from ometria_source.loading import LoadInterruptedError, load
from ometria_source.loading.errors import interrupting_signal, redacted_process, redacted_traceback, user_error
from ometria_source.loading.plan import DEFAULT_DATASET, DEFAULT_DESTINATION, PIPELINE_NAME, make_plan
from ometria_source.loading.report import LoadReport
from ometria_source.loading.shared_machine import check_settings_folder, private_files, telemetry_off_by_default


def run_program(arguments: Sequence[str] | None = None) -> int:
    """Run the program; what it says about a run is also in the report, whatever the exit status.

    Args:
        arguments: As for `main`.

    Returns:
        The exit status.
    """
    # database, staged rows and report
    with private_files():
        return _run_program(arguments)


def _run_program(arguments: Sequence[str] | None) -> int:
    run = _Run()
    try:
        with interrupts():
            run.perform(arguments)
    except KeyboardInterrupt as interrupt:
        with interrupts_wait():
            return run.end(interrupt)
    except Exception as error:  # noqa: BLE001  the last resort of a program
        with interrupts_wait():
            return run.end(error)
    with interrupts_wait():
        return run.end()


class _Run:
    """A run of the program, and its report."""

    def __init__(self) -> None:
        # of a run that ends before anything is read
        self._report = LoadReport(pipeline=PIPELINE_NAME, destination=DEFAULT_DESTINATION, dataset=DEFAULT_DATASET)
        self._file: Path | None = None
        # what the report of another run than a load adds
        self._content: dict[str, Any] = {}
        self._status: int | None = None
        self._verbose = False

    def perform(self, arguments: Sequence[str] | None) -> None:
        """Do what the flags say.

        Args:
            arguments: As for `main`.
        """
        if (typed := report_flag(arguments)) is not None:
            self._file = check_report_path(typed)
        check_settings_folder()
        options = parse_options(arguments)
        self._verbose = options.verbose
        self._report.destination, self._report.dataset = options.destination, options.dataset
        _set_up_logging(options.verbose)
        if options.demo:
            # the demo brings the simulated account with it, which no other run needs
            from ometria_source.cli.demo import run_demo  # noqa: PLC0415

            self._status = run_demo()
        elif options.describe:
            with redacted_process(), telemetry_off_by_default():
                self._status = run_describe()
        elif options.check:
            findings = _check(options)
            self._status, self._content = findings.exit_status, findings.to_dict()
        else:
            self._report = _load_account(options)
            show("\n".join(self._report.lines(advice)))

    def end(self, error: BaseException | None = None) -> int:
        """Say why the run ended, and write its report.

        Args:
            error: What ended it; None: it came to its end.

        Returns:
            The exit status.
        """
        if isinstance(error, KeyboardInterrupt):
            cancel_all_retries()
            complain(INTERRUPTED)
            if isinstance(error, LoadInterruptedError):
                self._report = error.report
            else:
                self._report.interrupted_by = interrupting_signal(error)
        elif error is not None:
            if self._verbose:
                complain(redacted_traceback(error))
            self._report.cause = user_error(error)
            complain(f"{self._report.cause} {advice(self._report.cause)}".rstrip())
        status = self._report.exit_status if self._status is None else self._status
        if self._file is not None:
            self._report.ended = datetime.now(timezone.utc)
            try:
                write_json({**self._report.to_dict(), **self._content, "exit_status": status}, self._file)
            except OSError as fault:
                complain(f"The report could not be written ({type(fault).__name__}). What was loaded stays.")
                return status or 1
        return status


def _settings(options: Options) -> dict[str, Any]:
    """Only what was given: an argument that is None would hide the setting of the same name."""
    names = ("start_date", "end_date", "table_format")
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _check(options: Options) -> Findings:
    plan = make_plan(
        options.tables,
        options.destination,
        full_refresh=options.full_refresh,
        append=options.append,
        settings=_settings(options),
    )
    with redacted_process(), telemetry_off_by_default():
        return run_check(options, plan)


def _load_account(options: Options) -> LoadReport:
    quiet_dlt(options.verbose)
    return load(
        options.tables,
        destination=options.destination,
        dataset=options.dataset,
        full_refresh=options.full_refresh,
        append=options.append,
        # log lines would tear the bars apart
        progress="bar" if sys.stderr.isatty() and not options.verbose else "log",
        **_settings(options),
    )


def quiet_dlt(verbose: bool) -> None:
    """Leave out what dlt logs, unless a level is configured: the summary says it in a sentence."""
    if not verbose and dlt.config.get("runtime.log_level") is None:
        logging.getLogger(dlt.current.run_context().name).setLevel(logging.CRITICAL)


def _set_up_logging(verbose: bool) -> None:
    logger = logging.getLogger("ometria_source")
    logger.propagate = False
    if verbose and not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
