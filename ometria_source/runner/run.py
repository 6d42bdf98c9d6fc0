"""A run: finish what is pending, extract each table by itself, load them together.

A table whose extraction fails keeps no other from loading, and leaves neither a package nor a change of state. Loading
together costs a third less than a run for each table, and dlt's trace shows all of it.

Each package is normalised before the next table is extracted: dlt puts the schema of that moment into it, and migrates
its tables only when the destination has not seen this version of the schema. Two packages with one version would leave
the second one's tables without their new columns.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dlt
from dlt.common.destination import TLoaderFileFormat
from dlt.common.pipeline import LoadInfo
from dlt.extract import DltResource, DltSource
from dlt.pipeline.exceptions import PipelineStepFailed

from ometria_source.exceptions import ConfigurationError
from ometria_source.runner.packages import mend_packages, note_extracted, pending_packages, store_schemas
from ometria_source.runner.report import RunReport, TableReport
from ometria_source.runner.sentences import pending_sentence, sentence, was_interrupted
from ometria_source.runner.workspace import drop_unfounded_state
from ometria_source.tables.history import check_history
from ometria_source.tables.snapshots import ended_at

log = logging.getLogger(__name__)

# Measured on DuckDB: 14 times faster than its default, INSERT statements. Other destinations' defaults suit them.
PARQUET_DESTINATIONS = frozenset({"duckdb", "motherduck"})


def run_tables(pipeline: dlt.Pipeline, source: DltSource, tables: list[str], full_refresh: bool) -> RunReport:
    """Load tables.

    Args:
        pipeline: Where to; its working folder is held by this process.
        source: Where from.
        tables: Names of its resources, in the order in which to read them.
        full_refresh: Whether to replace these tables with what is read now.

    Returns:
        What became of each table. An error of one is in the report, not raised.

    Raises:
        ConfigurationError: Found before anything was read, such as a table that `history` newly names.
    """
    began = time.monotonic()
    report = RunReport(destination=pipeline.destination.destination_name, dataset=pipeline.dataset_name)
    try:
        mend_packages(pipeline)
        drop_unfounded_state(pipeline)
        store_schemas(pipeline)
        _finish_pending(pipeline)
        pipeline.sync_destination()
        known = _known_columns(pipeline)
        for name in tables:
            _check(pipeline, source.resources[name], full_refresh)
        for name in tables:
            report.tables.append(_extract(pipeline, source, name, full_refresh))
            pipeline.normalize()
        loaded = pipeline.load()
        for table in report.tables:
            table.rows = _count(pipeline, table.name)
            table.new_columns = _new_columns(loaded, table.name, known)
    except ConfigurationError:
        raise
    except Exception as error:
        # whatever it is: the report must name each table that was not loaded
        _pass_on_interrupt(error)
        step = error.step if isinstance(error, PipelineStepFailed) else "beginning"
        log.info("%s failed", step, exc_info=error)
        is_pending = step in ("normalize", "load")
        report.error = pending_sentence(error, pipeline.pipeline_name) if is_pending else sentence(error)
        if tables and not report.tables:
            report.error += " No table was read."
        report.tables += [TableReport(name) for name in tables[len(report.tables) :]]
    report.seconds = time.monotonic() - began
    return report


def _check(pipeline: dlt.Pipeline, resource: DltResource, full_refresh: bool) -> None:
    """Refuse what the destination, or what is loaded of a table, does not go with."""
    is_known = pipeline.default_schema_name and not full_refresh
    check_history(resource, pipeline.default_schema if is_known else None, pipeline.destination.capabilities())


def _finish_pending(pipeline: dlt.Pipeline) -> None:
    if pending_packages(pipeline):
        log.warning("A package of an earlier run is finished first")
        _load(pipeline)
        # a newer one may be gone, of which nothing but the state is left
        drop_unfounded_state(pipeline)


def _load(pipeline: dlt.Pipeline) -> LoadInfo | None:
    pipeline.normalize()
    return pipeline.load()


def _extract(pipeline: dlt.Pipeline, source: DltSource, name: str, full_refresh: bool) -> TableReport:
    """Extract one table into a package of its own."""
    table = TableReport(name)
    began = time.monotonic()
    selected = source.with_resources(name)
    with _notices(table):
        try:
            pipeline.extract(
                selected,
                loader_file_format=_file_format(pipeline),
                refresh="drop_resources" if full_refresh else None,
            )
            note_extracted(pipeline)
        except PipelineStepFailed as error:
            _pass_on_interrupt(error)
            log.info("%s failed", name, exc_info=error)
            table.error = sentence(error)
    table.seconds = time.monotonic() - began
    table.metrics = dict(selected.resources[name].custom_metrics)
    return table


def _pass_on_interrupt(error: Exception) -> None:
    """Raise what dlt has wrapped: an interrupted run is over, and no table failed."""
    if was_interrupted(error):
        raise KeyboardInterrupt from error


def _file_format(pipeline: dlt.Pipeline) -> TLoaderFileFormat | None:
    """Parquet where it is faster; None: the destination's default."""
    kind = pipeline.destination.destination_type.rsplit(".", 1)[-1]
    return "parquet" if kind in PARQUET_DESTINATIONS else None


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


def _known_columns(pipeline: dlt.Pipeline) -> dict[str, set[str]]:
    """The columns of each table before the run."""
    if not pipeline.default_schema_name:
        return {}
    return {name: set(table["columns"]) for name, table in pipeline.default_schema.tables.items()}


def _new_columns(loaded: LoadInfo | None, name: str, known: dict[str, set[str]]) -> list[str]:
    if loaded is None or name not in known:
        return []
    updates: list[Any] = [package.schema_update.get(name, {}) for package in loaded.load_packages]
    return sorted({column for update in updates for column in update.get("columns", {})} - known[name])


def _count(pipeline: dlt.Pipeline, name: str) -> int | None:
    """The current rows of a table: without past versions, and without rows that are kept although they vanished.

    None where it does not exist yet or cannot be counted.
    """
    try:
        with pipeline.sql_client() as client:
            ended = ended_at(pipeline.default_schema.tables[name])
            condition = f" WHERE {client.escape_column_name(ended)} IS NULL" if ended else ""
            # dlt quotes the names, which are of our tables
            query = f"SELECT COUNT(*) FROM {client.make_qualified_table_name(name)}{condition}"  # noqa: S608
            rows = client.execute_sql(query)
            return int(rows[0][0]) if rows else None
    except Exception as error:  # noqa: BLE001  counting is a courtesy: everything is loaded by now
        log.info("%s cannot be counted: %s", name, type(error).__name__)
        return None
