"""The same over TLS, as a real account is read: sockets that are shut from another thread behave differently there."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
import trustme

from ometria_source.api import client as client_module
from ometria_source.api.client import Account, OmetriaClient
from ometria_source.api.connection import RequestHandle
from ometria_source.api.pacing import RequestCancelledError
from ometria_source.exceptions import UnavailableError

BODY = b'[{"id": "1a2b"}]'


class Server(ThreadingHTTPServer):
    """Answers over TLS; `mode` says how."""

    daemon_threads = True
    mode = "whole"

    def __init__(self, certificate: trustme.LeafCert) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.closing = Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *_: object) -> None:
        """Clients break connections: that is what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if self.server.mode == "hang":
            self.server.closing.wait()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        for byte in BODY if self.server.mode == "drip" else ():
            self.wfile.write(bytes([byte]))
            self.server.closing.wait(0.1)
        if self.server.mode == "whole":
            self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[Server]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    served = Server(authority.issue_cert("localhost"))
    thread = Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.closing.set()
    served.shutdown()
    served.server_close()
    thread.join()


@pytest.fixture
def client(server) -> OmetriaClient:
    return Account(f"https://localhost:{server.server_port}/v2", "key", 1000, 0.002).client("profiles")


def test_an_answer_over_tls_is_read(client):
    assert client.get("/profiles", {}) == [{"id": "1a2b"}]
    assert client.get("/profiles", {}) == [{"id": "1a2b"}]


def test_an_answer_over_tls_that_drips_is_given_up(server, client, monkeypatch):
    monkeypatch.setattr(client_module, "LONGEST_ANSWER", 0.2)
    server.mode = "drip"

    with pytest.raises(UnavailableError, match="too long"):
        client.get("/profiles", {})


@pytest.mark.parametrize("mode", ["drip", "hang"])
def test_a_request_over_tls_that_is_called_off_ends_at_once(server, client, mode):
    server.mode = mode
    mark_sent = Event()
    handle = RequestHandle(on_sent=mark_sent.set)

    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(client.get, "/profiles", {}, handle=handle)
        assert mark_sent.wait(10)
        handle.cancel()
        with pytest.raises(RequestCancelledError):
            answer.result(10)


def test_a_server_whose_certificate_nobody_vouches_for_gets_no_key(server, client, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")

    with pytest.raises(UnavailableError, match="SSLError"):
        client.get("/profiles", {})
    assert client.requests == 0


@pytest.fixture
def dripping(monkeypatch) -> Iterator[tuple[OmetriaClient, Event]]:
    """A client of a server whose part in opening a connection never ends, and whether it has begun.

    Each byte comes in time, so that no time-out of the socket's ends it.
    """
    closing, accepted = Event(), Event()
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as thread:

        def drip() -> None:
            while not closing.is_set():
                connection, _ = listening.accept()
                accepted.set()
                with connection, contextlib.suppress(OSError):
                    # a record of TLS that announces 16 KiB
                    for byte in b"\x16\x03\x03\x40\x00" + bytes(0x4000):
                        connection.send(bytes([byte]))
                        if closing.wait(0.05):
                            break

        thread.submit(drip)
        yield Account(f"https://localhost:{listening.getsockname()[1]}/v2", "key", 1000, 0.005).client("x"), accepted
        closing.set()
        socket.create_connection(listening.getsockname()).close()


def test_a_connection_that_drips_before_it_stands_is_given_up_and_lets_others_come_forward(dripping, monkeypatch):
    monkeypatch.setattr(client_module, "CONNECT_TIMEOUT", 0.3)
    client, _ = dripping
    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(client.get, path, {}) for path in ("/profiles", "/lists")]
        for answer in answers:
            with pytest.raises(UnavailableError, match="too long"):
                answer.result(20)
    assert client.requests == 0


def test_a_connection_that_drips_before_it_stands_can_be_called_off(dripping, monkeypatch):
    monkeypatch.setattr(client_module, "CONNECT_TIMEOUT", 60)
    client, accepted = dripping
    handle = RequestHandle()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(client.get, "/profiles", {}, handle=handle)
        assert accepted.wait(10)
        handle.cancel()
        with pytest.raises(RequestCancelledError):
            answer.result(10)
