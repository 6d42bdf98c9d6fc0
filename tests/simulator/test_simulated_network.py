"""The simulated network: its delays, its strict rate limit, its faults, and its end."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import pytest
from asking import ask, asked_raw
from requests.exceptions import RequestException

from ometria_source.simulator import Behaviour, SimulatedAccount, SimulatedOmetria, wire

NOW = datetime(2024, 3, 5, 10, 20, 30, tzinfo=timezone.utc)


@pytest.fixture
def account() -> SimulatedAccount:
    return SimulatedAccount.invent(60, now=NOW)


def test_too_many_requests_in_a_second_are_refused_with_retry_after(ometria):
    ometria.behaviour = Behaviour(requests_per_second=3, retry_after="7")

    answers = [ask(ometria, "/lists") for _ in range(5)]

    assert ometria.requests[-1].at - ometria.requests[0].at < 1  # else the machine is too slow to break the limit
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers.get("Retry-After") for answer in answers] == [None, None, None, "7", "7"]


@pytest.mark.parametrize("fault", ["reset", "reset-mid-body", "truncated", "chunked-cut"])
def test_a_broken_connection_is_seen_as_such_and_then_it_works_again(ometria, fault):
    ometria.fail("/profiles", fault)

    with pytest.raises(RequestException):
        ask(ometria, "/profiles")
    assert ask(ometria, "/profiles").status_code == 200


def test_one_refusal_can_say_how_long_to_wait_while_others_do_not(ometria):
    ometria.fail("/profiles", 429, retry_after="7")
    ometria.fail("/profiles", 429)
    ometria.fail("/profiles", 503, retry_after="9")

    answers = [ask(ometria, "/profiles") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [429, 429, 503, 200]
    assert [answer.headers.get("Retry-After") for answer in answers] == ["7", None, "9", None]


@pytest.mark.parametrize("fault", ["drip", "drip-headers"])
def test_a_dripping_answer_comes_byte_by_byte_and_leaves_no_thread_behind(account, fault):
    with SimulatedOmetria(account) as ometria:
        ometria.fail("/profiles", fault)
        started = time.monotonic()
        with asked_raw(ometria, "/profiles") as connection:
            head = b""
            while fault == "drip" and not head.endswith(b"\r\n\r\n"):
                head += connection.recv(1)
            dripped = b"".join(connection.recv(1) for _ in range(4))
            took = time.monotonic() - started
            ometria.close()

    assert (head + dripped).startswith(b"HTTP")
    assert took >= 3 * wire.DRIP_PAUSE
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("simulated-ometria")]


def test_a_request_arrives_after_half_of_the_latency_and_is_answered_after_the_other_half(ometria):
    ometria.behaviour = Behaviour(latency=0.2)

    sent = time.monotonic()
    ask(ometria, "/lists")
    answered = time.monotonic()

    (request,) = ometria.requests
    assert request.at - sent >= 0.1
    assert answered - request.at >= 0.1


def test_with_jitter_requests_overtake_each_other_and_are_noted_in_order_of_arrival(account, ometria):
    """The changes that wait for the third arrival come between it and the fourth, as without jitter."""
    ometria.behaviour = Behaviour(jitter=0.3)
    ometria.after_request(3, lambda: account.add_list("A fourth arrival knows me"))
    before = len(account.lists)

    with ThreadPoolExecutor(12) as pool:
        answers = dict(enumerate(pool.map(lambda number: ask(ometria, "/lists", mode="all", n=number), range(12))))

    arrived = [int(request.query["n"]) for request in ometria.requests]
    stamps = [request.at for request in ometria.requests]
    assert sorted(arrived) == list(range(12)) != arrived
    assert stamps == sorted(stamps)
    assert [len(answers[number].json()) for number in arrived] == [before] * 3 + [before + 1] * 9


def test_the_rate_limit_counts_arrivals_not_departures(ometria):
    """Requests that were sent apart can arrive together: jitter pushes them over a strict limit."""
    ometria.behaviour = Behaviour(requests_per_second=4, jitter=0.5, latency=0.1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ask(ometria, "/lists"), range(8)))

    for place, request in enumerate(ometria.requests):
        within = [other for other in ometria.requests[: place + 1] if other.at > request.at - 1]
        assert request.status == (200 if len(within) <= 4 else 429)


def test_closing_ends_the_way_there_and_nothing_is_noted_of_what_never_arrived(account):
    with SimulatedOmetria(account, Behaviour(latency=600)) as ometria, asked_raw(ometria, "/lists") as connection:
        ometria.close()

        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert not ometria.requests


@pytest.mark.parametrize(("fault", "status"), [(418, 418), (503, 503), ("html", 200), ("null", 200), ("redirect", 302)])
def test_faults_befall_as_many_requests_to_their_path_as_they_were_told(ometria, fault, status):
    ometria.fail("/profiles", fault, times=2)
    good = ask(ometria, "/lists").content

    bodies = [ask(ometria, "/profiles") for _ in range(3)]

    assert [body.status_code for body in bodies] == [status, status, 200]
    assert bodies[0].content not in (good, bodies[2].content)
    assert len(bodies[2].json()) == 10


def test_healing_ends_a_lasting_fault(ometria):
    ometria.fail("/profiles", 500, times=None)
    assert {ask(ometria, "/profiles").status_code for _ in range(3)} == {500}

    ometria.heal()

    assert ask(ometria, "/profiles").status_code == 200


def test_a_closed_server_answers_no_more(account):
    with SimulatedOmetria(account) as ometria:
        assert ask(ometria, "/lists").status_code == 200

    with pytest.raises(RequestException):
        ask(ometria, "/lists")
