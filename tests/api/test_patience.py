"""One GET of the client: what it tries again, how long it waits, and how it is called off."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
from clients import PASSING_FAULTS, SECRET_QUERY, client_of

from ometria_source.api import client as client_module
from ometria_source.api.client import Account
from ometria_source.api.connection import RequestHandle
from ometria_source.api.pacing import RequestCancelledError
from ometria_source.exceptions import UnavailableError
from ometria_source.simulator import Behaviour, SimulatedAccount, SimulatedOmetria


@pytest.fixture
def account() -> SimulatedAccount:
    """A small account: what is in it does not matter to the client."""
    return SimulatedAccount.invent(30)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(client_module, "FIRST_WAIT", 0.005)


@pytest.mark.parametrize("fault", PASSING_FAULTS)
def test_a_fault_that_passes_costs_attempts_but_no_row(account, ometria, fault):
    ometria.fail("/profiles", fault, times=2)
    client = client_of(ometria)

    rows = client.get("/profiles", {"limit": 250, "offset": 0})

    assert [row["id"] for row in rows] == account.profiles.ids()[:250]
    assert (client.requests, client.retries) == (3, 2)
    assert len(ometria.requests) == 3


@pytest.mark.parametrize("fault", PASSING_FAULTS)
def test_a_fault_that_lasts_fails_when_patience_ends(ometria, fault):
    ometria.fail("/profiles", fault, times=None)
    client = client_of(ometria, patience_minutes=0.005)

    with pytest.raises(UnavailableError, match="/profiles"):
        client.get("/profiles", {})

    assert client.requests == len(ometria.requests) > 1
    assert client.retries == client.requests - 1


def test_a_request_that_waits_for_its_turn_as_long_as_patience_is_tried_again(ometria):
    client = Account(ometria.base_url, ometria.api_key, 5, 0.001).client("profiles")
    client.get("/profiles", {"limit": 1})
    ometria.fail("/profiles", 500, times=1)

    assert client.get("/profiles", {"limit": 1})


def test_a_server_that_is_not_there_is_unavailable(account):
    with SimulatedOmetria(account) as gone:
        client = client_of(gone, patience_minutes=0.002)

    with pytest.raises(UnavailableError, match="no answer"):
        client.get("/profiles", {})


@pytest.mark.parametrize("fault", ["hang", "drip", "drip-headers"])
def test_an_answer_that_does_not_come_whole_in_time_is_given_up_and_asked_for_again(
    account, ometria, monkeypatch, fault
):
    monkeypatch.setattr(client_module, "LONGEST_ANSWER", 1.0)
    ometria.fail("/profiles", fault)
    client = client_of(ometria)

    assert client.get("/profiles", {"limit": 250, "offset": 0})
    assert (client.requests, client.retries) == (2, 1)


@pytest.mark.parametrize("fault", ["hang", "drip", "drip-headers"])
def test_a_server_that_never_finishes_its_answers_is_unavailable(ometria, monkeypatch, fault):
    monkeypatch.setattr(client_module, "LONGEST_ANSWER", 0.1)
    ometria.fail("/profiles", fault, times=None)

    with pytest.raises(UnavailableError, match="too long"):
        client_of(ometria, patience_minutes=0.005).get("/profiles", {})


def test_a_server_that_says_nothing_is_given_up_after_the_read_time_out(ometria, monkeypatch):
    monkeypatch.setattr(client_module, "READ_TIMEOUT", 0.1)
    ometria.fail("/profiles", "hang")

    assert client_of(ometria).get("/profiles", {"limit": 1})


def test_an_outage_as_long_as_patience_is_outlived_also_when_the_last_request_in_it_hangs(ometria, monkeypatch):
    """The last attempt begins when patience is over, not before it."""
    monkeypatch.setattr(client_module, "READ_TIMEOUT", 0.5)
    ometria.fail("/profiles", "hang", times=1)
    ometria.after_request(1, ometria.heal)

    assert client_of(ometria, patience_minutes=0.3 / 60).get("/profiles", {"limit": 1})


@pytest.mark.parametrize("where", ["waiting for a turn", "waiting for an answer", "waiting to try again"])
def test_a_request_that_is_called_off_ends_at_once_wherever_it_is(account, ometria, where):
    started = time.monotonic()
    mark_sent = Event()
    handle = RequestHandle(on_sent=mark_sent.set)
    rate = 1000.0
    if where == "waiting for a turn":
        rate = 0.01
        Account(ometria.base_url, ometria.api_key, rate, 1).client("profiles").get("/lists", {})
    elif where == "waiting for an answer":
        ometria.fail("/profiles", "hang")
    else:
        ometria.behaviour = Behaviour(retry_after="60")
        ometria.fail("/profiles", 429)
    client = Account(ometria.base_url, ometria.api_key, rate, 1).client("profiles")
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(client.get, "/profiles", {}, handle=handle)
        if where != "waiting for a turn":
            assert mark_sent.wait(10)
        handle.cancel()
        with pytest.raises(RequestCancelledError):
            answer.result(10)

    assert time.monotonic() - started < 10


def test_a_retry_is_logged_with_its_path_and_its_fault(ometria, caplog):
    ometria.fail("/profiles", 503)

    with caplog.at_level(logging.DEBUG, logger="ometria_source"):
        client_of(ometria).get("/profiles", SECRET_QUERY)

    assert any("/profiles" in line and "503" in line for line in caplog.messages)


def test_retry_after_in_seconds_is_waited_for(ometria):
    ometria.behaviour = Behaviour(retry_after="1")
    ometria.fail("/profiles", 429)

    client_of(ometria).get("/profiles", {})

    first, second = ometria.requests
    assert 0.99 <= second.at - first.at < 3


def test_retry_after_as_a_date_is_waited_for(ometria):
    until = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(seconds=2)
    ometria.behaviour = Behaviour(retry_after=format_datetime(until, usegmt=True))
    ometria.fail("/profiles", 429)

    client_of(ometria).get("/profiles", {})

    assert datetime.now(timezone.utc) >= until
    assert len(ometria.requests) == 2


def test_a_retry_after_that_is_longer_than_patience_does_not_outlast_it(ometria):
    ometria.behaviour = Behaviour(retry_after="20")
    ometria.fail("/profiles", 429, times=None)
    started = time.monotonic()

    with pytest.raises(UnavailableError):
        client_of(ometria, patience_minutes=0.005).get("/profiles", {})

    assert time.monotonic() - started < 10


@pytest.mark.parametrize("told", ["0", "Tue, 05 Mar 2024 10:20:30 GMT"])
def test_a_retry_after_of_no_time_does_not_switch_the_backoff_off(ometria, told):
    ometria.behaviour = Behaviour(retry_after=told)
    ometria.fail("/profiles", 503, times=None, retry_after=told)
    client = client_of(ometria, patience_minutes=0.02)

    with pytest.raises(UnavailableError):
        client.get("/profiles", {})

    assert client.requests < 15


def test_a_pause_that_another_table_was_told_counts_as_patience(ometria):
    ometria.fail("/", 429, times=None, retry_after="86400")
    patience = 2.0
    started = time.monotonic()
    for path in ("/profiles", "/lists"):
        with pytest.raises(UnavailableError):
            client_of(ometria, patience / 60).get(path, {})

    assert time.monotonic() - started < 2.9 * patience


def test_a_connection_that_the_server_has_closed_in_a_pause_costs_no_attempt(account):
    """Servers keep idle connections for seconds; a pause can be longer."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 0.1

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    client = Account(f"http://127.0.0.1:{server.server_port}", "another-key-2222", 2, 0.1).client("profiles")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: client.get("/profiles", {}), range(8)))
    server.shutdown()
    server.server_close()
    thread.join()

    assert (client.requests, client.retries) == (8, 0)


def test_retry_after_holds_back_the_other_tables_of_the_account(ometria):
    ometria.behaviour = Behaviour(retry_after="0.5")
    ometria.fail("/profiles", 429, times=None)
    with pytest.raises(UnavailableError):
        client_of(ometria, patience_minutes=0.01).get("/profiles", {})
    refused = ometria.requests[-1]

    client_of(ometria).get("/lists", {})

    assert ometria.requests[-1].at - refused.at >= 0.49
