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

On a path whose paging is not documented, a repeated answer may well be the whole. It counts as the whole where `size`,
the number of rows that Ometria reports elsewhere, equals its rows, or where no page that Ometria documents has as many.
Both are evidence, no proof: `size` may be hours old, and a server may cut its answers at another number. All else ends
with `UnprovenScanError` behind the last row, so that no caller takes it for the whole by accident. Only a first answer
that is short, has as many rows as `size` and no round number of them is believed without a second request.

Of the ids that a scan has seen, hashes are kept in a temporary SQLite database: it stays in memory while it is small,
and moves to a private temporary file when it is not. An id may be an address, so their key is a random one that is kept
in memory alone. With 128 bits, no two of 100 million ids have the same hash, but for one chance in 10^22.

Table-agnostic: callers interpret the rows.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b

from ometria_source.api.client import JsonObject, OmetriaClient
from ometria_source.api.connection import RequestHandle
from ometria_source.api.prefetch import Page, PagePrefetch, max_prefetch
from ometria_source.constants import PAGE_LIMIT, UNASKED_PAGE_LIMIT
from ometria_source.exceptions import AnswerTooLargeError, EndlessScanError, IncompleteScanError, UnprovenScanError

# A database without a name: private, temporary, and on disk only when it outgrows the cache (SQLite docs: In-Memory
# Databases, "Temporary Databases").
TEMPORARY = ""

# A server that gives the rows of one place in another, so many pages further on, ignores `offset`: to push them there,
# as many pages of new rows would have to come in between two requests. Where paging is documented, it is asked twice.
PAGES_FURTHER_ON = (10, 25)

# How often the same page may come from the same place, with no new row in between, before the scan is held to go round
# in a circle. Each time takes a change of the collection, or a server that does not give a row where it gave it before.
LONGEST_CIRCLE = 10

# Rows of one scan. At the documented rate, of four requests of 250 rows a second, so many take 28 hours: no account can
# be scanned so every day. A guess.
MAX_SCAN_ROWS = 100_000_000

# By what `limit` is divided where an answer is too long, and where that ends: neighbouring pages share a row. A guess.
FEWER_ROWS = 4
FEWEST_ROWS = 2


# Of the hash of an id, and of its key.
HASH_BYTES = 16


