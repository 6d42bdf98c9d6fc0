"""The report of a run: what was read and what the tables hold now, as text and as JSON."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dlt
from dlt.common.destination.client import SupportsOpenTables
from dlt.common.time import ensure_pendulum_datetime

from ometria_source.exceptions import InvalidSettingError
from ometria_source.sync.metrics import REQUESTS, RETRIES, ROWS_READ, SECONDS_WAITED
from ometria_source.sync.snapshot import ended_at

log = logging.getLogger(__name__)

# The column that tells how new the newest row of a log is; a time in the future does not count.
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

# What a shell reports of a program that SIGINT ended.
INTERRUPTED = 130

# What dlt puts between the name of a column and the type of a variant.
VARIANT = "__v_"


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


@dataclass
class TableReport:
    """What became of one table.

    Attributes:
        name: The table.
        metrics: What its resource counted.
        seconds: How long its extraction took.
        rows: Rows in the table after the run; None where that is not known.
        newest: Time (UTC) of the newest row, of a log; else None.
        new_columns: Columns that the run added to an existing table.
        variants: Columns that the run added for values of another type, and that type.
        error: Why it was not loaded.
        left_out: Why it is none of the tables of this account.
        refused: Whether the API key was refused for it.
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
    error: str | None = None
    left_out: str | None = None
    refused: bool = False
    nested: dict[str, int | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class RunReport:
    """What became of a run.

    Attributes:
        tables: What became of each table.
        seconds: How long the run took.
        ended: When it ended (UTC).
        destination: Where to.
        dataset: Its dataset.
        error: Why more than a single table was not loaded, or why something else than a table is wrong.
        is_loaded: Whether all that was extracted is at the destination.
        is_interrupted: Whether somebody ended the run before its end.
    """

    tables: list[TableReport] = field(default_factory=list)
    seconds: float = 0.0
    ended: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    destination: str = ""
    dataset: str = ""
    error: str | None = None
    is_loaded: bool = False
    is_interrupted: bool = False

    @property
    def exit_status(self) -> int:
        """0 when everything asked for was loaded; 130 when the run was interrupted; else 1."""
        if self.is_interrupted:
            return INTERRUPTED
        return 1 if self.error or any(table.error for table in self.tables) else 0

    def lines(self) -> list[str]:
        """The summary as text."""
        lines = [f"{self.destination} dataset `{self.dataset}`, {self.seconds:.1f} s"]
        header = ("table", "rows read", "rows now", "requests", "retries", "seconds", "")
        body = [
            (
                table.name,
                f"{table.metrics.get(ROWS_READ, 0):,}",
                "?" if table.rows is None else f"{table.rows:,}",
                str(table.metrics.get(REQUESTS, "-")),
                str(table.metrics.get(RETRIES, "-")),
                f"{table.seconds:.1f}",
                self.status(table),
            )
            for table in self.tables
        ]
        lines += aligned([header, *body], right=range(1, 6))
        for table in self.tables:
            lines += [f"  {table.name}: {note}" for note in self._notes(table)]
        lines += [f"{table.name} was left out. {table.left_out}" for table in self.tables if table.left_out]
        lines += [f"{table.name} was not loaded. {table.error}" for table in self.tables if table.error]
        if self.error:
            lines.append(self.error)
        return lines

    def status(self, table: TableReport) -> str:
        """What became of one of the tables, in a word."""
        if table.error:
            return "FAILED"
        return "left out" if table.left_out else "ok" if self.is_loaded else "NOT LOADED"

    @staticmethod
    def _notes(table: TableReport) -> list[str]:
        notes = [text.format(table.metrics[name]) for name, text in NOTED_METRICS.items() if table.metrics.get(name)]
        for name, rows in table.nested.items():
            notes.append(f"with `{name}`: {'?' if rows is None else f'{rows:,}'} rows now")
        if table.new_columns:
            notes.append(f"new columns: {', '.join(table.new_columns)}")
        for column, data_type in table.variants.items():
            notes.append(f"`{column.rsplit(VARIANT, 1)[0]}` now also comes as {data_type}: see `{column}`")
        return notes + table.notes


def aligned(rows: Sequence[Sequence[str]], right: Collection[int]) -> list[str]:
    """Rows of a table as text, in columns.

    Args:
        rows: All of the same length; at least one.
        right: The places of the columns that stand to the right; the first is 0.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def check_report_path(place: str) -> Path:
    """Find out that a report can be written, before anything is read.

    Args:
        place: The file, as typed.

    Raises:
        InvalidSettingError: It cannot be written.
    """
    path = Path(place)
    try:
        if path.is_dir():
            raise IsADirectoryError
        if not _is_regular(path):
            if not os.access(path, os.W_OK):
                raise PermissionError
            return path
        # what a link leads to is written, the link stays
        path = path.resolve()
        # a file of its own, so that an old report stays until there is a new one
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InvalidSettingError(
            "--report", f"names a file that cannot be written ({type(error).__name__}): name one in a folder of yours."
        ) from None
    return path


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a report, in the place of an older one.

    Args:
        content: The report.
        path: Where `check_report_path` found that it can be written.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    if not _is_regular(path):
        path.write_text(text, encoding="utf-8")
        return
    folder, start = path.parent, f".{path.name}."
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix=start, delete=False, encoding="utf-8") as new:
        new.write(text)
    # whoever may read other new files may read it
    mask = os.umask(0)
    os.umask(mask)
    Path(new.name).chmod(0o666 & ~mask)
    Path(new.name).replace(path)


def _is_regular(path: Path) -> bool:
    """Whether it is, or will be, a file, and no pipe or device."""
    return path.is_file() or not path.exists()


def as_json(report: RunReport) -> dict[str, Any]:
    """What a report says, without a name, an address or a value of anybody."""
    return {
        "exit_status": report.exit_status,
        "destination": report.destination,
        "dataset": report.dataset,
        "seconds": round(report.seconds, 3),
        "requests": sum(table.metrics.get(REQUESTS, 0) for table in report.tables),
        "retries": sum(table.metrics.get(RETRIES, 0) for table in report.tables),
        "error": report.error,
        "tables": {table.name: _table(report, table) for table in report.tables},
    }


def _table(report: RunReport, table: TableReport) -> dict[str, Any]:
    return {
        "status": report.status(table).lower(),
        "rows_read": table.metrics.get(ROWS_READ, 0),
        "rows": table.rows,
        "nested": table.nested,
        "requests": table.metrics.get(REQUESTS, 0),
        "retries": table.metrics.get(RETRIES, 0),
        "seconds": round(table.seconds, 3),
        "seconds_waited": round(table.metrics.get(SECONDS_WAITED, 0), 3),
        "newest": table.newest.isoformat() if table.newest else None,
        "lag_seconds": round((report.ended - table.newest).total_seconds()) if table.newest else None,
        "new_columns": [*table.new_columns, *table.variants],
        "files": {name: number for name, number in table.metrics.items() if name.startswith("files_")},
        "notes": table.notes,
        "error": table.error or table.left_out,
    }
