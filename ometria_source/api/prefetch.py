"""Read ahead, so that latency costs nothing: the next pages of one collection, or several collections at a time.

Of one collection, a page is requested as soon as the request before it has been sent. Only one page at a time waits for
the rate limit: whether another is requested is decided as late as possible, so that few requests are wasted when the
end comes in sight.

Of several collections, the pages that are ready too early are spooled: in memory while they are few, else in a
temporary file.
"""

from __future__ import annotations

import json
import math
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import IO, Any, TypeVar

from ometria_source.api.client import CONNECTIONS, JsonObject
from ometria_source.api.connection import RequestHandle
from ometria_source.api.pacing import LONGEST_NAP, RequestCancelledError
from ometria_source.exceptions import UnprovenScanError

Page = list[JsonObject]
Item = TypeVar("Item")
Result = TypeVar("Result")

# How far ahead to ask, as the pace counts it: enough for three seconds of latency while a gap takes another three to be
# mended. A guess at what a slow day looks like.
SECONDS_AHEAD = 8

# Bytes of JSON that may be in flight or waiting, where pages are large; Python objects of it take about five times as
# much. A page of 250 profiles has about a quarter of a megabyte. A guess.
BYTES_AHEAD = 32 << 20

# Bytes of one list's pages that wait in memory, about 20,000 ids; more go to a temporary file. A guess.
KEPT_IN_MEMORY = 1_000_000


def max_prefetch(requests_per_second: float, answer_bytes: int = 0) -> int:
    """How many requests may be in flight, or their answers waiting, for one reader.

    Args:
        requests_per_second: The pace. Above four a second, the memory that pages take is what bounds the number.
        answer_bytes: Of the largest answer so far.
    """
    most = max(1, BYTES_AHEAD // max(1, answer_bytes))
    return min(CONNECTIONS, math.ceil(SECONDS_AHEAD * requests_per_second), most)


def _result(future: Future[Result]) -> Result:
    """What a future gives. A wait without an end would not notice an interrupt on every system."""
    while not future.done():
        wait([future], LONGEST_NAP)
    return future.result()


def map_in_order(items: Iterable[Item], work: Callable[[Item], Result], most: int) -> Iterator[Result]:
    """Work on several items at a time, in threads.

    Args:
        items: Taken one by one, not far ahead of what is yielded.
        work: Called with an item.
        most: How many results may be under way or waiting at once.

    Yields:
        The results, in the order of the items.

    Raises:
        Exception: What `work` raises.
    """
    executor = ThreadPoolExecutor(most, thread_name_prefix="ometria-ahead")
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(executor.submit(work, item))
            if len(pending) == most:
                yield _result(pending.popleft())
        while pending:
            yield _result(pending.popleft())
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


class PagePrefetch:
    """Pages at even distances, in flight or waiting to be taken.

    Args:
        get: Gets the page at an offset; called in threads of this object.
        start: Offset of the first page.
        step: Distance to the next.
        full: Rows of a full page. A shorter one may be the last: nothing more is asked for when one arrives.
        most: How many pages may be in flight or waiting at once; it never grows.
    """

    def __init__(
        self, get: Callable[[int, RequestHandle], Page], start: int, step: int, full: int, most: Callable[[], int]
    ) -> None:
        self._get = get
        self._next = start
        self._step = step
        self._full = full
        self._most = most
        self._lock = threading.Lock()
        self._pages: deque[tuple[int, RequestHandle, Future[Page]]] = deque()
        self._waiting: RequestHandle | None = None
        self._stopped = False
        self._executor = ThreadPoolExecutor(most(), thread_name_prefix="ometria-pages")
        self._ask()

    def take(self) -> tuple[int, Page] | None:
        """The next page, in order; waits for it.

        Returns:
            Its offset and its rows; None when no more were asked for.

        Raises:
            OmetriaError: As `OmetriaClient.get`.
        """
        if not self._pages:
            return None
        offset, _, page = self._pages[0]
        try:
            rows = _result(page)
        except RequestCancelledError:
            # the end came in sight before it left, and nothing was asked for after it
            return None
        self._pages.popleft()
        self._ask()
        return offset, rows

    def close(self) -> None:
        """Cancel all requests that are still in flight, without waiting for them."""
        self._stop()
        for _, handle, _ in self._pages:
            handle.cancel()
        self._pages.clear()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _ask(self) -> None:
        with self._lock:
            if self._stopped or self._waiting is not None or len(self._pages) >= self._most():
                return
            offset, self._next = self._next, self._next + self._step
            self._waiting = handle = RequestHandle(on_sent=self._mark_sent)
            self._pages.append((offset, handle, self._executor.submit(self._fetch, offset, handle)))

    def _mark_sent(self) -> None:
        with self._lock:
            self._waiting = None
        self._ask()

    def _fetch(self, offset: int, handle: RequestHandle) -> Page:
        rows = self._get(offset, handle)
        if len(rows) < self._full:
            self._stop()
        return rows

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._waiting is not None:
                self._waiting.cancelled.set()


class Spool:
    """Pages of JSON, written to their end and then read once.

    Args:
        pages: Taken to their end, here.

    Attributes:
        doubt: Why these pages may not be all; None: they are.
    """

    def __init__(self, pages: Iterable[list[Any]]) -> None:
        self._file: IO[str] = tempfile.SpooledTemporaryFile(KEPT_IN_MEMORY, "w+", encoding="utf-8")  # noqa: SIM115
        self.doubt: UnprovenScanError | None = None
        try:
            for page in pages:
                # not `writelines`, which leaves memory for the disk only at its end
                self._file.write(json.dumps(page) + "\n")
        except UnprovenScanError as doubt:
            self.doubt = doubt
        except BaseException:
            self._file.close()
            raise
        self._file.seek(0)

    def read(self) -> Iterator[list[Any]]:
        """The pages; when all were read they are gone."""
        with self._file:
            yield from map(json.loads, self._file)

    def close(self) -> None:
        """Drop the pages, read or not."""
        self._file.close()
