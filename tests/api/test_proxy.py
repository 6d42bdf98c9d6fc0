"""Through a proxy of the environment, as in many companies: it carries the connection, and sees nothing of it."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import trustme

from ometria_source.api.account import Account

KEY = "invented-key-4711"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Connections break when a test ends."""


class _Account(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


class _Proxy(BaseHTTPRequestHandler):
    """Opens tunnels, and notes whatever else it is sent."""

    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        self.server.tunnels.append(self.path)
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


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_proxy_gets_tunnels_to_open_and_nothing_else(tmp_path, monkeypatch, at_once):
    """New TLS connections wait for their turns here, which must not be taken for a server that hung up."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    account, proxy = _Server(("127.0.0.1", 0), _Account), _Server(("127.0.0.1", 0), _Proxy)
    account.socket = context.wrap_socket(account.socket, server_side=True)
    proxy.tunnels, proxy.overheard = [], []
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    with serving(account), serving(proxy):
        client = Account(f"https://localhost:{account.server_port}/v2", KEY, 3, 0.1).client("profiles")
        with ThreadPoolExecutor(at_once) as threads:
            list(threads.map(lambda _: client.get("/profiles", {}), range(4)))
        client.close()

    assert proxy.overheard == []
    assert set(proxy.tunnels) == {f"localhost:{account.server_port}"}
    assert len(proxy.tunnels) <= at_once
    assert (client.requests, client.retries) == (4, 0)
