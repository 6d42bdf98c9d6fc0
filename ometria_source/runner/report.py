"""The summary of a run: what was read and what the tables hold now."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ometria_source.tables.metrics import REQUESTS, RETRIES, ROWS_READ

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
