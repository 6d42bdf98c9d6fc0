"""A scan of a path whose paging is not documented: whole by evidence, or unproven with all that came, never refused.

The server is a model in the place of the client, with nothing of the simulation in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from ometria_source.api.connection import RequestHandle
from ometria_source.api.offset_scan import scan
from ometria_source.api.prefetch import Spool
from ometria_source.constants import PAGE_LIMIT
from ometria_source.exceptions import IncompleteScanError, UnprovenScanError

ROWS = (1, 9, 10, 11, 249, 250, 251)
FAR_TOO_MANY = 500


@dataclass
class Server:
    """A collection that stands still.

    Args:
        rows: How many there are.
        cap: The most rows in one answer; None: as many as there are.
        limited: Whether `limit` is honoured.
        paged: Whether `offset` is honoured.
    """

    rows: int
    cap: int | None
    limited: bool
    paged: bool
    requests_per_second = 0.1
    largest_answer = 0
    requests = 0

    def get(self, _path: str, params: dict[str, Any], *, handle: RequestHandle | None = None) -> list[dict[str, int]]:
        self.requests += 1
        assert self.requests < FAR_TOO_MANY, "the scan does not end"
        if handle is not None:
            handle.mark_sent()
        rows = range(self.rows)[params["offset"] if self.paged else 0 :]
        rows = rows[: params["limit"] if self.limited else None][: self.cap]
        return [{"id": row} for row in rows]

    @property
    def first(self) -> int:
        """The rows of the first answer."""
        return len(self.get("", {"limit": PAGE_LIMIT, "offset": 0}))


def read(server: Server, size: int | None) -> tuple[list[int], bool]:
    """The rows that a scan yields, and whether it is sure that they are all."""
    rows: list[int] = []
    try:
        for page in scan(server, "/rows", paged=False, size=size):
            rows += [row["id"] for row in page]
    except UnprovenScanError:
        return rows, False
    return rows, True


def matrix() -> list[tuple[Server, int | None]]:
    """Every number of rows, on every server, with every `size`."""
    return [
        (Server(rows, cap, limited, paged), None if off is None else rows + off)
        for rows, cap, limited, paged, off in product(
            ROWS, (None, 10, 250), (True, False), (True, False), (0, -1, 1, -9, 9, None)
        )
    ]


def test_no_account_is_refused_and_a_whole_answer_is_never_in_doubt_where_size_is_right():
    for server, size in matrix():
        rows, is_whole = read(server, size)
        case = f"{server}, size {size}"
        assert rows == list(range(len(rows))), case
        if server.paged:
            assert is_whole, case
            # a server that pages is read to its end, unless `size` happens to be that of a short first answer
            assert len(rows) == server.rows, case
        elif server.first == server.rows and size == server.rows:
            assert is_whole, case
        elif len(rows) not in (10, PAGE_LIMIT):
            assert is_whole, case
            assert len(rows) == server.rows, case
        else:
            assert is_whole == (size == len(rows)), case


@settings(max_examples=150)
@given(
    st.builds(
        Server,
        rows=st.integers(0, 40),
        cap=st.sampled_from([None, 1, 5, 10]),
        limited=st.booleans(),
        paged=st.booleans(),
    ),
    st.one_of(st.none(), st.integers(0, 40)),
    st.sampled_from([5, 12, 250]),
)
def test_what_is_called_whole_is_whole_except_where_the_evidence_misleads(server, size, page_limit):
    rows: list[int] = []
    try:
        for page in scan(server, "/rows", paged=False, size=size, page_limit=page_limit):
            rows += [row["id"] for row in page]
    except UnprovenScanError:
        assert not server.paged
        assert len(rows) in (10, page_limit)
        assert len(rows) != size
        event("unproven")
        return
    assert len(rows) == len(set(rows))
    if len(rows) < server.rows:
        # `size` is as wrong as the answer is short, or the answer is cut at a number that no page of Ometria's has
        assert len(rows) == size or (not server.paged and len(rows) in (1, 5))
        event("misled")


@pytest.mark.parametrize("rows", ROWS)
def test_one_request_is_enough_where_size_equals_a_short_answer(rows):
    server = Server(rows, None, limited=True, paged=True)

    assert read(server, rows) == (list(range(rows)), True)
    assert (server.requests == 1) == (rows < PAGE_LIMIT and rows != 10)


def test_a_stale_size_as_large_as_a_page_does_not_end_the_scan_of_a_server_that_pages():
    assert read(Server(97, 10, limited=True, paged=True), 10) == (list(range(97)), True)


class OnlyAtTheStart(Server):
    """Answers nothing at any other offset than 0."""

    def get(self, path: str, params: dict[str, Any], *, handle: RequestHandle | None = None) -> list[dict[str, int]]:
        return [] if params["offset"] else super().get(path, params, handle=handle)


def test_a_server_without_any_offset_is_unproven_too():
    assert read(OnlyAtTheStart(30, None, limited=False, paged=False), None) == (list(range(30)), False)
    assert read(OnlyAtTheStart(33, None, limited=False, paged=False), 33) == (list(range(33)), True)


def test_of_a_path_that_is_documented_as_paged_nothing_is_believed():
    server = Server(30, None, limited=False, paged=False)

    with pytest.raises(IncompleteScanError) as refusal:
        list(scan(server, "/rows", size=30))
    assert not isinstance(refusal.value, UnprovenScanError)


def test_pages_in_doubt_are_spooled_with_the_doubt():
    spool = Spool(scan(Server(10, None, limited=False, paged=False), "/rows", paged=False))

    assert str(spool.doubt)
    assert [row["id"] for page in spool.read() for row in page] == list(range(10))
    assert Spool(scan(Server(11, None, limited=False, paged=False), "/rows", paged=False)).doubt is None
