"""Through a proxy of the environment, as in many companies: it carries the connection, and sees nothing of it."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import IO

import pytest
import trustme

from ometria_source.api import client as client_module
from ometria_source.api.client import Account
from ometria_source.exceptions import UnavailableError

KEY = "invented-key-4711"


class _Server(ThreadingHTTPServer):
    """Notes what it sees; may answer byte by byte."""

    daemon_threads = True

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.tunnels: list[str] = []
        self.overheard: list[bytes] = []
        self.drips = False
        self.closing = Event()

    def drip(self, connection: IO[bytes]) -> None:
        while self.drips and not self.closing.wait(0.05):
            connection.write(b"x")

    def handle_error(self, *_: object) -> None:
        """Connections break when a test ends."""


class _Account(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2000" if self.server.drips else "2")
        self.end_headers()
        self.server.drip(self.wfile)
        self.wfile.write(b"[]")

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


class _Proxy(BaseHTTPRequestHandler):
    """Opens tunnels, and notes whatever else it is sent."""

    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        self.server.tunnels.append(self.path)
        self.server.drip(self.wfile)
        host, port = self.path.split(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            with ThreadPoolExecutor(2) as threads:
                threads.submit(_pump, self.connection, there)
                threads.submit(_pump, there, self.connection)
        self.close_connection = True

    def parse_request(self) -> bool:
        if not self.raw_requestline.startswith(b"CONNECT "):
            self.server.overheard.append(self.raw_requestline)
            self.close_connection = True
            return False
        return super().parse_request()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def serving(server: _Server) -> Iterator[None]:
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def context(tmp_path, monkeypatch) -> ssl.SSLContext:
    """With a certificate for `localhost` that clients of this test trust."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return context


@pytest.fixture
def account(context) -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), _Account)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield server
        server.closing.set()


@pytest.fixture(params=["http", "https"])
def proxy(request, context, monkeypatch) -> Iterator[_Server]:
    """A proxy that is itself reached with or without TLS."""
    server = _Server(("127.0.0.1", 0), _Proxy)
    if request.param == "https":
        server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("HTTPS_PROXY", f"{request.param}://localhost:{server.server_port}")
    with serving(server):
        yield server
        server.closing.set()


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_proxy_gets_tunnels_to_open_and_nothing_else(account, proxy, at_once):
    """New TLS connections wait for their turns here, which must not be taken for a server that hung up."""
    client = Account(f"https://localhost:{account.server_port}/v2", KEY, 3, 0.1).client("profiles")
    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(lambda _: client.get("/profiles", {}), range(4)))
    client.close()

    assert proxy.overheard == []
    assert set(proxy.tunnels) == {f"localhost:{account.server_port}"}
    assert len(proxy.tunnels) <= at_once
    assert (client.requests, client.retries) == (4, 0)


@pytest.mark.parametrize(("who", "limit"), [("account", "LONGEST_ANSWER"), ("proxy", "CONNECT_TIMEOUT")])
def test_whoever_drips_is_given_up(account, proxy, monkeypatch, who, limit):
    monkeypatch.setattr(client_module, limit, 0.3)
    {"account": account, "proxy": proxy}[who].drips = True
    client = Account(f"https://localhost:{account.server_port}/v2", KEY, 1000, 0.005).client("profiles")

    with ThreadPoolExecutor(1) as threads, pytest.raises(UnavailableError, match="too long"):
        threads.submit(client.get, "/profiles", {}).result(20)
    client.close()
    assert (client.requests == 0) == (who == "proxy")
