"""What a scan counts: the rows that it gave, and the rows of a full page."""

from __future__ import annotations

import threading
from typing import Any

from ometria_source.api.connection import RequestHandle
from ometria_source.api.offset_scan import OffsetScan
from ometria_source.exceptions import AnswerTooLargeError

SOON = 30.0  # seconds within which a thread is expected to go on, however busy the machine

LIMIT = 250
FEWER = 62


class Rows:
    """A client of a collection whose rows are long from a row on: only so many of them fit into an answer."""

    requests_per_second = 4
    largest_answer = 0

    def __init__(self, rows: int, long_from: int) -> None:
        self.rows, self.long_from = rows, long_from
        self.limits: list[int] = []
        self.asked_ahead = 0
        self.has_refused = threading.Event()

    def get(self, path: str, params: dict[str, Any], *, handle: RequestHandle | None = None) -> list[dict[str, int]]:
        if handle is not None:
            handle.mark_sent()
        start, limit = params["offset"], params["limit"]
        self.limits.append(limit)
        self.asked_ahead += handle is not None and limit == FEWER
        if limit > FEWER and self.rows > start and start + limit > self.long_from:
            self.has_refused.set()
            raise AnswerTooLargeError(path, 1)
        if start and start < self.long_from and limit > FEWER:
            # the page before comes after the refusal
            assert self.has_refused.wait(SOON)
        return [{"id": number} for number in range(start, min(start + limit, self.rows))]


def test_a_full_page_that_comes_after_the_limit_fell_is_no_measure():
    """What follows is asked for ahead, as before, at one request for a page."""
    client = Rows(5_000, long_from=600)
    scan = OffsetScan(client, "/profiles")
    assert sum(len(page) for page in scan.pages()) == scan.rows == 5_000
    pages = 4_400 / (FEWER - 1)
    assert client.limits.count(FEWER) < pages * 1.3
    assert client.asked_ahead > pages * 0.7


def test_a_short_answer_that_is_the_whole_is_counted():
    scan = OffsetScan(Rows(7, long_from=10_000), "/lists/1/profiles", paged=False, size=7)
    assert [len(page) for page in scan.pages()] == [7]
    assert scan.rows == 7
