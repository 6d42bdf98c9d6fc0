"""The sockets of the simulated server: HTTP/1.1 with keep-alive, faults on the wire, an end that leaves no thread."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any

SERVER_NAME = "simulated-ometria (invented data)"

# Seconds between two bytes of an answer that drips: short of every time-out that looks at the gaps only.
DRIP_PAUSE = 0.05

# What a dripping answer begins with, at this pace for longer than anybody waits: spaces, which JSON allows before a
# value; in a header no more than fits into a line of 64 KiB, the longest that Python's client accepts.
BODY_PADDING = b" " * 1_000_000
HEADER_PADDING = "-" * 60_000


@dataclass(frozen=True)
class Reply:
    """What to send, and the fault that befalls it on the way."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    fault: str | None = None


ReplyFunction = Callable[[str, str, "dict[str, str]"], Reply]


class Wire(ThreadingHTTPServer):
    """Listens on a free loopback port, and asks `reply` for every answer.

    Args:
        reply: Called with method, target and headers (names in lower case).
        closing: Set by the owner before `stop()`: releases held answers.
    """

    request_queue_size = 128

    def __init__(self, reply: ReplyFunction, closing: threading.Event) -> None:
        self.reply = reply
        self.closing = closing
        self._open: dict[threading.Thread, Any] = {}
        self._open_lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        """Bind without the look-up of the host's name, which needs a network."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread that `stop()` can find."""
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="simulated-ometria-connection"
        )
        thread.daemon = True
        with self._open_lock:
            self._open[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._open_lock:
                self._open.pop(threading.current_thread(), None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients break connections, and so do the faults."""

    def stop(self) -> None:
        """Stop listening, break open connections, and wait for their threads."""
        self.shutdown()
        self.server_close()
        with self._open_lock:
            open_connections = dict(self._open)
        for connection in open_connections.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in open_connections:
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Serves one connection."""

    server: Wire
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __getattr__(self, name: str) -> Callable[[], None]:
        # Every method gets an answer and a record, also those that no client should send.
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def version_string(self) -> str:
        return SERVER_NAME

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdigit():
            self.close_connection = True
        else:
            self.rfile.read(int(length))
        reply = self.server.reply(self.command, self.path, headers)
        if reply.fault == "hang":
            self.server.closing.wait()
        if reply.fault == "hang" or self.server.closing.is_set():
            self.close_connection = True
            return
        if reply.fault == "reset":
            self._reset()
            return
        if reply.fault in ("drip", "drip-headers"):
            self._drip(reply)
            return
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        body, half = reply.body, reply.body[: len(reply.body) // 2]
        if reply.fault == "chunked-cut":
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%s\r\n" % (len(half), half) if half else b""
        else:
            self.send_header("Content-Length", str(len(body)))
            if reply.fault in ("truncated", "reset-mid-body"):
                body = half
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if reply.fault in ("chunked-cut", "truncated"):
            self.close_connection = True
        elif reply.fault == "reset-mid-body":
            self._reset()

    def _drip(self, reply: Reply) -> None:
        """Send the answer byte by byte; it never ends."""
        dripping = _Dripping(self.wfile, self.server.closing)
        self.send_response(reply.status)
        if reply.fault == "drip-headers":
            self.wfile = dripping
            self.send_header("X-Padding", HEADER_PADDING)
        body = BODY_PADDING + reply.body
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile = dripping
        self.wfile.write(body)

    def _reset(self) -> None:
        """Break the connection with RST instead of FIN: lingering for zero seconds does it."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()


class _Dripping(BufferedIOBase):
    """A connection that takes one byte at a time, with a pause after each, until the server closes."""

    def __init__(self, connection: Any, closing: threading.Event) -> None:
        self._connection = connection
        self._closing = closing

    def writable(self) -> bool:
        """As a file that is written to."""
        return True

    def write(self, data: Any, /) -> int:
        """Send bytes one by one."""
        for byte in bytes(data):
            self._connection.write(bytes([byte]))
            if self._closing.wait(DRIP_PAUSE):
                raise ConnectionAbortedError
        return len(data)
