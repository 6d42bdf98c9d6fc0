"""`--check`: whether a load would work, and what the account answers where the documentation is silent.

Nothing is loaded and nothing is written. Ometria is asked 60 times at the most.
"""

# no `from __future__ import annotations`: dlt reads the signature of `_configured`
import logging
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dlt
from dlt.common.configuration import with_config

from ometria_source.api.client import Account
from ometria_source.cli.account_checks import FAILED, OK, UNKNOWN, AccountChecks, Findings
from ometria_source.cli.describe import configured_export
from ometria_source.cli.options import PIPELINE_NAME, Options
from ometria_source.constants import DEFAULT_BASE_URL, DEFAULT_REQUESTS_PER_SECOND
from ometria_source.exceptions import (
    ConfigurationError,
    MachineError,
    MissingConfigurationError,
    MissingSettingError,
    OmetriaError,
)
from ometria_source.export.bucket import open_file
from ometria_source.export.formats import is_hidden
from ometria_source.export.retry import RetryBudget
from ometria_source.loading.destinations import check_dataset, create_pipeline
from ometria_source.loading.errors import redacted_traceback, user_error, user_message
from ometria_source.loading.plan import Plan
from ometria_source.privacy.rules import ANY_TABLE, DROP, HASH, KEEP, TablePrivacy
from ometria_source.shown import shown_name
from ometria_source.source import SECTION
from ometria_source.tables import DOCUMENTED, NESTED
from ometria_source.tables.email_events.rows import TABLE

log = logging.getLogger(__name__)

# How long one request is retried here, where a user waits for the answer.
PATIENCE_MINUTES = 0.5

# Fifteen seconds of what an account is allowed. An account that answers is asked about thirty times.
MOST_REQUESTS = 60

NEEDS_NO_KEY = {TABLE, "email_event_files"}


def run_check(options: Options, plan: Plan) -> Findings:
    """Check what the tables need.

    Args:
        options: Where they would be loaded to.
        plan: Of the load. The settings were found right by now.

    Returns:
        What was found, which is printed by then.
    """
    findings = Findings()
    tables = plan.tables
    findings.add("settings", OK, f"right for {', '.join(tables)}")
    for note in plan.notes:
        findings.add("settings", OK, note)
    for table in tables:
        # an inventory of files holds no personal data
        for name in (table, *NESTED.get(table, ())) if table in DOCUMENTED else ():
            findings.add(f"privacy of {name}", OK, _kept_and_hidden(plan.privacy.of(name)))
    account, patience_minutes, member_lists_from = _configured()
    findings.requests = _check_account(findings, tables, account, member_lists_from)
    _check_bucket(findings, tables, patience_minutes)
    _check_destination(findings, options)
    return findings


def _kept_and_hidden(privacy: TablePrivacy) -> str:
    """What the settings do to the columns of a table that are known before it is read."""
    actions = {column: privacy.action(column) for column in privacy.documented}
    own = [rule for rule in privacy.rules if rule.table != ANY_TABLE or rule.leads_into(actions)]
    inside = {rule.column: rule.action for rule in own if rule.column not in actions}
    parts = [f"{sum(not privacy.hides(column) for column in actions)} documented columns are kept"]
    for action, what in ((HASH, "hashed"), (DROP, "left out"), (KEEP, "kept by your rules")):
        names = [name for name, found in {**actions, **inside}.items() if found == action]
        if names:
            parts.append(f"{what}: {', '.join(f'`{name}`' for name in names)}")
    if privacy.preset:
        parts.append("other columns are hashed, but for those whose names are known to be harmless")
    elif privacy.table == TABLE:
        parts.append("those of the export are kept as well, but for these rules")
    return "; ".join(parts)


def _check_account(findings: Findings, tables: Collection[str], account: Account, member_lists_from: str) -> int:
    """Ask Ometria; the number of requests."""
    needed = set(tables) - NEEDS_NO_KEY
    try:
        client = account.client(next(iter(sorted(needed)), "profiles"))
    except OmetriaError as error:
        findings.add("key", FAILED if needed else UNKNOWN, "none is configured", str(error) if needed else None)
        for name in ("members path", "page limit", "unsubscribes paging", "Retry-After"):
            findings.add(name, UNKNOWN, "it could not be asked")
        return 0
    client.most_requests = MOST_REQUESTS
    try:
        AccountChecks(client, findings, needed, member_lists_from).run()
    finally:
        client.close()
    return client.requests


