"""Window scan: read a log of events through bounded windows of time.

`/unsubscribes` documents `since` and `before` but no paging, and nothing says that an answer is whole: it may be cut at
any round number. So each window is read by an offset scan, which finds out whether `offset` means anything. Where it
does, the window is paged to its end. Where it does not, an answer with a round number of rows is taken for cut, unless
another answer had more, and its window is halved. Windows are as wide as little happens in them, and neighbours overlap
by a second, because it is not documented whether the bounds belong to the window. A window whose answer is too long, or
that has more rows than any should, is halved as well; its rows wait in a temporary file while it is read. A single
second cannot be halved, and a server that takes the bounds for hints gives a narrow window as many rows as a wide one:
both are read to the end, whatever they hold.

Knows nothing of tables: what a row means is its caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from math import floor

from ometria_source.api.client import JsonObject, OmetriaClient
from ometria_source.api.offset_scan import OffsetScan
from ometria_source.api.prefetch import Page, Spool
from ometria_source.constants import PAGE_LIMIT, UNASKED_PAGE_LIMIT
from ometria_source.exceptions import AnswerTooLargeError, EndlessScanError, IncompleteScanError

# The last second that `YYYY-MM-DDTHH:MM:SS` can name: rows with a time in the future are read as well.
END_OF_TIME = datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)

# Seconds of the first window of a long stretch, and what a quiet window is widened by. Guesses: they only cost
# requests.
FIRST_WIDTH = int(timedelta(days=30).total_seconds())
WIDENING = 4

# Seconds of the first window beyond the present, when all of the future at once looks cut. A guess at how long a scan
# takes.
SINCE_NOW = 3600

# Rows that one window should hold at most, so that an unpaged answer stays a few megabytes.
WINDOW_ROWS = 5_000

# Rows of a window that is halved, rather than read to its end: far more than of any window that was planned. A guess. A
# single second may have more: an import of opt-outs gives all of them one time.
MAX_WINDOW_ROWS = 20 * WINDOW_ROWS

# A cut answer is a multiple of the documented default page, which every documented or seen page size is too.
CUT_MULTIPLE = UNASKED_PAGE_LIMIT


# What is said of a log that cannot be read.
FULL_SECOND = "gives a round number of rows even for a single second"


class WindowScan:
    """Reads the events of one stretch of time.

    Args:
        client: Paces and retries each request.
        path: The log, below `base_url`.
        now: The present; a single window covers all that lies beyond it.
        instant_of: When an event happened; None where that cannot be read.
    """

    def __init__(
        self, client: OmetriaClient, path: str, now: datetime, instant_of: Callable[[JsonObject], datetime | None]
    ) -> None:
        self._client = client
        self._path = path
        self._now = floor(now.timestamp())
        self._instant_of = instant_of
        self._offset_is_ignored = False
        self._bounds_are_hints = False
        # rows of the largest answer so far: the server cuts none that is smaller
        self._largest = 0

    def read(self, since: datetime, before: datetime = END_OF_TIME) -> Iterator[list[JsonObject]]:
        """Read all events from `since` on, oldest window first.

        Args:
            since: The first instant, with time zone.
            before: The instant after the last one, with time zone.

        Yields:
            Rows, window by window. A row near a bound, or one that moved while it was read, may come twice; rows from
            outside the stretch may come too, where the server takes its bounds for hints.

        Raises:
            IncompleteScanError: One second holds more rows than the server gives.
            AnswerTooLargeError: One second holds more than fits into an answer.
            EndlessScanError: One second holds more than `MAX_SCAN_ROWS`, or a server that takes the bounds for hints
                gives more.
            OmetriaError: As `OmetriaClient.get`.
        """
        start, last = floor(since.timestamp()), floor((before - timedelta(microseconds=1)).timestamp())
        width = FIRST_WIDTH if self._now - start > FIRST_WIDTH else last - start + 1
        suspicion: _Suspicion | None = None
        is_cutting = doubtful = False
        while start <= last:
            end = min(start + width - 1, last)
            answer = self._answer_or_width(start, end)
            if isinstance(answer, int):
                width = answer
                continue
            # where a narrower window holds as many rows, only paging can show whether these are all
            is_paged_whole = self._bounds_are_hints and not self._offset_is_ignored
            if answer.looks_cut and start < end and not is_paged_whole:
                suspicion = suspicion or _Suspicion(end, answer.rows)
                width = self._narrower(start, end)
                answer.pages.close()
                continue
            if answer.looks_cut and self._offset_is_ignored:
                answer = self._single_second(start, answer)
            elif answer.looks_cut:
                # paged to its end, so it is whole, unless this server is found to cut what it pages
                doubtful = True
            for page in answer.pages.read():
                is_cutting = is_cutting or (suspicion is not None and suspicion.is_confirmed_by(page))
                if doubtful and is_cutting:
                    raise IncompleteScanError(self._path, FULL_SECOND)
                yield page
            suspicion = suspicion if suspicion and end < suspicion.end else None
            start = end + 1
            width = self._next_width(width, answer.rows, start, last)

    def _next_width(self, width: int, rows: int, start: int, last: int) -> int:
        if start > self._now and not rows:
            return last - start + 1
        if self._bounds_are_hints or rows * WIDENING <= WINDOW_ROWS:
            width *= WIDENING
        elif rows > WINDOW_ROWS:
            width = max(1, width * WINDOW_ROWS // rows)
        return min(width, self._now - start + 1 if start <= self._now else last - start + 1)

    def _narrower(self, start: int, end: int) -> int:
        """The width to try when the answer for a window looks cut."""
        if start <= self._now < end:
            return self._now - start + 1
        # what lies beyond the present happened since the scan began, if it is no error
        return min((end - start + 1) // 2, SINCE_NOW) if start > self._now else (end - start + 1) // 2

    def _answer_or_width(self, start: int, end: int) -> _Answer | int:
        """What the server gives for a window, or the width to try where that is too much."""
        while True:
            most_rows = None if start == end or self._bounds_are_hints else MAX_WINDOW_ROWS
            try:
                # one second more on both sides: whether the bounds belong to the window is not documented
                return self._answer(start - 1, end + 1, most_rows)
            except EndlessScanError:
                if most_rows is None:
                    raise
                if not self._bounds_are_hints:
                    # so many rows cost more requests than a window that is too narrow
                    width = max(1, (end - start + 1) * WINDOW_ROWS // MAX_WINDOW_ROWS)
                    return min(width, self._narrower(start, end))
            except AnswerTooLargeError:
                if start == end:
                    raise
                return self._narrower(start, end)

    def _single_second(self, second: int, answer: _Answer) -> _Answer:
        """All rows of a second, though the window that reaches a second further on both sides looks cut.

        An answer with a row at a bound shows that this bound belongs to the window. It can then be drawn in, as long as
        no time has a fraction of a second, which would lie between the bounds. Whether a window of no length works is
        not documented: it is believed only if it gives what is known to be in it.
        """
        found = {repr(row): row for row in answer.all_rows()}
        for since, before in ((second - 1, second), (second, second + 1), (second, second)):
            times = {text: instant.timestamp() for text, row in found.items() if (instant := self._instant_of(row))}
            within = {text for text, time in times.items() if floor(time) == second}
            since_belongs = second - 1 in times.values()
            before_belongs = second + 1 in times.values() and all(time.is_integer() for time in times.values())
            if (since == second and not since_belongs) or (before == second and not before_belongs):
                continue
            answer = self._answer(since, before)
            rows = answer.all_rows()
            if not answer.looks_cut and within.issubset(map(repr, rows)) and (since < before or within):
                return _Answer(_spooled(rows), len(rows), looks_cut=False)
            found.update((repr(row), row) for row in rows)
        raise IncompleteScanError(self._path, FULL_SECOND)

    def _answer(self, since: int, before: int, most_rows: int | None = None) -> _Answer:
        """What the server gives for a window; `most_rows`: as for `OffsetScan`."""
        window: dict[str, str | int] = {"since": _second(since), "before": _second(before)}
        if self._offset_is_ignored:
            found = self._client.get(self._path, {**window, "limit": PAGE_LIMIT, "offset": 0})
            self._compare_bounds(found, since, before)
            pages, rows = _spooled(found), len(found)
            size = rows
        else:
            # these events have no id of their own: only all that is in one distinguishes it from another. Fewer of them
            # are not asked for: an answer that is cut is known by its number of rows
            scan = OffsetScan(
                self._client,
                self._path,
                window,
                paged=False,
                identify=repr,
                most_rows=most_rows,
                fewest_rows=PAGE_LIMIT,
            )
            pages = Spool(self._compared(scan.pages(), since, before))
            size = rows = scan.rows
            if scan.repeated is not None:
                if not scan.is_unpaged:
                    raise IncompleteScanError(self._path, "gives the same rows for different values of `offset`")
                self._offset_is_ignored = True
                size = scan.repeated
        looks_cut = size > 0 and size % CUT_MULTIPLE == 0 and size >= self._largest
        self._largest = max(self._largest, size)
        return _Answer(pages, rows, looks_cut)

    def _compared(self, pages: Iterator[Page], since: int, before: int) -> Iterator[Page]:
        for page in pages:
            self._compare_bounds(page, since, before)
            yield page

    def _compare_bounds(self, page: Page, since: int, before: int) -> None:
        """Detect a server that takes the bounds for hints: by a row from outside of its window."""
        self._bounds_are_hints = self._bounds_are_hints or any(
            not since <= floor(instant.timestamp()) <= before
            for row in page
            if (instant := self._instant_of(row)) is not None
        )


@dataclass(frozen=True)
class _Answer:
    """What the server gives for a window.

    Attributes:
        pages: Its rows, to be read once.
        rows: How many.
        looks_cut: Whether there may be more.
    """

    pages: Spool
    rows: int
    looks_cut: bool

    def all_rows(self) -> list[JsonObject]:
        """All of its rows at once: of an answer that came as one."""
        return [row for page in self.pages.read() for row in page]


def _spooled(rows: list[JsonObject]) -> Spool:
    return Spool(rows[start : start + WINDOW_ROWS] for start in range(0, len(rows), WINDOW_ROWS))


class _Suspicion:
    """That a window's answer was cut: confirmed when its parts hold more rows than it gave.

    Args:
        end: The window's last second.
        rows: How many rows it gave.
    """

    def __init__(self, end: int, rows: int) -> None:
        self.end = end
        self._rows = rows
        self._found: set[str] = set()

    def is_confirmed_by(self, part: list[JsonObject]) -> bool:
        if len(self._found) <= self._rows:
            self._found.update(map(repr, part))
        return len(self._found) > self._rows


def _second(timestamp: int) -> str:
    """The documented form of a bound, `YYYY-MM-DDTHH:MM:SS` in UTC."""
    return datetime.fromtimestamp(min(timestamp, int(END_OF_TIME.timestamp())), timezone.utc).strftime(
        "%Y-%m-%dT%H:%M:%S"
    )
