"""The pace of all requests to one account, in a time that only the tests move."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier, Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ometria_source.api.client import Account
from ometria_source.api.pacing import GUARD, SLOWEST_SHARE, Pacer, RequestCancelledError, shared_pacer
from ometria_source.constants import ENDPOINT_LIMITS
from ometria_source.simulator import Behaviour, SimulatedOmetria

# Between two turns of four a second.
SPACING = round((1 + GUARD) / 4, 6)


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.overslept = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds + self.overslept


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def pacer(time) -> Pacer:
    return Pacer(4, 1, time.clock, time.sleep)


def turns(pacer: Pacer, time: Time, count: int) -> list[float]:
    """When the next turns came."""
    at = []
    for _ in range(count):
        with pacer.turn():
            at.append(time.now)
    return at


def gaps(at: list[float]) -> list[float]:
    return [round(later - earlier, 6) for earlier, later in pairwise(at)]


def test_the_first_turn_comes_at_once_and_the_others_evenly_spaced(pacer, time):
    at = turns(pacer, time, 9)

    assert at[0] == 1000.0
    assert gaps(at) == pytest.approx([SPACING] * 8)


def test_the_guard_costs_less_than_a_twentieth_of_the_rate(pacer, time):
    at = turns(pacer, time, 401)

    assert 0.95 < 400 / (at[-1] - at[0]) / 4 < 0.96


def test_idle_time_is_not_saved_up_for_a_burst(pacer, time):
    turns(pacer, time, 3)
    time.now += 60

    assert gaps(turns(pacer, time, 5)) == pytest.approx([SPACING] * 4)


def test_who_oversleeps_a_little_delays_nobody_after_them(pacer, time):
    time.overslept = 0.01
    at = turns(pacer, time, 401)

    assert at[-1] - at[0] < 400 * SPACING + 1.5


def test_a_request_that_was_slow_to_leave_holds_back_the_one_that_could_meet_it(pacer, time):
    with pacer.turn():
        time.now += 0.9
    left = time.now

    assert turns(pacer, time, 4)[-1] >= left + 1 + GUARD


def test_a_complaint_halves_the_pace(pacer, time):
    turns(pacer, time, 2)
    pacer.slow_down(pacer.now(), 0)

    assert gaps(turns(pacer, time, 4))[1:] == pytest.approx([2 * SPACING] * 2)


def test_complaints_about_requests_that_had_left_before_are_one_complaint(pacer, time):
    left = [pacer.now()]
    time.now += 1
    pacer.slow_down(pacer.now(), 0)
    for _ in range(11):
        pacer.slow_down(left[0], 0)

    assert gaps(turns(pacer, time, 4))[1:] == pytest.approx([2 * SPACING] * 2)


def test_nobody_has_a_turn_during_the_pause_that_the_server_asked_for(pacer, time):
    turns(pacer, time, 1)
    pacer.slow_down(pacer.now(), 30)

    assert turns(pacer, time, 1) == pytest.approx([1030.0])


def test_a_shorter_pause_does_not_cut_a_longer_one(pacer, time):
    pacer.slow_down(pacer.now(), 30)
    pacer.slow_down(pacer.now(), 1)

    assert turns(pacer, time, 1) == pytest.approx([1030.0])


def test_a_pause_that_begins_while_somebody_waits_holds_them_back_too(time):
    waiting = Pacer(4, 1, time.clock, lambda seconds: (time.sleep(seconds), complain()))
    complaints = [30.0]

    def complain() -> None:
        if complaints:
            waiting.slow_down(time.now, complaints.pop())

    at = turns(waiting, time, 2)

    assert at[1] - at[0] > 30


def test_good_answers_bring_the_full_pace_back_and_no_more(pacer, time):
    pacer.slow_down(pacer.now(), 0)
    steps = 0
    while gaps(turns(pacer, time, 3))[1] > SPACING + 1e-6:
        pacer.recover(pacer.now())
        steps += 1
        assert steps < 100

    assert 15 <= steps <= 25
    for _ in range(100):
        pacer.recover(pacer.now())
    assert gaps(turns(pacer, time, 4))[1:] == pytest.approx([SPACING] * 2)


def test_answers_to_requests_that_left_before_a_complaint_say_nothing_about_the_pace_since(pacer, time):
    left = pacer.now()
    time.now += 1
    pacer.slow_down(pacer.now(), 0)
    for _ in range(12):
        pacer.recover(left)

    assert gaps(turns(pacer, time, 4))[1:] == pytest.approx([2 * SPACING] * 2)


def test_another_limit_forgets_neither_a_complaint_nor_what_has_just_left(pacer, time):
    turns(pacer, time, 3)
    pacer.slow_down(pacer.now(), 0)
    pacer.set_limit(3.9)
    pacer.set_limit(4)

    assert gaps(turns(pacer, time, 4))[1:] == pytest.approx([2 * SPACING] * 2)


def test_however_many_complaints_come_the_pace_never_stands_still(pacer, time):
    for _ in range(50):
        time.now += 1
        pacer.slow_down(pacer.now(), 0)

    assert gaps(turns(pacer, time, 4))[1:] == pytest.approx([SPACING / SLOWEST_SHARE] * 2)


def test_a_request_that_is_called_off_uses_no_turn(pacer, time):
    turns(pacer, time, 1)
    answers = iter([False, True])

    with pytest.raises(RequestCancelledError), pacer.turn(lambda: next(answers)):
        raise AssertionError("it was sent")

    assert turns(pacer, time, 1) == pytest.approx([1000 + SPACING])


def test_one_account_has_one_pacer_and_the_latest_setting_holds():
    first = shared_pacer("an account", 4)

    assert shared_pacer("an account", 8) is first
    assert shared_pacer("another account", 8) is not first


STEPS = st.one_of(
    st.tuples(st.just("send"), st.floats(0, 0.3)),
    st.tuples(st.just("pass"), st.floats(0, 3)),
    st.tuples(st.just("slow_down"), st.floats(0, 2)),
    st.tuples(st.just("recover"), st.just(0.0)),
)
RATES = st.one_of(
    st.sampled_from([(4.0, 1.0), (3.0, 1.0), (6.0, 60.0), (1.0, 1.0)]), st.tuples(st.floats(0.5, 20), st.just(1.0))
)


@given(RATES, st.lists(STEPS, min_size=10, max_size=80), st.floats(0, 0.02), st.randoms(use_true_random=False))
def test_no_jitter_brings_more_than_the_allowed_requests_into_one_window_of_the_server(rate, steps, overslept, random):
    requests, seconds = rate
    time = Time()
    time.overslept = overslept
    pacer = Pacer(requests, seconds, time.clock, time.sleep)
    arrivals = []
    for kind, amount in steps:
        if kind == "send":
            with pacer.turn():
                began = time.now
                time.now += amount  # to leave takes time, and when exactly it left nobody knows
            arrivals.append(random.uniform(began, time.now) + random.choice([0, 0.04, random.uniform(0, 0.04)]))
        elif kind == "pass":
            time.now += amount
        elif kind == "slow_down":
            pacer.slow_down(pacer.now(), amount)
        else:
            pacer.recover(pacer.now())

    allowed = max(1, int(requests))
    window = seconds * allowed / requests
    for earliest, latest in zip(sorted(arrivals), sorted(arrivals)[allowed:], strict=False):
        assert latest - earliest >= window - 1e-6


def test_clients_of_one_account_share_its_pace(account):
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


def test_a_strict_server_does_not_complain_of_clients_that_are_set_to_its_limit(account):
    """Four connections at once, and no burst. A machine that is busy with other tests may hold up one request."""
    with SimulatedOmetria(account, Behaviour(requests_per_second=20)) as ometria:
        settings = Account(ometria.base_url, ometria.api_key, 20, 0.1)
        clients = [settings.client(table) for table in ("profiles", "lists", "unsubscribes", "member_lists")]
        threads = [Thread(target=lambda c=c: [c.get("/lists", {}) for _ in range(12)]) for c in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        statuses = [request.status for request in ometria.requests]
        assert statuses.count(200) == 48
        assert len(statuses) <= 50


def test_an_endpoint_with_a_limit_of_its_own_does_not_wait_for_the_others(account):
    with SimulatedOmetria(account) as ometria:
        client = Account(ometria.base_url, ometria.api_key, 0.1, 0.001).client("any table")
        client.get("/lists", {})
        client.get("/data-deletion-requests", {})

        first, second = ometria.requests
        assert second.at - first.at < 5


def test_an_endpoint_with_a_limit_of_its_own_keeps_to_it(account, monkeypatch):
    monkeypatch.setitem(ENDPOINT_LIMITS, "/lists", (4.0, 1.0))
    with SimulatedOmetria(account) as ometria:
        client = Account(ometria.base_url, ometria.api_key, 1000, 0.1).client("any table")
        for _ in range(5):
            client.get("/lists", {})

        assert ometria.requests[-1].at - ometria.requests[0].at >= 1


def test_those_who_stand_in_line_come_forward_in_the_order_in_which_they_came(pacer):
    came_forward: list[int] = []

    def stand(number: int, is_in_line: Event, ends_with: type[BaseException] | None) -> None:
        def cancelled() -> bool:
            is_in_line.set()
            if ends_with is KeyboardInterrupt:
                raise KeyboardInterrupt
            return ends_with is not None

        pacer.acquire(number, cancelled)
        came_forward.append(number)
        pacer.release(number)
        pacer.release(number)

    pacer.acquire("first")
    ends = {2: RequestCancelledError, 5: KeyboardInterrupt}
    with ThreadPoolExecutor(8) as threads:
        waiting = []
        for number in range(8):
            is_in_line = Event()
            waiting.append(threads.submit(stand, number, is_in_line, ends.get(number)))
            assert is_in_line.wait(10)
        pacer.release("first")
    assert came_forward == [0, 1, 3, 4, 6, 7]
    assert {number: type(place.exception()) for number, place in enumerate(waiting) if place.exception()} == ends
