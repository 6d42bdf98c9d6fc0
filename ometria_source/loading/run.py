"""A run: finish what is pending, check the settings against what is loaded, extract each table by itself, load them.

A table whose extraction fails keeps no other from loading, and leaves neither a package nor a change of state. Loading
together costs a third less than a run for each table, and dlt's trace shows all of it.

Each package is normalised before the next table is extracted: dlt puts the schema of that time into it, and migrates
its tables only when the destination has not seen this version of the schema. Two packages with one version would leave
the second one's tables without their new columns.
"""

# no `from __future__ import annotations`: dlt reads the signature of `configured_privacy`
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import dlt
from dlt.common.configuration import with_config
from dlt.common.schema.typing import TTableSchema, TTableSchemaColumns
from dlt.extract import DltSource
from dlt.pipeline.exceptions import PipelineStepFailed

from ometria_source.exceptions import ConfigurationError
from ometria_source.loading.destinations import file_format
from ometria_source.loading.errors import (
    contract_refusal,
    is_refused,
    not_offered,
    pending_message,
    recovery_advice,
    user_message,
    was_interrupted,
)
from ometria_source.loading.pipeline import (
    drop_inconsistent_state,
    pending_packages,
    record_extracted,
    repair_packages,
    store_schemas,
)
from ometria_source.loading.progress import Display
from ometria_source.loading.report import RunReport, TableReport, count_rows, newest
from ometria_source.privacy.consistency import check_rules, check_signature, known_columns
from ometria_source.source import SECTION, Privacy
from ometria_source.sync.history import check_history
from ometria_source.sync.metrics import REQUESTS, ROWS_READ
from ometria_source.tables import DOCUMENTED, NESTED, PARENTS

log = logging.getLogger(__name__)

APPENDED = "rows are added, not merged: those that are read again are doubled, and none is removed"


def check_settings(
    pipeline: dlt.Pipeline, source: DltSource, tables: list[str], full_refresh: bool, privacy: Privacy
) -> None:
    """Refuse settings that do not go with what is loaded, or at all with the tables that there are.

    Args:
        pipeline: With the destination's state.
        source: Whose resources bear the settings.
        tables: Those to be read.
        full_refresh: Whether they are replaced.
        privacy: The source's settings.

    Raises:
        InvalidSettingError: As `check_history` and `privacy.consistency`.
    """
    _check_privacy(pipeline, privacy, tables, full_refresh)
    is_known = pipeline.default_schema_name and not full_refresh
    for name in tables:
        check_history(source.resources[name], pipeline.default_schema if is_known else None)


def _check_privacy(pipeline: dlt.Pipeline, privacy: Privacy, tables: list[str], full_refresh: bool) -> None:
    stored: Mapping[str, TTableSchema] = pipeline.default_schema.tables if pipeline.default_schema_name else {}
    sources: dict[str, Any] = dict(pipeline.state.get("sources", {}))
    resources: dict[str, Any] = sources.get(SECTION, {}).get("resources", {})
    everywhere: set[str] = set()
    for table in DOCUMENTED:
        resource = PARENTS.get(table, table)
        state = resources.get(resource, {})
        state = state if resource == table else state.get(table, {})
        known = known_columns(stored.get(table), state)
        everywhere |= known
        if resource in tables:
            # the export's columns are known once they were read
            if table != "email_events":
                check_rules(privacy.of(table), known)
            if not full_refresh:
                check_signature(privacy.of(table), stored.get(table), state)
    if "email_events" not in tables:
        privacy.check_everywhere(everywhere)


@with_config(sections=("sources", SECTION))
def configured_privacy(
    hash_columns: list[str] | None = None,
    drop_columns: list[str] | None = None,
    pii_salt: dlt.TSecretStrValue | None = None,
    privacy: str | None = None,
) -> Privacy:
    """The settings, where the source looks for them."""
    return Privacy(hash_columns, drop_columns, pii_salt, privacy)


def run_tables(
    pipeline: dlt.Pipeline,
    source: DltSource,
    tables: list[str],
    full_refresh: bool,
    privacy: Privacy,
    progress: Display,
    *,
    offered_only: bool = False,
) -> RunReport:
    """Load tables.

    Args:
        pipeline: Where to; its working folder is held by this process.
        source: Where from.
        tables: Names of its resources, in the order in which to read them.
        full_refresh: Whether to replace these tables with what is read now.
        privacy: The source's settings.
        progress: Shows what the run is at.
        offered_only: Whether a table is left out that the account does not offer, or whose setting is missing.

    Returns:
        What became of each table. An error of one is in the report, not raised, and so is that the run was interrupted.

    Raises:
        ConfigurationError: A setting does not go with what the destination holds. Nothing was read.
    """
    began = time.monotonic()
    report = RunReport(destination=pipeline.destination.destination_name, dataset=pipeline.dataset_name)
    try:
        _run(pipeline, source, tables, full_refresh, privacy, progress, report, offered_only)
    except KeyboardInterrupt:
        report.is_interrupted, report.error = True, "The run was interrupted."
    if report.error and tables and not report.tables:
        report.error += " No table was read."
    report.tables += [TableReport(name) for name in tables[len(report.tables) :]]
    report.seconds, report.ended = time.monotonic() - began, datetime.now(timezone.utc)
    return report


