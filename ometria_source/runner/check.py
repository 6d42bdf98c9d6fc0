"""`--check`: whether a load would work, and what the account answers where the documentation is silent.

Nothing is loaded and nothing is written, but for the report. Ometria is asked fewer than 60 times.
"""

# no `from __future__ import annotations`: dlt reads the signature of `_configured_account`
from collections.abc import Collection
from pathlib import Path

import dlt
from dlt.common.configuration import with_config

from ometria_source.api.account import Account
from ometria_source.exceptions import OmetriaError
from ometria_source.export.formats import is_hidden
from ometria_source.runner.account_checks import AccountChecks
from ometria_source.runner.describe import configured_export
from ometria_source.runner.findings import FAILED, OK, UNKNOWN, Findings
from ometria_source.runner.options import PIPELINE_NAME, Options
from ometria_source.runner.report_file import write_json
from ometria_source.runner.sentences import sentence
from ometria_source.runner.workspace import open_pipeline
from ometria_source.settings import DEFAULT_BASE_URL, DEFAULT_REQUESTS_PER_SECOND
from ometria_source.source import SECTION
from ometria_source.tables.event_rows import TABLE

# How long one request is retried here: somebody is waiting.
PATIENCE_MINUTES = 0.5

NEEDS_NO_KEY = {TABLE, "email_event_files"}


def run_check(options: Options, tables: Collection[str], report: Path | None) -> int:
    """Check what the tables need.

    Args:
        options: Where they would be loaded to.
        tables: Those that would be loaded. The settings were found right by now.
        report: The file to write the results to; None: none.

    Returns:
        The exit status: 0, or 1 where something that the tables need is not as it must be.
    """
    findings = Findings()
    findings.add("settings", OK, f"right for {', '.join(tables)}")
    requests = _check_account(findings, tables)
    _check_bucket(findings, tables)
    _check_destination(findings, options)
    if report is not None:
        write_json(findings.as_json(requests), report)
    return findings.exit_status


def _check_account(findings: Findings, tables: Collection[str]) -> int:
    """Ask Ometria; the number of requests."""
    account = _configured_account()
    needed = set(tables) - NEEDS_NO_KEY
    try:
        client = account.client(next(iter(sorted(needed)), "profiles"))
    except OmetriaError as error:
        findings.add("key", FAILED if needed else UNKNOWN, "none is configured", str(error) if needed else None)
        for name in ("members path", "page limit", "unsubscribes paging", "Retry-After"):
            findings.add(name, UNKNOWN, "it could not be asked")
        return 0
    try:
        AccountChecks(client, findings, needed).run()
    finally:
        client.close()
    return client.requests


def _check_bucket(findings: Findings, tables: Collection[str]) -> None:
    is_needed = bool(NEEDS_NO_KEY & set(tables))
    try:
        export = configured_export()
        paths = [file["relative_path"] for file in export.files(TABLE)]
    except OmetriaError as error:
        findings.add(
            "bucket", FAILED if is_needed else UNKNOWN, "it cannot be listed", str(error) if is_needed else None
        )
        return
    files = sum(not is_hidden(path) for path in paths)
    if files:
        findings.add("bucket", OK, f"{files:,} files; `--describe` tells what is in them")
    else:
        advice = "Check `bucket_url` and `file_glob`, and whether Ometria has delivered yet."
        findings.add("bucket", FAILED if is_needed else UNKNOWN, "no file matches", advice if is_needed else None)


def _check_destination(findings: Findings, options: Options) -> None:
    name = f"destination {options.destination}"
    try:
        pipeline = open_pipeline(PIPELINE_NAME, options.destination, options.dataset)
        if pipeline.destination.destination_type.endswith(".duckdb"):
            # to open the file would make it
            findings.add(name, OK, "a file, which a load makes if it is not there")
            return
        with pipeline.destination_client() as client:
            is_there = client.is_storage_initialized()
    except Exception as error:  # noqa: BLE001  whatever a driver raises
        findings.add(name, FAILED, "it cannot be reached", sentence(error))
        return
    state = "is there" if is_there else "is not there yet: a load makes it"
    findings.add(name, OK, f"reached; the dataset `{options.dataset}` {state}")


# the sections in which dlt looks for the arguments of the source: "sources", its section, its name
@with_config(sections=("sources", SECTION, SECTION))
def _configured_account(
    api_key: dlt.TSecretStrValue | None = None,
    base_url: str = DEFAULT_BASE_URL,
    requests_per_second: float = DEFAULT_REQUESTS_PER_SECOND,
    patience_minutes: float = PATIENCE_MINUTES,
) -> Account:
    """The account that the source would read, with less patience."""
    return Account(base_url, api_key, requests_per_second, min(patience_minutes, PATIENCE_MINUTES))
