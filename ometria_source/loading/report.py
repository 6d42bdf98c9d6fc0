"""The report of a load: what was read and what the tables hold now, as text and as figures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

import dlt
from dlt.common.destination.client import SupportsOpenTables
from dlt.common.time import ensure_pendulum_datetime

from ometria_source.constants import SIGNAL_STATUS, UNSUBSCRIBES_LAG
from ometria_source.exceptions import ConfigurationError, LoadFailedError, OmetriaError, RefusedKeyError
from ometria_source.shown import printable
from ometria_source.sync.metrics import REQUESTS, RETRIES, ROWS_READ, SECONDS_WAITED, UNPROVEN
from ometria_source.sync.snapshot import ended_at
from ometria_source.version import __version__

log = logging.getLogger(__name__)

# The column by which the newest row of a log is found; a time in the future does not count.
NEWEST = {"unsubscribes": "_cursor", "list_changes": "_cursor", "email_events": "_file_modified_at"}

# Counters of a table that are worth a note when they are not zero.
NOTED_METRICS = {
    "files_read": "{:,} files read",
    "files_known": "{:,} known files not read again",
    "files_read_again": "{:,} of them known ones that are newer than a late one",
    "files_unreadable": "{:,} unreadable files skipped",
    "files_before_window": "{:,} files older than the window left alone",
    "files_after_window": "{:,} files newer than the window left alone",
    "files_hidden": "{:,} files skipped, because their names begin with `_` or `.`",
}

# How the summary shows these statuses: they are to be seen.
LOUD = {"failed": "FAILED", "not loaded": "NOT LOADED"}

# What dlt puts between the name of a column and the type of a variant.
VARIANT = "__v_"


class Contents:
    """What the tables of a destination hold. To look is a courtesy: everything is loaded by then.

    Args:
        pipeline: Into the destination.
    """

    def __init__(self, pipeline: dlt.Pipeline) -> None:
        self._pipeline = pipeline

    @cached_property
    def _files(self) -> Any:
        return self._pipeline.destination_client()

    @cached_property
    def _sql(self) -> Any:
        return self._pipeline.sql_client()

    def count_rows(self, name: str) -> int | None:
        """The current rows of a table: without past versions, and without rows that are kept although they vanished.

        None where it does not exist yet or cannot be counted.
        """
        try:
            if isinstance(self._files, SupportsOpenTables):
                # DuckDB would fetch an extension for each from the network
                if self._files.is_open_table("delta", name):
                    return int(self._files.load_open_table("delta", name).to_pyarrow_dataset().count_rows())
                if self._files.is_open_table("iceberg", name):
                    return int(self._files.load_open_table("iceberg", name).scan().count())
            with self._sql as client:
                ended = ended_at(self._pipeline.default_schema.tables[name])
                condition = f" WHERE {client.escape_column_name(ended)} IS NULL" if ended else ""
                # dlt quotes the names, which are of our tables
                query = f"SELECT COUNT(*) FROM {client.make_qualified_table_name(name)}{condition}"  # noqa: S608
                rows = client.execute_sql(query)
                return int(rows[0][0]) if rows else None
        except Exception as error:  # noqa: BLE001  a courtesy
            log.info("%s cannot be counted: %s", name, type(error).__name__)
            return None

    def newest(self, name: str) -> datetime | None:
        """The time (UTC) of the newest row of a log; None for other tables, for files, and where it is not known."""
        try:
            if name not in NEWEST or isinstance(self._files, SupportsOpenTables):
                return None
            now = datetime.now(timezone.utc)
            with self._sql as client:
                column, table = client.escape_column_name(NEWEST[name]), client.make_qualified_table_name(name)
                rows = client.execute_sql(f"SELECT MAX({column}) FROM {table} WHERE {column} <= %s", now)  # noqa: S608  as above
            if not rows or rows[0][0] is None:
                return None
            # SQLite has no type for it
            return ensure_pendulum_datetime(rows[0][0]).astimezone(timezone.utc)
        except Exception as error:  # noqa: BLE001  a courtesy
            log.info("the newest row of %s is not known: %s", name, type(error).__name__)
            return None


class LateOptOuts:
    """Counts the opt-outs that a run adds to the time that earlier runs have read: they came later than the lag.

    A run reads from two days before the newest opt-out on, so that only a backfill or a full refresh shows them.

    Args:
        pipeline: Before it loads the run.
        began: The start of the first load; None: it is not known, and nothing is counted.
    """

    def __init__(self, pipeline: dlt.Pipeline, began: datetime | None) -> None:
        self._pipeline = pipeline
        self._since = began
        newest_known = Contents(pipeline).newest("unsubscribes")
        self._before = newest_known - UNSUBSCRIBES_LAG if newest_known else None
        self._there = self._count()

    def note(self, table: TableReport) -> None:
        """Add a note to the report of the table, once the run is loaded."""
        there = self._count()
        if there is None or self._there is None or there <= self._there:
            return
        rows = there - self._there
        what = "opt-out was" if rows == 1 else "opt-outs were"
        table.notes.append(
            f"{rows:,} {what} not in the table, though earlier runs had read that time: Ometria showed them more than "
            f"{UNSUBSCRIBES_LAG.days} days late, or they were deleted here. Only such a run as this one finds them"
        )

    def _count(self) -> int | None:
        if self._since is None or self._before is None:
            return None
        try:
            with self._pipeline.sql_client() as client:
                column, name = client.escape_column_name("timestamp"), client.make_qualified_table_name("unsubscribes")
                # the names are ours
                query = f"SELECT COUNT(*) FROM {name} WHERE {column} >= %s AND {column} < %s"  # noqa: S608
                rows = client.execute_sql(query, self._since, self._before)
            return int(rows[0][0]) if rows else None
        except Exception as error:  # noqa: BLE001  counting is a courtesy
            log.info("late opt-outs cannot be counted: %s", type(error).__name__)
            return None


@dataclass
class TableReport:
    """What became of one table.

    Attributes:
        name: The table.
        metrics: What its resource counted.
        seconds: How long it was read and loaded.
        rows: Rows in the table after the run; None where that is not known.
        newest: Time (UTC) of the newest row, of a log; else None.
        new_columns: Columns that the run added to an existing table.
        variants: Columns that the run added for values of another type, and that type.
        is_loaded: Whether all that was read is at the destination.
        cause: Why it was not loaded; None where it was, or where the whole run ended before it.
        left_out: Why it is none of the tables of this account.
        refused: The status with which Ometria refused the API key for it; 0: it did not.
        nested: Rows, as `rows`, of each table that comes with it.
        notes: What the user should know.
    """

    name: str
    metrics: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    rows: int | None = None
    newest: datetime | None = None
    new_columns: list[str] = field(default_factory=list)
    variants: dict[str, str] = field(default_factory=dict)
    is_loaded: bool = False
    cause: OmetriaError | None = None
    left_out: OmetriaError | None = None
    refused: int = 0
    nested: dict[str, int | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def error(self) -> str | None:
        """Why it was not loaded, as a sentence; None as for `cause`."""
        return None if self.cause is None else str(self.cause)

    @property
    def status(self) -> str:
        """What became of it: "ok", "failed", "left out", or "not loaded" where something else kept it from loading."""
        if self.cause is not None:
            return "failed"
        return "left out" if self.left_out is not None else "ok" if self.is_loaded else "not loaded"

    def all_notes(self) -> list[str]:
        """The notes, and what there is to say about the counts and columns."""
        notes = [text.format(self.metrics[name]) for name, text in NOTED_METRICS.items() if self.metrics.get(name)]
        for name, rows in self.nested.items():
            notes.append(f"with `{name}`: {'?' if rows is None else f'{rows:,}'} rows now")
        if self.new_columns:
            notes.append(f"new columns: {', '.join(self.new_columns)}")
        for column, data_type in self.variants.items():
            notes.append(f"`{column.rsplit(VARIANT, 1)[0]}` now also comes as {data_type}: see `{column}`")
        return notes + self.notes


@dataclass
class LoadReport:
    """What became of a load.

    Attributes:
        tables: What became of each table, by its name.
        seconds: How long the load took.
        started: When it began (UTC).
        ended: When it ended (UTC).
        pipeline: Name of the dlt pipeline.
        destination: Where to.
        dataset: Its dataset.
        cause: Why more than a single table was not loaded, or what else is wrong; None: nothing.
        interrupted_by: The number of the signal by which the user, or an orchestrator, ended the load; 0: none did.
        load_ids: dlt's ids of the packages that were loaded, those that an earlier load had left first.
        notes: What the user should know, of no single table.
    """

    tables: dict[str, TableReport] = field(default_factory=dict)
    seconds: float = 0.0
    started: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    ended: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    pipeline: str = ""
    destination: str = ""
    dataset: str = ""
    cause: OmetriaError | None = None
    interrupted_by: int = 0
    load_ids: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_interrupted(self) -> bool:
        """Whether the user, or an orchestrator, ended the load before its end."""
        return self.interrupted_by != 0

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for is loaded."""
        return self.exit_status == 0

    @property
    def error(self) -> str | None:
        """Why more than a single table was not loaded, as a sentence; None: nothing of the kind."""
        if self.is_interrupted:
            text = "The run was interrupted."
        elif self.cause is None:
            return None
        else:
            text = str(self.cause)
        return f"{text} No table was read." if self.tables and not self._is_begun() else text

    def _is_begun(self) -> bool:
        return any(table.seconds or table.cause for table in self.tables.values())

    @property
    def exit_status(self) -> int:
        """0 all loaded, 1 a table or the load failed, 2 something was wrong before; 130, 143 interrupted."""
        if self.is_interrupted:
            return SIGNAL_STATUS + self.interrupted_by
        if isinstance(self.cause, ConfigurationError):
            return 2
        return 1 if self.cause or any(table.cause for table in self.tables.values()) else 0

    def raise_for_failures(self) -> None:
        """Raise an error if not everything that was asked for is loaded.

        Raises:
            LoadFailedError: It has a sentence for each table that failed.
        """
        if not self.ok:
            raise LoadFailedError([*self._failures(), *([self.error] if self.error else [])])

    def _failures(self) -> list[str]:
        # a refused key is said once
        is_key_refused = isinstance(self.cause, RefusedKeyError)
        return [
            f"{table.name} was not loaded. {table.error}"
            for table in self.tables.values()
            if table.cause and not (is_key_refused and table.refused)
        ]

    def lines(self, advice: Callable[[OmetriaError], str] = lambda error: "") -> list[str]:  # noqa: ARG005
        """The summary as text.

        Args:
            advice: What to add to an error, such as a flag of the program; nothing where it is empty.
        """
        is_key_refused = isinstance(self.cause, RefusedKeyError)
        first = [str(self.cause)] if is_key_refused else []
        lines = [
            *first,
            *map(printable, self.notes),
            f"{self.destination} dataset `{self.dataset}`, {self.seconds:.1f} s",
        ]
        header = ("table", "rows read", "rows now", "requests", "retries", "seconds", "")
        tables = list(self.tables.values())
        body = [
            (
                table.name,
                f"{table.metrics.get(ROWS_READ, 0):,}",
                "?" if table.rows is None else f"{table.rows:,}",
                str(table.metrics.get(REQUESTS, "-")),
                str(table.metrics.get(RETRIES, "-")),
                f"{table.seconds:.1f}",
                LOUD.get(table.status, table.status),
            )
            for table in tables
        ]
        lines += aligned([header, *body], right=range(1, 6))
        for table in tables:
            lines += [f"  {table.name}: {printable(note)}" for note in table.all_notes()]
        # it is said once
        tables = [table for table in tables if not (is_key_refused and table.refused)]
        lines += [f"{table.name} was left out. {table.left_out}" for table in tables if table.left_out]
        lines += [
            f"{table.name} was not loaded. {table.error} {advice(table.cause)}".rstrip()
            for table in tables
            if table.cause
        ]
        if self.error and not is_key_refused:
            lines.append(f"{self.error} {advice(self.cause) if self.cause else ''}".rstrip())
        return lines

    def to_dict(self) -> dict[str, Any]:
        """The figures of the load, without a name, an address or a value of a person."""
        tables = self.tables.values()
        return {
            "exit_status": self.exit_status,
            "started_at": self.started.isoformat(),
            "ended_at": self.ended.isoformat(),
            "version": __version__,
            "pipeline": self.pipeline,
            "destination": self.destination,
            "dataset": self.dataset,
            "load_ids": self.load_ids,
            "seconds": round(self.seconds, 3),
            "requests": sum(table.metrics.get(REQUESTS, 0) for table in tables),
            "retries": sum(table.metrics.get(RETRIES, 0) for table in tables),
            "error": printable(self.error) if self.error else None,
            "notes": list(map(printable, self.notes)),
            "tables": {table.name: self._figures(table) for table in tables},
        }

    def _figures(self, table: TableReport) -> dict[str, Any]:
        error = table.error or (str(table.left_out) if table.left_out else None)
        return {
            "status": table.status,
            "rows_read": table.metrics.get(ROWS_READ, 0),
            "rows": table.rows,
            "nested": table.nested,
            "requests": table.metrics.get(REQUESTS, 0),
            "retries": table.metrics.get(RETRIES, 0),
            "seconds": round(table.seconds, 3),
            "seconds_waited": round(table.metrics.get(SECONDS_WAITED, 0), 3),
            "newest": table.newest.isoformat() if table.newest else None,
            "lag_seconds": round((self.ended - table.newest).total_seconds()) if table.newest else None,
            "new_columns": [*table.new_columns, *table.variants],
            "unproven": bool(table.metrics.get(UNPROVEN)),
            "files": {name: number for name, number in table.metrics.items() if name.startswith("files_")},
            "notes": list(map(printable, table.notes)),
            "error": printable(error) if error else None,
        }


def aligned(rows: Sequence[Sequence[str]], right: Collection[int]) -> list[str]:
    """Rows of a table as text, in columns.

    Args:
        rows: All of the same length; at least one.
        right: The numbers of the columns that stand to the right; the first is 0.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
