"""Window scan: read a log of events through bounded windows of time.

`/unsubscribes` documents `since` and `before` but no paging, and nothing says that an answer is whole: it may be cut at
any round number. So each window is also asked for its next page. Where that comes, the window is paged to its end.
Where the same rows come again, paging is ignored: an answer with a round number of rows is then taken for cut, and its
window is halved. Windows are as wide as little happens in them, and neighbours overlap by a second, because it is not
documented whether the bounds belong to the window.

Knows nothing of tables: what a row means is its caller's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from math import floor

from ometria_source.api.client import JsonObject, OmetriaClient
from ometria_source.api.scan import repeats
from ometria_source.exceptions import IncompleteScanError
from ometria_source.settings import PAGE_LIMIT, UNASKED_PAGE_LIMIT

# The last second that `YYYY-MM-DDTHH:MM:SS` can name: rows with a time in the future are read as well.
END_OF_TIME = datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)

# Seconds of the first window of a long stretch, and what a quiet window is widened by. Guesses: they only cost
# requests.
FIRST_WIDTH = int(timedelta(days=30).total_seconds())
WIDENING = 4

# Rows that one window should hold at most, so that an unpaged answer stays a few megabytes.
WINDOW_ROWS = 5_000

# A cut answer is a multiple of the documented default page, which every documented or seen page size is too.
CUT_MULTIPLE = UNASKED_PAGE_LIMIT


class WindowScan:
    """Reads the events of one stretch of time.

    Args:
        client: Paces and retries each request.
        path: The log, below `base_url`.
        now: The present; a single window covers all that lies beyond it.
    """

    def __init__(self, client: OmetriaClient, path: str, now: datetime) -> None:
        self._client = client
        self._path = path
        self._now = floor(now.timestamp())
        self._paging_ignored = False

    def read(self, since: datetime, before: datetime = END_OF_TIME) -> Iterator[list[JsonObject]]:
        """Read all events from `since` on, oldest window first.

        Args:
            since: The first instant, with time zone.
            before: The instant after the last one, with time zone.

        Yields:
            The rows of one window. A row near a bound, or one that moved while it was read, may come twice; rows from
            outside the stretch may come too, where the server takes its bounds for hints.

        Raises:
            IncompleteScanError: One second holds more rows than the server gives.
            OmetriaError: As `OmetriaClient.get`.
        """
        start, last = floor(since.timestamp()), floor((before - timedelta(microseconds=1)).timestamp())
        width = FIRST_WIDTH if self._now - start > FIRST_WIDTH else last - start + 1
        while start <= last:
            end = min(start + width - 1, last)
            rows = self._window(start, end)
            if rows is None:
                if start == end:
                    raise IncompleteScanError(self._path, "gives a round number of rows even for a single second")
                width = self._now - start + 1 if start <= self._now < end else (end - start + 1) // 2
                continue
            if rows:
                yield rows
            start = end + 1
            width = self._next_width(width, len(rows), start, last)

    def _next_width(self, width: int, rows: int, start: int, last: int) -> int:
        if start > self._now:
            return last - start + 1
        if rows * WIDENING <= WINDOW_ROWS:
            width *= WIDENING
        elif rows > WINDOW_ROWS:
            width = max(1, width * WINDOW_ROWS // rows)
        return min(width, self._now - start + 1)

    def _window(self, start: int, end: int) -> list[JsonObject] | None:
        """All rows between two seconds, both included; None when the answer looks cut."""
        rows = page = self._page(start, end, 0)
        while page and not self._paging_ignored:
            more = self._page(start, end, len(rows))
            if not more:
                return rows
            if repeats(more, page):
                # a single row may also have been pushed to the next page by a new one: that proves nothing yet
                self._paging_ignored = len(page) > 1
                break
            rows = rows + more
            page = more
        return None if rows and len(rows) % CUT_MULTIPLE == 0 else rows

    def _page(self, start: int, end: int, offset: int) -> list[JsonObject]:
        # one second more on both sides: whether the bounds belong to the window is not documented
        return self._client.get(
            self._path,
            {"since": _second(start - 1), "before": _second(end + 1), "limit": PAGE_LIMIT, "offset": offset},
        )


def _second(timestamp: int) -> str:
    """The documented form of a bound, `YYYY-MM-DDTHH:MM:SS` in UTC."""
    return datetime.fromtimestamp(min(timestamp, int(END_OF_TIME.timestamp())), timezone.utc).strftime(
        "%Y-%m-%dT%H:%M:%S"
    )
