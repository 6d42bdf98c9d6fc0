"""An answer is bounded before it is unpacked, parsed or waited for."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest
from raw_api import HEAD, endless, packed, page, plain, serving

from ometria_source.api import client as client_module
from ometria_source.api import offset_scan, window_scan
from ometria_source.api.client import Account, OmetriaClient
from ometria_source.api.offset_scan import scan
from ometria_source.api.prefetch import max_prefetch
from ometria_source.exceptions import (
    AccessDeniedError,
    AnswerTooLargeError,
    EndlessScanError,
    IncompleteScanError,
    NotFoundError,
    UnavailableError,
    UnexpectedAnswerError,
)
from ometria_source.json_values import MAX_LOOSE_DEPTH
from ometria_source.sync.metrics import UNPROVEN
from ometria_source.tables import collections, contacts, list_changes, lists, push_errors


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(client_module, "FIRST_WAIT", 0.005)


@pytest.fixture
def small_answers(monkeypatch) -> int:
    """A bound of 10,000 bytes."""
    monkeypatch.setattr(client_module, "MAX_ANSWER_BYTES", 10_000)
    monkeypatch.setattr(client_module, "PIECE_BYTES", 1_000)
    return 10_000


def client_at(address: str, patience_minutes: float = 0.001) -> OmetriaClient:
    return Account(address, "key", 1000, patience_minutes).client("profiles")


def ask(answer: Callable[..., object]) -> list[dict[str, object]]:
    with serving(answer) as address:
        return client_at(address).get("/profiles", {})


ROWS = [{"id": str(number), "text": "x" * 100} for number in range(60)]


@pytest.mark.parametrize("form", [plain, packed])
def test_an_answer_within_the_bound_is_read(small_answers, form):
    assert ask(lambda *_: form(json.dumps(ROWS).encode())) == ROWS


@pytest.mark.parametrize(
    "answer",
    [
        lambda *_: plain(json.dumps(ROWS * 2).encode()),
        lambda *_: packed(json.dumps(ROWS * 2).encode()),
        lambda *_: endless(b"[" + b" " * 10_000),
        lambda *_: endless(b" " * 100_000, as_gzip=True),
        lambda *_: f"{HEAD}Content-Length: {10**12}\r\n\r\n".encode(),
    ],
    ids=["plain", "packed", "endless", "bomb", "announced"],
)
def test_an_answer_beyond_the_bound_is_refused_at_once(small_answers, answer):
    requests = []

    def counted(*arguments: object) -> object:
        requests.append(arguments)
        return answer(*arguments)

    with pytest.raises(AnswerTooLargeError, match="/profiles answers with more than 0 MiB"):
        ask(counted)
    assert len(requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b"[]")[:-4],                                # cut before its end
        gzip.compress(b'[{"id": "1"}]')[:12] + b"x" * 20,        # damaged
        b"[]",                                                    # not packed at all
    ],
    ids=["cut", "damaged", "plain"],
)  # fmt: skip
def test_what_cannot_be_unpacked_is_no_answer(body):
    head = f"{HEAD}Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with pytest.raises(UnavailableError):
        ask(lambda *_: head + body)


def test_an_encoding_that_was_not_asked_for_is_no_answer():
    with pytest.raises(UnavailableError, match="encoding"):
        ask(lambda *_: f"{HEAD}Content-Encoding: br\r\nContent-Length: 2\r\n\r\n[]".encode())


def test_gzip_of_several_members_is_one_answer():
    body = gzip.compress(b'[{"id": ') + gzip.compress(b'"1"}]')
    head = f"{HEAD}Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    assert ask(lambda *_: head + body) == [{"id": "1"}]


@pytest.mark.parametrize("behind", [b"\0" * 8, b"\0" * 70_000, b"xx", b"x" * 70_000])
@pytest.mark.parametrize("members", [1, 2])
def test_what_lies_behind_gzip_is_passed_over(behind, members):
    """As `gzip` does with zeros, and urllib3 with anything."""
    texts = [b'[{"id": ', b'"1"}]'] if members == 2 else [b'[{"id": "1"}]']
    body = b"".join(map(gzip.compress, texts)) + behind
    head = f"{HEAD}Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    assert ask(lambda *_: head + body) == [{"id": "1"}]


@pytest.mark.parametrize("cut", [1, 4, 12, 20])
def test_a_second_member_without_its_end_is_no_answer(cut):
    body = gzip.compress(b'[{"id": "1"}]') + gzip.compress(b" " * 100)[:-cut]
    head = f"{HEAD}Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with pytest.raises(UnavailableError):
        ask(lambda *_: head + body)


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AccessDeniedError), (403, AccessDeniedError), (404, NotFoundError), (400, UnexpectedAnswerError)],
)
@pytest.mark.parametrize("body", [b"Content-Length: 100\r\n\r\nno", b"Transfer-Encoding: chunked\r\n\r\n9\r\nno"])
def test_a_refusal_is_one_however_its_body_ends(status, error, body):
    """The status is known; the connection breaks in the middle of the body."""
    with pytest.raises(error):
        ask(lambda *_: f"HTTP/1.1 {status} No\r\n".encode() + body)


@pytest.mark.parametrize("status", ["102 Processing", "103 Early Hints"])
@pytest.mark.parametrize("times", [1, 3])
def test_interim_answers_are_passed_over(status, times):
    hint = f"HTTP/1.1 {status}\r\nLink: </style.css>; rel=preload\r\n\r\n".encode() * times
    assert ask(lambda *_: hint + plain(b'[{"id": "1"}]')) == [{"id": "1"}]


@pytest.mark.parametrize("levels", [250, 400, 1_000, 2_000, 100_000])
def test_what_is_nested_deep_comes_as_json_text(levels):
    """However deep: the text holds all of it, and the other rows are as they were."""
    deep = b"[" * levels + b'"bottom"' + b"]" * levels
    found = ask(lambda *_: plain(b'[{"id": "1", "a": ' + deep + b'}, {"id": "2"}]'))

    assert found[1] == {"id": "2"}
    value, depth = found[0]["a"], 0
    while isinstance(value, list):
        (value,), depth = value, depth + 1
    assert depth == min(levels, MAX_LOOSE_DEPTH - 2)
    assert value.count("[") == levels - depth
    assert "bottom" in value


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1e999", "1e999"), ("-1e999", "-1e999"), ("NaN", "NaN"), ("-Infinity", "-Infinity"),
        ("9" * 5_000, "9" * 5_000), (str(2**63), str(2**63)), (str(2**63 - 1), 2**63 - 1), (str(-(2**63)), -(2**63)),
        ("0.1", 0.1), ("1E5", 1e5), ("-0.0", -0.0),
    ],
)  # fmt: skip
def test_a_number_that_no_column_holds_is_the_text_that_it_was(written, expected):
    assert ask(lambda *_: plain(f'[{{"id": 1, "a": {written}, "b": [{written}]}}]'.encode())) == [
        {"id": 1, "a": expected, "b": [expected]}
    ]


def test_a_scan_asks_for_fewer_rows_where_pages_are_too_long(small_answers):
    """Rows of 900 bytes, of which eleven fit; all come once."""
    rows = [{"id": str(number), "text": "x" * 880} for number in range(300)]
    limits = []

    def answer(_: str, query: dict[str, str]) -> bytes:
        limits.append(int(query["limit"]))
        return page(rows, query)

    with serving(answer) as address:
        found = [row for some in scan(client_at(address), "/profiles") for row in some]

    assert sorted(row["id"] for row in found) == sorted(row["id"] for row in rows)
    assert limits[:4] == [250, 62, 15, 3]
    assert set(limits[4:]) == {3}


def test_where_fewer_rows_do_not_help_the_scan_says_so(small_answers):
    with serving(lambda *_: plain(json.dumps(ROWS * 2).encode())) as address, pytest.raises(AnswerTooLargeError):
        list(scan(client_at(address), "/lists", paged=False))


def test_a_page_of_the_reduced_size_that_comes_again_and_again_looks_cut(small_answers):
    """`limit` is honoured, `offset` is not: what lies behind the page cannot be known."""
    rows = [{"id": str(number), "text": "x" * 880} for number in range(300)]
    answer = serving(lambda _, query: page(rows, {**query, "offset": "0"}))
    with answer as address, pytest.raises(IncompleteScanError):
        list(scan(client_at(address), "/lists", paged=False))


def test_a_scan_without_end_stops(monkeypatch):
    monkeypatch.setattr(offset_scan, "MAX_SCAN_ROWS", 2_000)

    def answer(_: str, query: dict[str, str]) -> bytes:
        start = int(query["offset"])
        return plain(json.dumps([{"id": n} for n in range(start, start + int(query["limit"]))]).encode())

    with serving(answer) as address, pytest.raises(EndlessScanError, match="/profiles gives new rows without end"):
        list(scan(client_at(address), "/profiles"))


@pytest.mark.parametrize(
    "read",
    [
        lambda client: list(lists.list_pages(client)),
        lambda client: list(collections.collection_pages(client)),
        contacts._collections,
        lambda client: list(list_changes._Lists(client, window_scan.END_OF_TIME, ()).changes({UNPROVEN: 0})),
        lambda client: list(push_errors.error_pages(client)),
    ],
    ids=["lists", "collections", "collections of contacts", "lists of changes", "push errors"],
)
def test_what_is_kept_in_memory_has_a_bound_of_its_own(monkeypatch, read):
    """Rows without end of a table whose rows a run gathers."""
    for module in (lists, collections):
        monkeypatch.setattr(module, "MOST_IN_MEMORY", 2_000)
    asked = []

    def answer(_: str, query: dict[str, str]) -> bytes:
        start = int(query["offset"])
        asked.append(start)
        rows = [{"id": str(n)} for n in range(start, start + int(query["limit"]))]
        return plain(json.dumps(rows).encode())

    with serving(answer) as address, pytest.raises(EndlessScanError, match="gives new rows without end"):
        read(client_at(address))
    assert max(asked) < 12_000


def test_few_large_pages_are_asked_for_at_a_time():
    assert max_prefetch(3, 250_000) == max_prefetch(3) == 24
    assert max_prefetch(3, 10 << 20) == 3
    assert max_prefetch(3, 60 << 20) == 1


def test_a_window_with_too_long_an_answer_is_halved(small_answers):
    rows = [{"timestamp": f"2024-01-{day:02d} 00:00:00+00", "text": "x" * 880} for day in range(1, 29)]
    assert events(unpaged(rows)) == sorted(row["timestamp"] for row in rows)


def test_a_second_with_too_long_an_answer_is_refused(small_answers):
    rows = [{"timestamp": "2024-01-05 00:00:00+00", "n": n, "text": "x" * 880} for n in range(28)]
    with pytest.raises(AnswerTooLargeError):
        events(unpaged(rows))


def test_a_window_with_too_many_rows_is_halved(monkeypatch):
    monkeypatch.setattr(window_scan, "MAX_WINDOW_ROWS", 300)
    rows = [{"timestamp": f"2024-01-{n % 28 + 1:02d} 00:00:{n // 28:02d}+00", "n": n} for n in range(1_000)]

    assert events(paged(rows)) == sorted(row["timestamp"] for row in rows)


def test_a_second_with_more_rows_than_a_window_should_have_is_read(monkeypatch):
    """An import of opt-outs with one time, among others."""
    monkeypatch.setattr(window_scan, "WINDOW_ROWS", 100)
    monkeypatch.setattr(window_scan, "MAX_WINDOW_ROWS", 300)
    rows = [{"timestamp": f"2024-01-{day:02d} 00:00:00+00", "n": -day} for day in range(1, 29)]
    rows += [{"timestamp": "2024-01-05 12:00:00+00", "n": n} for n in range(1_003)]

    assert events(paged(rows)) == sorted(row["timestamp"] for row in rows)


@pytest.mark.parametrize(("rows_of_log", "pages"), [(250, True), (253, False), (1_003, True), (1_003, False)])
def test_a_log_that_ignores_the_bounds_is_read(monkeypatch, rows_of_log, pages):
    """More or fewer rows than a window should have; narrower windows would not help."""
    monkeypatch.setattr(window_scan, "WINDOW_ROWS", 100)
    monkeypatch.setattr(window_scan, "MAX_WINDOW_ROWS", 300)
    rows = [{"timestamp": f"2024-01-{n % 28 + 1:02d} 00:00:00+00", "n": n} for n in range(rows_of_log)]
    requests = []

    def answer(_: str, query: dict[str, str]) -> bytes:
        requests.append(query)
        return page(rows, query) if pages else plain(json.dumps(rows).encode())

    assert events(answer) == sorted(row["timestamp"] for row in rows)
    assert len(requests) < 100


def test_a_log_that_never_ends_is_refused(monkeypatch):
    monkeypatch.setattr(window_scan, "MAX_WINDOW_ROWS", 300)
    monkeypatch.setattr(offset_scan, "MAX_SCAN_ROWS", 1_000)

    def answer(_: str, query: dict[str, str]) -> bytes:
        start = int(query["offset"])
        row = {"timestamp": "2024-01-05 00:00:00+00"}
        return plain(json.dumps([{**row, "n": n} for n in range(start, start + 250)]).encode())

    with pytest.raises(EndlessScanError):
        events(answer)


def unpaged(rows: list[dict[str, object]]) -> Callable[[str, dict[str, str]], bytes]:
    """A log that answers a whole window, as Ometria documents it."""

    def answer(_: str, query: dict[str, str]) -> bytes:
        since, before = (query[name].replace("T", " ") + "+00" for name in ("since", "before"))
        return plain(json.dumps([row for row in rows if since <= str(row["timestamp"]) < before]).encode())

    return answer


def paged(rows: list[dict[str, object]]) -> Callable[[str, dict[str, str]], bytes]:
    """The same log, which honours `limit` and `offset`."""
    within = unpaged(rows)

    def answer(path: str, query: dict[str, str]) -> bytes:
        return page(json.loads(within(path, query).partition(b"\r\n\r\n")[2]), query)

    return answer


def events(answer: Callable[[str, dict[str, str]], bytes]) -> list[str]:
    """The times of the distinct rows of a log of January 2024."""
    start, now = (window_scan.datetime(2024, month, 1, tzinfo=window_scan.timezone.utc) for month in (1, 2))
    with serving(answer) as address:
        log = window_scan.WindowScan(
            client_at(address),
            "/unsubscribes",
            now,
            lambda row: window_scan.datetime.fromisoformat(str(row["timestamp"]).replace("+00", "+00:00")),
        )
        found = {json.dumps(row): str(row["timestamp"]) for rows in log.read(start) for row in rows}
    return sorted(found.values())