def _check_bucket(findings: Findings, tables: Collection[str], patience_minutes: float) -> None:
    is_needed = bool(NEEDS_NO_KEY & set(tables))

    def fail(finding: str, advice: str) -> None:
        findings.add("bucket", FAILED if is_needed else UNKNOWN, finding, advice if is_needed else None)

    newest = None
    try:
        export = replace(configured_export(), retry=RetryBudget(patience_minutes))
        listed = [file for file in export.files(TABLE) if not is_hidden(file["relative_path"])]
        refused = [f"{shown_name(file['relative_path'])} {file.problem}" for file in listed if file.problem is not None]
        newest = max(
            (file for file in listed if file.problem is None), key=lambda file: file["modification_date"], default=None
        )
        if newest is not None:
            with open_file(newest, export.retry) as opened:
                opened.stream.read(1)
    except MissingSettingError as error:
        fail("none is configured", str(error))
    except Exception as error:  # noqa: BLE001  whatever a store raises
        log.info("%s", redacted_traceback(error))
        fail("its newest file cannot be read" if newest else "it cannot be listed", user_message(error))
    else:
        if refused and export.on_bad_file != "skip":
            fail(refused[0], 'Mend it, leave it out with `file_glob`, or set `on_bad_file = "skip"`.')
        elif newest is not None:
            files = len(listed) - len(refused)
            findings.add("bucket", OK, f"{files:,} files, the newest can be read; `--describe` shows what is in them")
        else:
            fail("no file matches", "Check `bucket_url` and `file_glob`, and whether Ometria has delivered yet.")


def _check_destination(findings: Findings, options: Options) -> None:
    name = f"destination {options.destination}"
    advice = f"Check `destination.{options.destination}.credentials`."
    # the pipeline's own folder belongs to the loads: one may be under way
    with TemporaryDirectory() as folder:
        try:
            check_dataset(PIPELINE_NAME, options.destination, options.dataset)
            pipeline = create_pipeline(PIPELINE_NAME, options.destination, options.dataset, pipelines_dir=folder)
            client: Any = pipeline.destination_client()
            file = _file_of(client.config)
            if file is not None and not file.exists():
                if os.access(file.parent, os.W_OK):
                    findings.add(name, OK, "a file, which a load makes")
                else:
                    findings.add(name, FAILED, "its file cannot be made", f"{advice} Its folder must be there.")
                return
            if pipeline.destination.destination_type.endswith(".duckdb"):
                client.config.credentials.read_only = True
            with client:
                is_there = client.is_storage_initialized()
        except Exception as error:  # noqa: BLE001  whatever a driver raises
            log.info("%s", redacted_traceback(error))
            said = user_error(error)
            is_clear = isinstance(said, MachineError | MissingConfigurationError | ConfigurationError)
            findings.add(name, FAILED, "it cannot be reached", str(said) if is_clear else f"{said} {advice}")
            return
    state = "is there" if is_there else "is not there yet: a load makes it"
    findings.add(name, OK, f"reached; the dataset `{options.dataset}` {state}")


def _file_of(config: Any) -> Path | None:
    """The file that is the destination, of DuckDB and SQLite; None: it is none."""
    credentials = getattr(config, "credentials", None)
    if config.destination_type == "duckdb" or str(getattr(credentials, "drivername", "")).startswith("sqlite"):
        database = str(getattr(credentials, "database", ""))
        return None if database in ("", ":memory:") else Path(database)
    return None


# the sections in which dlt looks for the arguments of the source: "sources", its section, its name
@with_config(sections=("sources", SECTION, SECTION))
def _configured(
    api_key: dlt.TSecretStrValue | None = None,
    base_url: str = DEFAULT_BASE_URL,
    requests_per_second: float = DEFAULT_REQUESTS_PER_SECOND,
    patience_minutes: float = PATIENCE_MINUTES,
    member_lists_from: str = "auto",
) -> tuple[Account, float, str]:
    """The account, with a smaller retry budget; that budget in minutes; where members are read from."""
    patience_minutes = min(patience_minutes, PATIENCE_MINUTES)
    return Account(base_url, api_key, requests_per_second, patience_minutes), patience_minutes, member_lists_from