def _run(
    pipeline: dlt.Pipeline,
    source: DltSource,
    tables: list[str],
    full_refresh: bool,
    privacy: Privacy,
    progress: Display,
    report: RunReport,
    offered_only: bool,
) -> None:
    """Load tables, and note in the report what becomes of them."""
    try:
        repair_packages(pipeline)
        drop_inconsistent_state(pipeline)
        store_schemas(pipeline)
        _finish_pending(pipeline, progress)
        pipeline.sync_destination()
        check_settings(pipeline, source, tables, full_refresh, privacy)
        known = _columns(pipeline)
        for name in tables:
            report.tables.append(TableReport(name))
            selected = source.with_resources(name)
            with progress.step(name, selected.resources[name].custom_metrics):
                _extract(pipeline, selected, report.tables[-1], full_refresh, offered_only)
        report.error = _key_is_refused(report.tables)
        with progress.step("load"):
            _load(pipeline)
        report.is_loaded = True
        columns = _columns(pipeline)
        for table in report.tables:
            table.rows, table.newest = count_rows(pipeline, table.name), newest(pipeline, table.name)
            table.nested = {
                name: count_rows(pipeline, name) for name in NESTED.get(table.name, ()) if not table.left_out
            }
            for name in (table.name, *table.nested):
                _note_changes(table, name, known.get(name, {}), columns.get(name, {}))
    except ConfigurationError:
        # nothing was read
        raise
    except Exception as error:
        # whatever it is: the report must name each table that was not loaded
        _pass_on_interrupt(error)
        step = error.step if isinstance(error, PipelineStepFailed) else "beginning"
        log.info("%s failed", step, exc_info=error)
        if contract_refusal(error):
            report.error = user_message(error) + _abort(pipeline)
        elif step in ("normalize", "load"):
            report.error = pending_message(error, pipeline.pipeline_name)
        else:
            report.error = user_message(error)


def _finish_pending(pipeline: dlt.Pipeline, progress: Display) -> None:
    if pending_packages(pipeline):
        log.warning("A package of an earlier run is finished first")
        try:
            with progress.step("load of an earlier run"):
                _load(pipeline)
        except PipelineStepFailed as error:
            if not contract_refusal(error) or _abort(pipeline):
                raise
            log.warning("It was refused by the `schema_contract` that it was read under; the same is read again")
        # a newer one may be gone, of which nothing but the state is left
        drop_inconsistent_state(pipeline)


def _abort(pipeline: dlt.Pipeline) -> str:
    """Discard all packages that are pending, with their state: what was refused must block no later run.

    Returns:
        What the user has to do where that fails; else nothing.
    """
    try:
        pipeline.abort_packages()
    except Exception as error:
        log.info("the packages cannot be aborted", exc_info=error)
        return f" {recovery_advice(pipeline.pipeline_name)}"
    return ""


def _load(pipeline: dlt.Pipeline) -> None:
    pipeline.normalize()
    pipeline.load()


def _key_is_refused(tables: list[TableReport]) -> str | None:
    """What to say where nothing but a refusal came back: then it is the key that is at fault, not what is offered."""
    asked = [table for table in tables if table.metrics.get(REQUESTS)]
    if asked and all(table.refused for table in asked):
        return f"Every endpoint refuses the API key. {asked[0].left_out or asked[0].error}"
    return None


def _extract(
    pipeline: dlt.Pipeline, selected: DltSource, table: TableReport, full_refresh: bool, offered_only: bool
) -> None:
    """Extract one table into a package of its own.

    Raises:
        PipelineStepFailed: `schema_contract` refuses a change, and so the whole run.
    """
    began = time.monotonic()
    with _notices(table):
        try:
            pipeline.extract(
                selected,
                loader_file_format=file_format(pipeline),
                refresh="drop_resources" if full_refresh else None,
            )
            record_extracted(pipeline)
        except PipelineStepFailed as error:
            _pass_on_interrupt(error)
            if contract_refusal(error):
                raise
            log.info("%s failed", table.name, exc_info=error)
            # what has given rows is offered, whatever came then
            has_rows = selected.resources[table.name].custom_metrics.get(ROWS_READ)
            missing = not_offered(error) if offered_only and not has_rows else None
            table.refused = offered_only and is_refused(error)
            if missing:
                table.left_out = str(missing)
            else:
                table.error = user_message(error)
        finally:
            resource = selected.resources[table.name]
            if resource.write_disposition == "append":
                table.notes.append(APPENDED)
            table.seconds = time.monotonic() - began
            table.metrics = dict(resource.custom_metrics)


def _pass_on_interrupt(error: Exception) -> None:
    """Raise what dlt has wrapped: an interrupted run is over, and no table failed."""
    if was_interrupted(error):
        raise KeyboardInterrupt from error


@contextmanager
def _notices(table: TableReport) -> Iterator[None]:
    """Collect the package's warnings as notes of a table."""

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            table.notes.append(record.getMessage().removeprefix(f"{table.name}: "))

    logger, handler = logging.getLogger("ometria_source"), Collector(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _columns(pipeline: dlt.Pipeline) -> dict[str, TTableSchemaColumns]:
    """The columns of each table."""
    if not pipeline.default_schema_name:
        return {}
    schema = pipeline.default_schema
    return {name: schema.get_table_columns(name) for name in schema.tables}


def _note_changes(table: TableReport, name: str, before: TTableSchemaColumns, after: TTableSchemaColumns) -> None:
    """Note the columns that the run added to a table, or to one that comes with it."""
    within = "" if name == table.name else f"{name}."
    for column in sorted(after.keys() - before.keys()):
        if after[column].get("variant"):
            table.variants[f"{within}{column}"] = str(after[column]["data_type"])
        elif before:
            table.new_columns.append(f"{within}{column}")