class SeenIds:
    """A set of texts that can only grow. One thread at a time may use it."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(HASH_BYTES)
        # dlt may resume a generator in another of its threads, one after another
        self._database = sqlite3.connect(TEMPORARY, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (hash BLOB PRIMARY KEY) WITHOUT ROWID")

    def __contains__(self, identifier: str) -> bool:
        found = self._database.execute("SELECT 1 FROM seen WHERE hash = ?", (self._hash(identifier),))
        return found.fetchone() is not None

    def add(self, identifiers: Iterable[str]) -> list[bool]:
        """Add ids.

        Returns:
            For each, whether it was new.
        """
        insert = "INSERT OR IGNORE INTO seen VALUES (?)"
        return [self._database.execute(insert, (self._hash(identifier),)).rowcount == 1 for identifier in identifiers]

    def close(self) -> None:
        """Forget everything."""
        self._database.close()

    def _hash(self, identifier: str) -> bytes:
        text = identifier.encode(errors="surrogatepass")
        return blake2b(text, digest_size=HASH_BYTES, key=self._key).digest()


def identity(row: JsonObject) -> str:
    """What distinguishes a row from its neighbours: its id where it has one."""
    identifier = row.get("id")
    return repr(row if identifier is None else identifier)


def scan(
    client: OmetriaClient,
    path: str,
    params: Mapping[str, str | int] | None = None,
    *,
    paged: bool = True,
    size: int | None = None,
    page_limit: int = PAGE_LIMIT,
    identify: Callable[[JsonObject], str] = identity,
    most_rows: int | None = None,
) -> Iterator[Page]:
    """Read a collection to its end.

    Args:
        client: Paces and retries each request.
        path: The collection, below `base_url`.
        params: The query besides `limit` and `offset`.
        paged: Whether paging is documented for this path. If not, a repeated answer may be the whole collection.
        size: How many rows Ometria reports for a collection whose paging is not documented; None: it does not.
        page_limit: Rows to ask for at a time.
        identify: What no two rows of the collection have in common.
        most_rows: After how many it is given up; None: `MAX_SCAN_ROWS`. A caller that keeps the rows in memory needs a
            bound of its own.

    Yields:
        Lists of at least one row, in the server's order. No row comes twice.

    Raises:
        IncompleteScanError: The server repeats itself or does not honour `offset`, and what it gave cannot be known to
            be whole. Where paging is not documented, it is an `UnprovenScanError`, and all that came was yielded.
        EndlessScanError: It gives more than `most_rows`.
        OmetriaError: As `OmetriaClient.get`.
    """
    reading = OffsetScan(
        client, path, params, paged=paged, size=size, page_limit=page_limit, identify=identify, most_rows=most_rows
    )
    try:
        yield from reading.pages()
        if reading.repeated is not None and not reading.is_whole:
            found = "gives the same rows for different values of `offset`"
            if reading.is_unpaged and not paged:
                found = f"gives the same {reading.repeated} rows for every `offset`, which looks cut"
            raise IncompleteScanError(path, found)
    except IncompleteScanError as error:
        if paged:
            raise
        raise UnprovenScanError(path, error.found) from None


class OffsetScan:
    """One reading of a collection. The arguments are those of `scan`.

    Args:
        fewest_rows: How many are asked for at a time, where the answers are too long; they are then tried with fewer.

    Attributes:
        rows: Rows that it has yielded.
        limit: Rows that it asks for at a time.
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
        size: int | None = None,
        page_limit: int = PAGE_LIMIT,
        identify: Callable[[JsonObject], str] = identity,
        most_rows: int | None = None,
        fewest_rows: int = FEWEST_ROWS,
    ) -> None:
        self.repeated: int | None = None
        self.is_unpaged = False
        self._client = client
        self._path = path
        self._params = dict(params or {})
        self._paged = paged
        self.limit = self._planned_limit = page_limit
        self._fewest_rows = fewest_rows
        self._size = size
        self._identify = identify
        self._most_rows = MAX_SCAN_ROWS if most_rows is None else most_rows
        self.rows = 0
        self._seen = SeenIds()
        self._ahead: PagePrefetch | None = None
        self._held: tuple[int, Page] | None = None
        self._first: Page = []
        self._full = self._page_limit = page_limit
        self._offset_is_honoured = paged
        self._short_pages_go_on = False
        # the last row of the last linked page, the place after it, and the furthest such place so far
        self._anchor: str | None = None
        self._end = self._furthest = 0
        self._circle: Counter[int] = Counter()

    @property
    def is_whole(self) -> bool:
        """Whether the answer that the server repeats counts as the whole collection."""
        if self._paged or not self.is_unpaged:
            return False
        return self.repeated == self._size or self.repeated not in (UNASKED_PAGE_LIMIT, self._planned_limit, self.limit)

    def pages(self) -> Iterator[Page]:
        """Read the collection; to be called once.

        Yields:
            As `scan`.

        Raises:
            IncompleteScanError: The server does not give a row where it gave it before.
            EndlessScanError: It gives more rows than a collection may have.
            OmetriaError: As `OmetriaClient.get`.
        """
        try:
            offset, page = 0, self._get(0)
            self._first = page
            if self._is_short_and_whole(page):
                fresh = self._take_in(0, page)
                self.rows += len(fresh)
                yield fresh
                return
            while True:
                is_new_ground = offset > 0 and offset >= self._furthest - 1 and not self._is_anchor_alone(page)
                fresh = self._take_in(offset, page)
                self.rows += len(fresh)
                if self.rows > self._most_rows:
                    raise EndlessScanError(self._path, self._most_rows)
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
        while True:
            limit = self.limit
            try:
                return self._client.get(self._path, {**self._params, "limit": limit, "offset": offset}, handle=handle)
            except AnswerTooLargeError:
                if limit <= self._fewest_rows:
                    raise
                # pages that are asked for at the same time may have found the same
                self.limit = min(self.limit, max(self._fewest_rows, limit // FEWER_ROWS))

    def _max_prefetch(self) -> int:
        return max_prefetch(self._client.requests_per_second, self._client.largest_answer)

    def _is_short_and_whole(self, first: Page) -> bool:
        """Whether the first answer needs no second: a round number of rows may be a page that the server has cut."""
        rows = len(first)
        return rows == self._size and rows < self.limit and rows % UNASKED_PAGE_LIMIT != 0

    def _take_in(self, offset: int, page: Page) -> Page:
        """Note a linked page; return those of its rows that were not seen before."""
        ids = [self._identify(row) for row in page]
        fresh = [row for row, is_new in zip(page, self._seen.add(ids), strict=True) if is_new]
        if fresh and offset and ids[0] == self._anchor:
            self._offset_is_honoured = True
        if self.limit < self._planned_limit:
            self._planned_limit = self._full = self.limit
            self._drop_prefetch()
        # a longer one that was asked for before the limit fell is no measure
        if len(page) > self._full and self.limit == self._page_limit:
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
            self._ahead = PagePrefetch(self._get, self._end - 1, self._full - 1, self._full, self._max_prefetch)
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
