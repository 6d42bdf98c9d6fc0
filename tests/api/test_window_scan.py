"""A window scan returns every event of a log, whatever is not documented of the server, or says that it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
from examples import examples
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ometria_source.api.client import Account
from ometria_source.api.window_scan import WindowScan
from ometria_source.exceptions import IncompleteScanError
from ometria_source.simulator import Behaviour, SimulatedAccount, SimulatedOmetria
from ometria_source.sync.rows import read_instant

NOW = datetime(2024, 3, 5, 10, 20, 30, tzinfo=timezone.utc)
START = datetime(2023, 1, 1, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def log() -> Iterator[SimulatedOmetria]:
    """A server whose account has nothing but what a test records; examples of one test share it."""
    with SimulatedOmetria(SimulatedAccount(now=NOW)) as server:
        yield server


def record(log: SimulatedOmetria, times: list[datetime]) -> set[str]:
    """Let the log hold one event for each time, in no order; return their people."""
    log.account.unsubscribes.clear()
    log.requests.clear()
    for number, time in enumerate(times):
        log.account.unsubscribe(f"person-{number:04d}", at=time)
    return {f"person-{number:04d}" for number in range(len(times))}


def read(log: SimulatedOmetria, since: datetime = START, before: datetime | None = None) -> list[str]:
    client = Account(log.base_url, log.api_key, 100_000, 0.05).client("unsubscribes")
    scan = WindowScan(client, "/unsubscribes", NOW, lambda row: read_instant(row["timestamp"]))
    windows = scan.read(since) if before is None else scan.read(since, before)
    return [row["profile_id"] for window in windows for row in window]


BEHAVIOURS = st.builds(
    Behaviour,
    unsubscribes_paged=st.booleans(),
    unsubscribes_cap=st.sampled_from([None, 10, 50, 250]),
    unsubscribes_order=st.sampled_from(["ascending", "descending", "shuffled"]),
    since_inclusive=st.booleans(),
    before_inclusive=st.booleans(),
    short_pages=st.booleans(),
)


@st.composite
def event_times(draw) -> list[datetime]:
    """Past times, clustered and scattered, and a few in the future; never ten in the three seconds of a window."""
    length = int((NOW - START).total_seconds())
    scattered = draw(st.lists(st.integers(0, length), max_size=25))
    cluster_at = draw(st.integers(0, length - 200))
    cluster = range(cluster_at, cluster_at + draw(st.integers(0, 60)))
    bounds = draw(st.lists(st.sampled_from([0, 1, length - 1, length, length + 1]), max_size=4))
    future = draw(st.lists(st.integers(length + 1, length + 10**9), max_size=6))
    seconds = sorted({*scattered, *cluster, *bounds, *future})
    repeats = draw(st.integers(1, 3))
    times = [START + timedelta(seconds=second) for second in seconds for _ in range(repeats)]
    return draw(st.randoms(use_true_random=False)).sample(times, len(times))


@pytest.mark.thorough
@settings(max_examples=examples(20), deadline=None, suppress_health_check=list(HealthCheck))
@example(Behaviour(unsubscribes_cap=10), [START + timedelta(seconds=number) for number in range(60)])
@example(Behaviour(), [START])
@example(Behaviour(), [NOW + timedelta(days=300 * number) for number in range(20)])
@given(BEHAVIOURS, event_times())
def test_every_event_is_returned_whatever_the_server_does(log, behaviour, times):
    log.behaviour = behaviour
    people = record(log, times)

    assert set(read(log)) == people


@pytest.mark.parametrize("cap", [None, 10, 50, 250])
@pytest.mark.parametrize("paged", [True, False])
def test_a_thousand_events_are_returned_in_few_requests(log, paged, cap):
    log.behaviour = Behaviour(unsubscribes_paged=paged, unsubscribes_cap=cap)
    people = record(log, [START + timedelta(hours=10 * number) for number in range(1000)])

    assert set(read(log)) == people
    assert len(log.requests) < 8000 / (cap or 250) + 40


def test_ten_thousand_empty_days_cost_a_dozen_requests(log):
    log.behaviour = Behaviour()
    record(log, [])

    assert read(log, NOW - timedelta(days=10_000)) == []
    assert len(log.requests) < 15


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_ten_events_in_one_second_of_a_capped_server_are_refused(log, order):
    log.behaviour = Behaviour(unsubscribes_cap=10, unsubscribes_order=order)
    record(log, [NOW - timedelta(days=1)] * 12)

    with pytest.raises(IncompleteScanError, match="single second"):
        read(log)


@pytest.mark.thorough
@settings(max_examples=examples(30), deadline=None, suppress_health_check=list(HealthCheck))
@example(Behaviour(unsubscribes_cap=10, before_inclusive=True), [6, 6, 6, 6])
@example(Behaviour(unsubscribes_cap=10, before_inclusive=True, unsubscribes_order="descending"), [9, 9, 9, 9])
@given(
    st.builds(
        Behaviour,
        unsubscribes_cap=st.sampled_from([10, 20]),
        unsubscribes_order=st.sampled_from(["ascending", "descending", "shuffled"]),
        since_inclusive=st.booleans(),
        before_inclusive=st.booleans(),
    ),
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
)
def test_seconds_that_are_full_but_not_over_full_are_told_apart(log, behaviour, in_each_second):
    """Nine in each second are nearly thirty in the three seconds that a window may reach over."""
    log.behaviour = behaviour
    start = NOW - timedelta(days=1)
    people = record(log, [start + timedelta(seconds=n) for n, count in enumerate(in_each_second) for _ in range(count)])

    try:
        found = set(read(log))
    except IncompleteScanError:
        # both bounds belong to the window, and no answer happened to show it: refused, not guessed
        assert behaviour.unsubscribes_order == "shuffled"
    else:
        assert found == people


def test_a_fraction_of_a_second_is_never_cut_off_by_a_bound_that_is_drawn_in(log):
    log.behaviour = Behaviour(unsubscribes_cap=10, before_inclusive=True)
    second = NOW - timedelta(days=1)
    record(log, [second] * 6 + [second + timedelta(seconds=1)] * 6)
    log.account.unsubscribe("person-half", at="2024-03-04 10:20:30.5+00")

    with pytest.raises(IncompleteScanError, match="single second"):
        read(log)


def test_an_answer_that_is_smaller_than_another_is_not_taken_for_cut(log):
    log.behaviour = Behaviour(unsubscribes_cap=50)
    at = NOW - timedelta(days=1)
    people = record(log, [at - timedelta(hours=n) for n in range(60)] + [at + timedelta(hours=1)] * 10)

    assert set(read(log)) == people


def test_ten_events_in_one_second_of_a_paged_server_are_whole(log):
    log.behaviour = Behaviour(unsubscribes_paged=True)
    people = record(log, [NOW - timedelta(days=1)] * 10)

    assert set(read(log)) == people


def test_an_event_in_the_future_is_returned(log):
    log.behaviour = Behaviour()
    people = record(log, [NOW + timedelta(seconds=1), NOW + timedelta(days=40_000)])

    assert set(read(log)) == people


def test_events_outside_the_stretch_are_not_asked_for(log):
    log.behaviour = Behaviour(unsubscribes_paged=True)
    inside = NOW - timedelta(days=5)
    record(log, [NOW - timedelta(days=20), inside, NOW - timedelta(days=1)])

    assert set(read(log, NOW - timedelta(days=10), NOW - timedelta(days=2))) == {"person-0001"}


@pytest.mark.parametrize("inclusive", [True, False])
def test_events_at_the_bounds_are_returned(log, inclusive):
    since, before = NOW - timedelta(days=10), NOW - timedelta(days=2)
    log.behaviour = Behaviour(since_inclusive=inclusive, before_inclusive=inclusive)
    record(log, [since, before - timedelta(seconds=1)])

    assert {"person-0000", "person-0001"} == set(read(log, since, before))
