"""Watermarks in dlt's state: when a complete scan is due, and since when to read changes in between.

Objects of the API carry no time of update, so the only watermark comes from our own clock: the start of the last scan
that finished. It is kept in dlt's state, which is stored together with the rows that it describes.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from ometria_source.sync.metrics import add_note

# A daily schedule starts some seconds earlier or later each day: without this slack, every other day would be skipped.
SCHEDULE_JITTER = timedelta(minutes=30)


class Watermark:
    """The scans of one table.

    Args:
        table: Its name, for notes.
        state: The resource state to keep them in.
        full_scan_days: Days between two complete scans; 0: every scan is complete.
    """

    def __init__(self, table: str, state: dict[str, Any], full_scan_days: float) -> None:
        self._table = table
        self._state = state
        self.started = datetime.now(timezone.utc)
        last_complete = self._instant("complete_scan_started")
        self.is_complete_scan_due = (
            last_complete is None or self.started - last_complete >= timedelta(days=full_scan_days) - SCHEDULE_JITTER
        )
        self.last_scan = self._instant("scan_started")

    def _instant(self, key: str) -> datetime | None:
        text = self._state.get(key)
        instant = datetime.fromisoformat(text) if text else None
        if instant is None or instant <= self.started:
            return instant
        add_note(self._table, "the last scan was in the future, by this machine's clock: it does not count")
        return None

    def advance(self, started: datetime, complete: bool) -> None:
        """Note that a scan has reached its end.

        Args:
            started: When it began.
            complete: Whether it read everything, not only changes.
        """
        self._state["scan_started"] = started.isoformat()
        if complete:
            self._state["complete_scan_started"] = started.isoformat()


def start_of_table(table: str, state: dict[str, Any], start_date: datetime | None, earliest: datetime) -> datetime:
    """Where a log begins: the first load decides it, and a `start_date` that differs later on has no effect.

    dlt would take a later one for the new cursor, and so skip what lies between.

    Args:
        table: Its name, for the notice.
        state: Its resource state, where the start is kept.
        start_date: The setting.
        earliest: The start where there is no such setting.
    """
    began = datetime.fromisoformat(state.setdefault("start_date", (start_date or earliest).isoformat()))
    if start_date is not None and start_date != began:
        add_note(
            table,
            f"`start_date` differs from that of the first load ({began.isoformat()}) and has no effect; load another "
            "stretch of time with `end_date` as a backfill, or all of it anew with a full refresh",
        )
    return began
