"""Answers that are read at the same time are bounded together, and each of them is read in the end."""

from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_api import HEAD, plain, serving

from ometria_source.api import client as client_module
from ometria_source.api.answer_budget import AnswerBudget
from ometria_source.api.client import Account
from ometria_source.api.connection import RequestHandle
from ometria_source.api.pacing import RequestCancelledError

SOON = 30.0  # seconds within which a thread is expected to go on, however busy the machine

MOST = 100_000

# Almost as long as one answer may be.
BODY = json.dumps([{"id": "1", "text": "x" * 90_000}]).encode()


@pytest.fixture
def bounded(monkeypatch) -> Counter[str]:
    """Answers of 100,000 bytes; counts the bytes of those that are read or parsed: `now`, and at `most`."""
    counts: Counter[str] = Counter()
    lock = threading.Lock()
    read, rows = client_module._unpacked, client_module._rows

    def counted(response):
        for piece in read(response):
            yield piece
            # the caller that takes the next piece has kept this one
            with lock:
                counts["now"] += len(piece)
                counts["most"] = max(counts["most"], counts["now"])

    def parsed(body):
        try:
            return rows(body)
        finally:
            with lock:
                counts["now"] -= len(body)

    monkeypatch.setattr(client_module, "MAX_ANSWER_BYTES", MOST)
    monkeypatch.setattr(client_module, "PIECE_BYTES", 1_000)
    monkeypatch.setattr(client_module, "FIRST_WAIT", 0.005)
    monkeypatch.setattr(client_module, "_unpacked", counted)
    monkeypatch.setattr(client_module, "_rows", parsed)
    return counts


def test_many_answers_at_once_take_the_room_of_two(bounded):
    """All are under way before the first has come to its end."""
    together = threading.Barrier(16)

    def answer(*_):
        yield f"{HEAD}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY[:50_000]
        together.wait(SOON)
        yield BODY[50_000:]

    with serving(answer) as address, ThreadPoolExecutor(16) as threads:
        clients = [Account(address, "key", 1000, 0.1).client("lists") for _ in range(2)]
        found = list(threads.map(lambda n: clients[n % 2].get("/lists", {}), range(16)))
        assert sum(client.retries for client in clients) == 0

    assert [len(rows) for rows in found] == [1] * 16
    assert bounded["now"] == 0
    assert bounded["most"] <= 2 * MOST


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_an_answer_that_waits_for_room_can_be_cancelled(bounded, how):
    """The first holds all the room, and does not go on before the second has ended."""
    go_on, is_full = threading.Event(), threading.Event()

    def answer(path, _):
        if path == "/second":
            assert is_full.wait(SOON)
            return plain(BODY)
        return held()

    def held():
        yield f"{HEAD}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY[:-1]
        is_full.set()
        assert go_on.wait(SOON)
        yield BODY[-1:]

    with serving(answer) as address, ThreadPoolExecutor(2) as threads:
        first, second = (Account(address, "key", 1000, 0.1).client("lists") for _ in range(2))
        handle = RequestHandle()
        one = threads.submit(first.get, "/first", {})
        assert is_full.wait(SOON)
        two = threads.submit(second.get, "/second", {}, handle=handle)
        handle.cancel() if how == "cancel" else second.close()
        with pytest.raises(RequestCancelledError):
            two.result(SOON)
        go_on.set()
        assert len(one.result(SOON)) == 1


def test_an_answer_that_waits_for_room_is_not_overdue(bounded, monkeypatch):
    """The second waits for longer than a whole answer may take, and its last byte comes after that."""
    monkeypatch.setattr(client_module, "LONGEST_ANSWER", 0.5)
    rows = client_module._rows
    is_full, is_free = threading.Event(), threading.Event()

    def slow(body):
        if not is_full.is_set():
            is_full.set()
            is_free.wait(1.0)
        is_free.set()
        return rows(body)

    def answer(path, _):
        yield f"{HEAD}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY[:-1]
        assert path == "/first" or is_free.wait(SOON)
        yield BODY[-1:]

    monkeypatch.setattr(client_module, "_rows", slow)
    with serving(answer) as address, ThreadPoolExecutor(2) as threads:
        client = Account(address, "key", 1000, 0.1).client("lists")
        one = threads.submit(client.get, "/first", {})
        assert is_full.wait(SOON)
        two = threads.submit(client.get, "/second", {})
        assert len(one.result(SOON)) == len(two.result(SOON)) == 1
    assert client.retries == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=5), min_size=1, max_size=6))
def test_whatever_their_sizes_all_answers_are_read(answers):
    """No deadlock, and no more than the bound besides the oldest."""
    budget, lock = AnswerBudget(), threading.Lock()
    now: dict[int, int] = {}
    most = []

    def read(number):
        size = 0
        for piece in answers[number]:
            size += piece
            budget.admit(answers[number], size, 100, lambda: False, nullcontext)
            with lock:
                now[number] = size
                most.append(sum(now.values()))
        with lock:
            del now[number]
        budget.release(answers[number])

    answers = [Pieces(pieces) for pieces in answers]
    with ThreadPoolExecutor(len(answers)) as threads:
        list(threads.map(read, range(len(answers)), timeout=SOON))
    assert max(most) <= 100 + max(map(sum, answers))


class Pieces(list):
    """The sizes of an answer's pieces; each is another, whatever is in it."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__
