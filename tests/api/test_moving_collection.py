"""An offset scan of a collection that changes between any two requests: no row is lost, none comes twice, it ends.

The server here is a model of what the API may do, with nothing of the simulation in it: it applies the next changes,
then answers a slice. It stands behind a real socket in one test, and in the place of the client in the others, so that
hypothesis can try thousands of histories and shrink the one that fails.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest
from examples import examples
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from ometria_source.api.client import Account
from ometria_source.api.connection import RequestHandle
from ometria_source.api.offset_scan import OffsetScan
from ometria_source.api.pacing import RequestCancelledError

# A scan that needs more requests than this for a few dozen rows does not end.
FAR_TOO_MANY = 3000

Change = tuple[str, float]


@dataclass
class Collection:
    """Rows in an order that nobody tells, and what happens to them before each request.

    Args:
        size: Rows to begin with.
        clamp: The largest page that the server gives.
        shorter: How much of a page is given, request by request; whole ones after that.
        least: The fewest rows in an answer while there are as many to give.
        changes: What happens before each request: (kind, place as a share of the collection).
        grows_at_the_end: Whether new rows come at the end, wherever the change says.
    """

    size: int
    clamp: int
    shorter: list[float]
    least: int
    changes: list[list[Change]]
    grows_at_the_end: bool
    rows: list[int] = field(default_factory=list)
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.rows = list(range(self.size))
        self.always_there = set(self.rows)
        self.next_row = self.size

    def answer(self, limit: int, offset: int) -> list[dict[str, int]]:
        with self.lock:
            number, self.requests = self.requests, self.requests + 1
            assert number < FAR_TOO_MANY, "the scan does not end"
            for kind, place in self.changes[number] if number < len(self.changes) else ():
                self._change(kind, place)
            limit = min(limit, self.clamp)
            if number < len(self.shorter):
                limit = max(min(limit, self.least), int(limit * self.shorter[number]))
            return [{"id": row} for row in self.rows[offset : offset + limit]]

    def _change(self, kind: str, place: float) -> None:
        at = int(place * len(self.rows))
        if kind == "insert":
            self.rows.insert(len(self.rows) if self.grows_at_the_end else at, self.next_row)
            self.next_row += 1
        elif self.rows:
            row = self.rows.pop(at)
            if kind == "delete":
                self.always_there.discard(row)
            else:
                self.rows.insert(int((place * 7919) % 1 * (len(self.rows) + 1)), row)


class ModelClient:
    """Stands in for the client: asks the model without a socket between."""

    largest_answer = 0

    def __init__(self, collection: Collection, requests_per_second: float) -> None:
        self.requests_per_second = requests_per_second
        self._collection = collection

    def get(self, _path: str, params: dict[str, int], *, handle: RequestHandle | None = None) -> list[dict[str, int]]:
        if handle is not None and handle.cancelled.is_set():
            raise RequestCancelledError
        rows = self._collection.answer(params["limit"], params["offset"])
        if handle is not None:
            handle.mark_sent()
        return rows


def read(collection: Collection, page_limit: int, requests_per_second: float, paged: bool = True) -> list[int]:
    """The rows that a scan returns, in its order."""
    client = ModelClient(collection, requests_per_second)
    scan = OffsetScan(client, "/rows", paged=paged, page_limit=page_limit)
    rows = [row["id"] for page in scan.pages() for row in page]
    assert scan.repeated is None, "a server that honours `offset` was taken for one that does not"
    return rows


def changes(*kinds: str) -> st.SearchStrategy[list[list[Change]]]:
    place = st.floats(0, 1, exclude_max=True)
    between_two_requests = st.lists(st.tuples(st.sampled_from(kinds), place), max_size=3)
    return st.lists(between_two_requests, max_size=40)


@st.composite
def collections(draw: st.DrawFn, *kinds: str) -> Collection:
    """Either new rows come at the end, or no answer has a single row while there are two to give."""
    grows_at_the_end = draw(st.booleans())
    least = 1 if grows_at_the_end else 2
    return Collection(
        size=draw(st.integers(0, 30)),
        clamp=draw(st.integers(least, 12)),
        shorter=draw(st.one_of(st.lists(st.floats(0, 1), max_size=40), st.just([1, *[0.6] * 60]))),
        least=least,
        changes=draw(changes(*kinds)),
        grows_at_the_end=grows_at_the_end,
    )


# Pages ahead: one, eight, or as many as there may be.
RATES = st.sampled_from([0.1, 1.0, 4.0])
LIMITS = st.sampled_from([2, 5, 250])


@pytest.mark.thorough
@settings(max_examples=examples(1000), deadline=None, suppress_health_check=list(HealthCheck))
@example(Collection(10, 5, [], 2, [[], [("delete", 0.0)]], False), 5, 0.1, True)
@example(Collection(10, 5, [], 2, [[], [("delete", 0.45)]], False), 5, 0.1, True)
@example(Collection(3, 2, [], 2, [[], [], [("delete", 0.0)]], False), 2, 0.1, True)
@example(Collection(10, 5, [], 2, [[], [], [], [("delete", 0.0)] * 9], False), 5, 4.0, True)
@given(collections("insert", "delete"), LIMITS, RATES, st.booleans())
def test_every_row_that_is_there_throughout_is_returned_once(collection, page_limit, rate, paged):
    """Whether paging is documented for the collection or not."""
    rows = read(collection, page_limit, rate, paged)

    assert len(rows) == len(set(rows))
    assert collection.always_there <= set(rows)
    event(f"{len(collection.always_there)} of {collection.size} rows are there throughout")


@pytest.mark.thorough
@settings(max_examples=examples(500), deadline=None, suppress_health_check=list(HealthCheck))
@given(collections("insert", "delete", "move"), LIMITS, RATES)
def test_when_rows_move_as_well_none_comes_twice_and_the_scan_ends(collection, page_limit, rate):
    rows = read(collection, page_limit, rate)

    assert len(rows) == len(set(rows))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(collections("insert", "delete"), st.integers(0, 40), RATES)
def test_a_size_changes_nothing_unless_the_first_answer_has_as_many_rows(collection, size, rate):
    """Then one answer is the whole, as the collection was at that time."""
    scan = OffsetScan(ModelClient(collection, rate), "/rows", paged=False, size=size)

    rows = [row["id"] for page in scan.pages() for row in page]

    assert len(rows) == len(set(rows))
    if collection.requests == 1:
        assert len(rows) in (0, size)
        assert len(rows) % 10 != 0 or not rows
    else:
        assert collection.always_there <= set(rows)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 40), st.integers(1, 12), st.lists(st.floats(0, 1), max_size=40), RATES)
def test_a_collection_that_stands_still_is_returned_in_its_order(size, clamp, shorter, rate):
    rows = read(Collection(size, clamp, shorter, 1, [], False), 250, rate)

    assert rows == list(range(size))


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    """Serves `server.collection` over HTTP, whichever that is at the time."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            query = dict(parse_qsl(urlsplit(self.path).query))
            body = json.dumps(self.server.collection.answer(int(query["limit"]), int(query["offset"]))).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.daemon_threads = True
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


@pytest.mark.thorough
@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(collections("insert", "delete"), LIMITS)
def test_over_real_sockets_with_pages_in_flight_no_row_is_lost_either(server, collection, page_limit):
    server.collection = collection
    client = Account(f"http://127.0.0.1:{server.server_port}", "key", 100_000, 0.05).client("rows")
    scan = OffsetScan(client, "/rows", paged=True, page_limit=page_limit)

    rows = [row["id"] for page in scan.pages() for row in page]

    assert scan.repeated is None
    assert len(rows) == len(set(rows))
    assert collection.always_there <= set(rows)
