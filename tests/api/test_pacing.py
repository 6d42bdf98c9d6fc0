"""The pace of all requests to one account, in a time that only the tests move."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Generator
from itertools import pairwise
from threading import Barrier, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ometria_source.api.client import Account
from ometria_source.api.pacing import SLOWEST_SHARE, Pacer, shared_pacer
from ometria_source.simulator import SimulatedOmetria


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def pacer(time) -> Pacer:
    return Pacer(4, time.clock, time.sleep)


def turns(pacer: Pacer, time: Time, count: int) -> list[float]:
    """When the next turns came."""
    at = []
    for _ in range(count):
        pacer.wait_for_turn()
        at.append(time.now)
    return at


def gaps(at: list[float]) -> list[float]:
    return [round(later - earlier, 6) for earlier, later in pairwise(at)]


def test_the_first_turn_comes_at_once_and_the_others_evenly_spaced(pacer, time):
    at = turns(pacer, time, 9)

    assert at[0] == 1000.0
    assert gaps(at) == [0.25] * 8


def test_idle_time_is_not_saved_up_for_a_burst(pacer, time):
    turns(pacer, time, 3)
    time.now += 60

    assert gaps(turns(pacer, time, 5)) == [0.25] * 4


def test_a_complaint_halves_the_pace(pacer, time):
    turns(pacer, time, 2)
    pacer.slow_down(0)

    assert gaps(turns(pacer, time, 4))[1:] == [0.5] * 2


def test_nobody_has_a_turn_during_the_pause_that_the_server_asked_for(pacer, time):
    turns(pacer, time, 1)
    pacer.slow_down(30)

    assert turns(pacer, time, 1) == [1030.0]


def test_a_shorter_pause_does_not_cut_a_longer_one(pacer, time):
    pacer.slow_down(30)
    pacer.slow_down(1)

    assert turns(pacer, time, 1) == [1030.0]


def test_good_answers_bring_the_full_pace_back_and_no_more(pacer, time):
    pacer.slow_down(0)
    steps = 0
    while gaps(turns(pacer, time, 3))[1] > 0.25:
        pacer.recover()
        steps += 1
        assert steps < 100

    assert 15 <= steps <= 25
    for _ in range(100):
        pacer.recover()
    assert gaps(turns(pacer, time, 4))[1:] == [0.25] * 2


def test_however_many_complaints_come_the_pace_never_stands_still(pacer, time):
    for _ in range(50):
        pacer.slow_down(0)

    assert gaps(turns(pacer, time, 4))[1:] == [round(0.25 / SLOWEST_SHARE, 6)] * 2


def test_one_account_has_one_pacer_and_the_latest_setting_holds(time):
    first = shared_pacer("an account", 4)

    assert shared_pacer("an account", 8) is first
    assert shared_pacer("another account", 8) is not first


def test_clients_of_one_account_share_its_pace_and_keep_within_a_strict_limit(account):
    with SimulatedOmetria(account) as ometria:
        settings = Account(ometria.base_url, ometria.api_key, 40, 0.1)
        clients = [settings.client(table) for table in ("profiles", "lists", "unsubscribes", "member_lists")]
        start = Barrier(len(clients))

        def read(client) -> None:
            start.wait()
            for _ in range(5):
                client.get("/lists", {})

        threads = [Thread(target=read, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        arrivals = sorted(request.at for request in ometria.requests)

    assert len(arrivals) == 20
    assert arrivals[-1] - arrivals[0] >= 19 / 40 - 0.1  # a slow machine may delay the first one


class Threads:
    """Callers of one pacer that take their steps in the order that the test chose, in the test's time.

    `Pacer` sleeps with its lock released, so a caller that sleeps is parked here until its time has come.
    """

    class _ParkedError(Exception):
        def __init__(self, until: float) -> None:
            self.until = until

    def __init__(self, rate: float) -> None:
        self.now = 0.0
        self.sent: list[float] = []
        self.parked: list[tuple[float, int]] = []
        self.pacer = Pacer(rate, lambda: self.now, self._park)

    def _park(self, seconds: float) -> None:
        raise self._ParkedError(self.now + seconds)

    def call(self) -> None:
        try:
            self.pacer.wait_for_turn()
        except self._ParkedError as parked:
            # a caller has its turn when it wakes, and nothing between parking and waking depends on it
            heapq.heappush(self.parked, (parked.until, len(self.sent)))
        else:
            self.sent.append(self.now)

    def pass_time(self, seconds: float) -> Generator[None]:
        end = self.now + seconds
        while self.parked and self.parked[0][0] <= end:
            self.now, _ = heapq.heappop(self.parked)
            self.sent.append(self.now)
            yield
        self.now = end


STEPS = st.one_of(
    st.just(("call", 0.0)),
    st.just(("recover", 0.0)),
    st.tuples(st.just("pass"), st.floats(0, 3)),
    st.tuples(st.just("slow_down"), st.floats(0, 2)),
)


@given(st.floats(0.5, 20), st.lists(STEPS, max_size=80), st.lists(STEPS, max_size=20))
def test_no_interleaving_lets_more_than_the_rate_and_one_into_a_second(rate, steps, meanwhile):
    threads = Threads(rate)
    others = iter(meanwhile)

    def take(step: tuple[str, float]) -> None:
        kind, amount = step
        if kind == "call":
            threads.call()
        elif kind == "recover":
            threads.pacer.recover()
        elif kind == "slow_down":
            threads.pacer.slow_down(amount)
        else:
            for _ in threads.pass_time(amount):
                # somebody else acts just when a turn has come
                other = next(others, ("recover", 0.0))
                if other[0] != "pass":
                    take(other)

    for step in steps:
        take(step)
    take(("pass", 1e6))

    calls = sorted(threads.sent)
    for at in calls:
        within = bisect_left(calls, at + 1 - 1e-9) - bisect_left(calls, at)
        assert within <= rate + 1
