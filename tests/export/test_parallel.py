"""Several files are read at a time, a bounded number of tables ahead."""

from __future__ import annotations

import threading
from itertools import count
from queue import Empty

import pytest

from ometria_source.export import parallel as module
from ometria_source.export.parallel import MOST_READERS, MOST_WAITING, in_parallel

PATIENCE = 30


def results(items, work):
    return [result for result in in_parallel(items, work) if result is not None]


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ometria-export")]


def await_readers():
    for thread in readers():
        thread.join(PATIENCE)
    assert not readers()


@pytest.mark.parametrize("items", [0, 1, MOST_READERS, 100])
def test_all_results_of_all_items_come_once_and_those_of_one_item_in_order(items):
    found = results(range(items), lambda item: iter([(item, place) for place in range(20)]))
    assert sorted(found) == [(item, place) for item in range(items) for place in range(20)]
    for item in range(items):
        assert [place for owner, place in found if owner == item] == list(range(20))
    await_readers()


def test_items_are_worked_on_at_the_same_time():
    together = threading.Barrier(MOST_READERS)

    def work(item):
        together.wait(PATIENCE)
        yield item

    assert sorted(results(range(MOST_READERS), work)) == list(range(MOST_READERS))


@pytest.mark.parametrize("error", [ValueError("broken"), Empty(), KeyboardInterrupt()])
def test_an_error_is_raised_and_ends_the_other_readers(error):
    def work(item):
        if item == 3:
            raise error
        yield from count()

    with pytest.raises(type(error)) as caught:
        for _ in in_parallel(range(10), work):
            pass
    assert caught.value is error
    await_readers()


def test_readers_end_when_nobody_takes_their_results_any_more():
    working = in_parallel(range(10), lambda _: count())
    next(working)
    working.close()
    # a thread that is inside Arrow when the program ends can bring it down
    assert not readers()


def test_the_end_does_not_wait_for_a_reader_that_hangs(monkeypatch):
    monkeypatch.setattr(module, "LAST_SECONDS", 0.0)
    answered = threading.Event()

    def hang(_):
        answered.wait(PATIENCE)
        yield 1

    working = in_parallel(range(10), hang)
    next(working)
    working.close()
    assert readers()
    answered.set()
    await_readers()


def test_no_more_is_read_ahead_than_may_wait():
    made: list[int] = []

    def work(_):
        for number in count():
            made.append(number)
            yield number

    working = in_parallel(range(MOST_READERS), work)
    max_prefetch = taken = 0
    while taken < 1_000:
        taken += next(working) is not None
        max_prefetch = max(max_prefetch, len(made) - taken)
    working.close()
    # one more each, that is made while another is taken
    assert max_prefetch <= 2 * MOST_READERS + MOST_WAITING
