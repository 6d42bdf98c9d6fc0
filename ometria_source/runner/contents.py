"""What the tables hold after a run."""

from __future__ import annotations

import logging
from datetime import datetime, timezone

import dlt
from dlt.common.destination.client import SupportsOpenTables
from dlt.common.time import ensure_pendulum_datetime

from ometria_source.tables.snapshots import ended_at

log = logging.getLogger(__name__)

# The column that tells how new the newest row of a log is; a time in the future does not count.
NEWEST = {"unsubscribes": "_cursor", "list_changes": "_cursor", "email_events": "_file_modified_at"}


def count_rows(pipeline: dlt.Pipeline, name: str) -> int | None:
    """The current rows of a table: without past versions, and without rows that are kept although they vanished.

    None where it does not exist yet or cannot be counted.
    """
    try:
        files = pipeline.destination_client()
        if isinstance(files, SupportsOpenTables):
            # DuckDB would fetch an extension for each from the network
            if files.is_open_table("delta", name):
                return int(files.load_open_table("delta", name).to_pyarrow_dataset().count_rows())
            if files.is_open_table("iceberg", name):
                return int(files.load_open_table("iceberg", name).scan().count())
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


def newest(pipeline: dlt.Pipeline, name: str) -> datetime | None:
    """The time (UTC) of the newest row of a log; None for other tables, for files, and where it cannot be told."""
    try:
        if name not in NEWEST or isinstance(pipeline.destination_client(), SupportsOpenTables):
            return None
        now = datetime.now(timezone.utc)
        with pipeline.sql_client() as client:
            column, table = client.escape_column_name(NEWEST[name]), client.make_qualified_table_name(name)
            rows = client.execute_sql(f"SELECT MAX({column}) FROM {table} WHERE {column} <= %s", now)  # noqa: S608  as above
        if not rows or rows[0][0] is None:
            return None
        # SQLite has no type for it
        return ensure_pendulum_datetime(rows[0][0]).astimezone(timezone.utc)
    except Exception as error:  # noqa: BLE001  as above
        log.info("the newest row of %s is not known: %s", name, type(error).__name__)
        return None
