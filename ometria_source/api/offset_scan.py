"""Offset pagination that detects and repairs drift: read a whole collection, and know that no row was skipped.

Ometria offers no cursor and no snapshot. A row that is deleted while a scan runs moves every later row one position to
the left, past the scan. So neighbouring pages share a row. A page counts as linked when its first row was seen before:
then nothing lies between it and what was read, because what precedes a seen row was read with it or before it. When the
first row was not seen, the scan steps back until it finds a page that is linked.

A short page means nothing, so the end is an empty page; and that end is believed only if the last row is found at its
old position before and after it, or else a row that moved past the end in between would be lost.

What is shown with this, in `tests/api/test_offset_scan.py`: every row that is there during the whole scan is returned,
once, and the scan ends, as long as the server honours `offset`, the other rows keep their order, and one of two things
holds. Either no answer has a single row while there are two to give: then rows may come and go anywhere. Or new rows
come at the end only, which is what Ometria's default order promises (by internal id, ascending; Ometria docs: Data API
introduction). A server that does not honour `offset` is found out: it repeats itself.

The ids that a scan has seen are kept exactly, in a temporary SQLite database: it stays in memory while it is small, and
moves to a private temporary file when it is not. A set of a million ids would take a hundred megabytes; a set of their
hashes less, but then two rows could be taken for one.

Table-agnostic: callers interpret the rows.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from ometria_source.api.client import JsonObject, OmetriaClient
from ometria_source.api.connection import RequestHandle
from ometria_source.api.prefetch import Page, PagePrefetch, max_prefetch
from ometria_source.constants import PAGE_LIMIT, UNASKED_PAGE_LIMIT
from ometria_source.exceptions import IncompleteScanError

# A database without a name: private, temporary, and on disk only when it outgrows the cache (SQLite docs: In-Memory
# Databases, "Temporary Databases").
TEMPORARY = ""

# A server that gives the rows of one place in another, so many pages further on, ignores `offset`: to push them there,
# as many pages of new rows would have to come in between two requests. Where paging is documented, it is asked twice.
PAGES_FURTHER_ON = (10, 25)

# How often the same page may come from the same place, with no new row in between, before the scan is held to go round
# in a circle. Each time takes a change of the collection, or a server that does not give a row where it gave it before.
LONGEST_CIRCLE = 10


class SeenIds:
    """A set of texts that can only grow. One thread at a time may use it."""

    def __init__(self) -> None:
        # dlt may resume a generator in another of its threads, one after another
        self._database = sqlite3.connect(TEMPORARY, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (id TEXT PRIMARY KEY) WITHOUT ROWID")

    def __contains__(self, identifier: str) -> bool:
        return self._database.execute("SELECT 1 FROM seen WHERE id = ?", (identifier,)).fetchone() is not None

    def add(self, identifiers: Iterable[str]) -> list[bool]:
        """Add ids.

        Returns:
            For each, whether it was new.
        """
        insert = "INSERT OR IGNORE INTO seen VALUES (?)"
        return [self._database.execute(insert, (identifier,)).rowcount == 1 for identifier in identifiers]

    def close(self) -> None:
        """Forget everything."""
        self._database.close()


def identity(row: JsonObject) -> str:
    """What tells a row from its neighbours: its id where it has one."""
    identifier = row.get("id")
    return repr(row if identifier is None else identifier)


def scan(
    client: OmetriaClient,
    path: str,
    params: Mapping[str, str | int] | None = None,
    *,
    paged: bool = True,
    page_limit: int = PAGE_LIMIT,
    identify: Callable[[JsonObject], str] = identity,
) -> Iterator[Page]:
    """Read a collection to its end.

    Args:
        client: Paces and retries each request.
        path: The collection, below `base_url`.
        params: The query besides `limit` and `offset`.
        paged: Whether paging is documented for this path. If not, a repeated answer counts as the whole collection.
        page_limit: Rows to ask for at a time.
        identify: What no two rows of the collection have in common.

    Yields:
        Lists of at least one row, in the server's order. No row comes twice.

    Raises:
        IncompleteScanError: The server repeats itself or does not honour `offset`, and what it gave cannot be known to
            be whole.
        OmetriaError: As `OmetriaClient.get`.
    """
    reading = OffsetScan(client, path, params, paged=paged, page_limit=page_limit, identify=identify)
    yield from reading.pages()
    if reading.repeated is None:
        return
    if paged or not reading.is_unpaged:
        raise IncompleteScanError(path, "gives the same rows for different values of `offset`")
    if reading.repeated in (UNASKED_PAGE_LIMIT, page_limit):
        raise IncompleteScanError(path, f"gives the same {reading.repeated} rows for every `offset`, which looks cut")


class OffsetScan:
    """One reading of a collection. The arguments are those of `scan`.

    Attributes:
        repeated: The number of rows in the answer that the server gave again and again; None: it did not repeat itself.
        is_unpaged: Whether that was its first answer too: `offset` means nothing to this server.
    """

    def __init__(
        self,
        client: OmetriaClient,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        paged: bool = True,
        page_limit: int = PAGE_LIMIT,
        identify: Callable[[JsonObject], str] = identity,
    ) -> None:
        self.repeated: int | None = None
        self.is_unpaged = False
        self._client = client
        self._path = path
        self._params = dict(params or {})
        self._paged = paged
        self._page_limit = page_limit
        self._identify = identify
        self._seen = SeenIds()
        self._ahead: PagePrefetch | None = None
        self._held: tuple[int, Page] | None = None
        self._first: Page = []
        self._full = page_limit
        self._offset_is_honoured = paged
        self._short_pages_go_on = False
        # the last row of the last linked page, the place after it, and the furthest such place so far
        self._anchor: str | None = None
        self._end = self._furthest = 0
        self._circle: Counter[int] = Counter()

    def pages(self) -> Iterator[Page]:
        """Read the collection; to be called once.

        Yields:
            As `scan`.

        Raises:
            IncompleteScanError: The server does not give a row where it gave it before.
            OmetriaError: As `OmetriaClient.get`.
        """
        try:
            offset, page = 0, self._get(0)
            self._first = page
            while True:
                is_new_ground = offset > 0 and offset >= self._furthest - 1 and not self._is_anchor_alone(page)
                fresh = self._take_in(offset, page)
                if fresh:
                    yield fresh
                elif page and is_new_ground and self._repeats(offset, page):
                    return
                linked = self._next(len(page)) if self._end else None
                if linked is None:
                    return
                offset, page = linked
        finally:
            self._drop_prefetch()
            self._seen.close()

    def _get(self, offset: int, handle: RequestHandle | None = None) -> Page:
        return self._client.get(
            self._path, {**self._params, "limit": self._page_limit, "offset": offset}, handle=handle
        )

    def _take_in(self, offset: int, page: Page) -> Page:
        """Note a linked page; return those of its rows that were not seen before."""
        ids = [self._identify(row) for row in page]
        fresh = [row for row, is_new in zip(page, self._seen.add(ids), strict=True) if is_new]
        if fresh and offset and ids[0] == self._anchor:
            self._offset_is_honoured = True
        if len(page) > self._full:
            self._full = len(page)
            self._drop_prefetch()
        self._anchor = ids[-1] if ids else None
        self._end = offset + len(page)
        self._furthest = max(self._furthest, self._end)
        self._watch_for_circles(offset, ids, bool(fresh))
        return fresh

    def _watch_for_circles(self, offset: int, ids: list[str], has_fresh: bool) -> None:
        if has_fresh:
            self._circle.clear()
            return
        place = hash((offset, *ids))
        self._circle[place] += 1
        if self._circle[place] > LONGEST_CIRCLE:
            raise IncompleteScanError(self._path, "does not give its rows by `offset`")

    def _is_linked(self, offset: int, page: Page) -> bool:
        return offset == 0 or (bool(page) and self._identify(page[0]) in self._seen)

    def _is_anchor_alone(self, page: Page) -> bool:
        return len(page) == 1 and self._identify(page[0]) == self._anchor

    def _next(self, rows: int) -> tuple[int, Page] | None:
        """The next linked page and its offset, given how many rows the last one had; None at the end."""
        held, self._held = self._held, None
        if held is not None and self._is_linked(*held):
            return held
        if self._ahead is None and 1 < rows == self._full and self._offset_is_honoured and not self._short_pages_go_on:
            most = max_prefetch(self._client.requests_per_second)
            self._ahead = PagePrefetch(self._get, self._end - 1, self._full - 1, self._full, most)
        ahead = self._ahead.take() if self._ahead else None
        if ahead is not None:
            if self._is_linked(*ahead):
                return ahead
            if ahead[1]:
                # what lies before it is missing; once that has been read, it may be of use
                self._held = ahead
                return self._repair(ahead[0])
        self._drop_prefetch()
        if ahead is None and rows > 1 and (rows == self._full or self._short_pages_go_on) and self._offset_is_honoured:
            offset = self._end - 1
            page = self._get(offset)
            return (offset, page) if self._is_linked(offset, page) else self._repair(offset)
        return self._around_the_end(rows)

    def _around_the_end(self, rows: int) -> tuple[int, Page] | None:
        """Ask for what follows the last row, and then whether that row is still in its place; None at the end."""
        end, last = self._end, self._end - 1
        tail = self._get(end)
        if tail and all(self._identify(row) in self._seen for row in tail) and self._repeats(end, tail):
            return None
        check = self._get(last)
        if (tail or len(check) > 1) and rows < self._full:
            if end == rows:
                # the first page: the server gives no larger ones
                self._full = rows
            else:
                self._short_pages_go_on = True
        if not self._is_linked(last, check):
            return self._repair(last)
        if not self._is_anchor_alone(check):
            return last, check
        return (end, tail) if tail else None

    def _repair(self, offset: int) -> tuple[int, Page]:
        """A linked page from before a page that is not: the collection has moved, or a short page has left a gap."""
        step = max(self._full - 1, 1)
        place = self._end - 1 if offset >= self._end else max(0, offset - step)
        while not self._is_linked(place, page := self._get(place)):
            step *= 2
            place = max(0, place - step)
        return place, page

    def _repeats(self, offset: int, page: Page) -> bool:
        """Whether the server gives this page for other offsets too; if so, note it."""
        self._drop_prefetch()
        for pages in PAGES_FURTHER_ON[: None if self._paged else 1]:
            if not self._alike(self._get(offset + pages * max(len(page), self._full)), page):
                return False
        self.repeated = len(page)
        self.is_unpaged = self._alike(page, self._first)
        return True

    def _alike(self, page: Page, other: Page) -> bool:
        """Whether two answers are the same, give or take rows that came or went meanwhile."""
        known = {self._identify(row) for row in other}
        again = sum(self._identify(row) in known for row in page)
        return again * 2 > max(len(page), len(other))

    def _drop_prefetch(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None
