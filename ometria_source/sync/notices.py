"""Notices for the summary: fields no longer returned, collections with fewer rows than Ometria reports, unproven scans.

A field that is missing in one row means nothing: many are sparse. So after a complete scan it is reported when no row
has it. Of a log, whose runs read only the newest rows, only a field counts that was in all rows before.

How far `offset` may go is not documented: a server that answers nothing behind some offset looks as if it had no more
rows. The `size` of a list and the `count` of a collection may be hours old, so that a difference is no error.

Where paging is not documented, an answer that may have been cut is loaded, and nothing is removed (`api.offset_scan`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from ometria_source.api.client import JsonObject
from ometria_source.exceptions import UnprovenScanError
from ometria_source.sync.deletes import DELETES_ROWS, DELETES_SHARE
from ometria_source.sync.metrics import UNPROVEN, add_note

# Where a table's state keeps the names.
STATE_KEY = "fields"

# Rows that show that a field of a log is in each. With fewer, all could have a sparse one by chance. A guess.
ENOUGH_ROWS = 10


def report_missing_fields(table: str, state: dict[str, Any], found: Collection[str]) -> None:
    """Report the fields that the last complete scan found and this one did not.

    Args:
        table: Its name, for the notice.
        state: Its resource state, which keeps the names; it changes only where they do.
        found: The columns that any row of a complete scan had a field for; none: no row was read.
    """
    if not found:
        return
    expected: list[str] = state.get(STATE_KEY, [])
    _report(table, set(expected) - set(found))
    if (names := sorted(found)) != expected:
        state[STATE_KEY] = names


class LogFields:
    """The fields of the rows, or of the files, that one run reads of a log.

    Args:
        enough: How many must have a field, and all of them, before it is expected of later runs.
    """

    def __init__(self, enough: int = ENOUGH_ROWS) -> None:
        self._enough = enough
        self._total = 0
        self._counts: Counter[str] = Counter()

    def add(self, fields: Iterable[str]) -> None:
        """Take note of the fields of a row or file."""
        self._total += 1
        self._counts.update(set(fields))

    def note(self, table: str, state: dict[str, Any]) -> None:
        """Report the fields that were everywhere in earlier runs and are nowhere in this one.

        Args:
            table: Its name, for the notice.
            state: Its resource state, which keeps for each field whether it was everywhere so far; it changes only
                where that does.
        """
        if not self._total:
            return
        known: dict[str, bool] = state.get(STATE_KEY, {})
        gone = {name for name, was_everywhere in known.items() if was_everywhere and name not in self._counts}
        _report(table, gone)
        names = {
            name: was_everywhere and self._counts[name] == self._total
            for name, was_everywhere in known.items()
            if name not in gone
        }
        for name in self._counts.keys() - known.keys():
            is_everywhere = self._counts[name] == self._total
            if not is_everywhere or self._total >= self._enough:
                names[name] = is_everywhere
        if names != known:
            state[STATE_KEY] = dict(sorted(names.items()))


def _report(table: str, gone: Collection[str]) -> None:
    if gone:
        add_note(table, f"not in any row of this run: {', '.join(sorted(gone))} (rows of earlier runs had it)")


def pages_even_if_unproven(
    table: str, pages: Iterable[list[JsonObject]], metrics: dict[str, Any]
) -> Iterator[list[JsonObject]]:
    """Read a collection whose rows are loaded even where they may not be all.

    Args:
        table: Its name, for the notice.
        pages: As `api.offset_scan.scan` yields them.
        metrics: Those of the table. `unproven` is counted up where the pages may not be all: then the caller must
            neither remove a row nor keep in its state that it read all.

    Yields:
        The pages.
    """
    try:
        yield from pages
    except UnprovenScanError as doubt:
        report_unproven(table, doubt, metrics)


def report_unproven(table: str, doubt: UnprovenScanError, metrics: dict[str, Any], lists: int | None = None) -> None:
    """Report that rows were loaded which may not be all.

    Args:
        table: Its name, for the notice.
        doubt: Why they may not be all.
        metrics: Those of the table.
        lists: Of how many lists, where the table is read list by list; `doubt` is that of one of them.
    """
    metrics[UNPROVEN] += 1
    of_lists = "" if lists is None else f" for {lists} {'list' if lists == 1 else 'lists'}"
    add_note(
        table,
        f"unproven{of_lists}: {doubt.path} {doubt.found}. Ometria does not document how this path is paged, so rows "
        "may be missing. Those that came were loaded, and none was removed. Please report this behaviour to the "
        "maintainers of this project",
        metrics,
    )


class CountNotices:
    """Those of one run of a table.

    Args:
        table: Its name, for the notice.
        of: What its rows are in: `lists`.
    """

    def __init__(self, table: str, of: str) -> None:
        self._table = table
        self._of = of
        self._short: list[tuple[int, int]] = []

    def note(self, read: int, expected: object) -> None:
        """Take note of one that was read to its end.

        Args:
            read: How many rows it gave.
            expected: How many Ometria says that it has; of another type where it says nothing.
        """
        if not isinstance(expected, int):
            return
        missing = expected - read
        if missing > DELETES_ROWS and missing > expected * DELETES_SHARE:
            self._short.append((read, expected))

    def warn(self) -> None:
        """Report all of them."""
        if self._short:
            read, expected = (sum(counts) for counts in zip(*self._short, strict=True))
            add_note(
                self._table,
                f"{len(self._short)} {self._of} gave {read} rows, where Ometria says {expected}. If that stays so, "
                "report it to the maintainers of this project: the server may end too early",
            )
