"""The simulated Data API: an HTTP server on loopback that answers from a simulated account.

It can be told to misbehave, and it notes every request. Its data is invented, and every answer says so in a header.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ometria_source.simulator.account import SimulatedAccount
from ometria_source.simulator.behaviour import Behaviour, Fault
from ometria_source.simulator.routes import answer

API_KEY = "simulated-key-0000"
PREFIX = "/v2"
SERVER_NAME = "simulated-ometria (invented data)"


@dataclass(frozen=True)
class Request:
    """A request that arrived: `path` is below `/v2`, `at` is a monotonic time in seconds."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    at: float
    status: int


class SimulatedOmetria:
    """Serves a simulated account until it is closed; use it as a context manager.

    Args:
        account: What to serve.
        behaviour: How; may be replaced while it runs.

    Attributes:
        base_url: For the setting of that name.
        api_key: The only key that is not refused.
        requests: Every request so far, in the order of arrival.
    """

    def __init__(self, account: SimulatedAccount, behaviour: Behaviour | None = None) -> None:
        self.account = account
        self.behaviour = behaviour or Behaviour()
        self.api_key = API_KEY
        self.requests: list[Request] = []
        self._faults: list[tuple[str, Fault, float]] = []
        self._hooks: list[tuple[int, Callable[[], object]]] = []
        self._arrivals: list[float] = []
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self._server = _Server(self)
        self.base_url = f"http://127.0.0.1:{self._server.server_port}{PREFIX}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def __enter__(self) -> SimulatedOmetria:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving; a request that hangs is let go."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def requests_to(self, prefix: str) -> list[Request]:
        """The requests so far whose path begins with `prefix`."""
        with self._lock:
            return [request for request in self.requests if request.path.startswith(prefix)]

    def fail(self, prefix: str, fault: Fault, times: int | None = 1) -> None:
        """Let the next requests fail.

        Args:
            prefix: Those whose path begins with it.
            fault: How.
            times: How many; None: all from now on.
        """
        with self._lock:
            self._faults.append((prefix, fault, float("inf") if times is None else times))

    def heal(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def after_request(self, number: int, function: Callable[[], object]) -> None:
        """Call `function` once, when so many more requests have been answered."""
        with self._lock:
            self._hooks.append((len(self.requests) + number, function))

    def next_fault(self, path: str) -> Fault | None:
        """The fault that the next answer for a path shall have, which is then used up."""
        with self._lock:
            for place, (prefix, fault, left) in enumerate(self._faults):
                if path.startswith(prefix):
                    if left <= 1:
                        del self._faults[place]
                    else:
                        self._faults[place] = (prefix, fault, left - 1)
                    return fault
        return None

    def is_too_fast(self, now: float) -> bool:
        """Count an arrival, and say whether it breaks the limit of the second before it."""
        with self._lock:
            self._arrivals = [at for at in self._arrivals if at > now - 1.0]
            self._arrivals.append(now)
            limit = self.behaviour.requests_per_second
            return limit is not None and len(self._arrivals) > limit

    def note(self, request: Request) -> None:
        """Take note of a request, and call what was to be called after it."""
        with self._lock:
            self.requests.append(request)
            due = [function for number, function in self._hooks if number <= len(self.requests)]
            self._hooks = [(number, function) for number, function in self._hooks if number > len(self.requests)]
        for function in due:
            function()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, ometria: SimulatedOmetria) -> None:
        self.ometria = ometria
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = SERVER_NAME
    sys_version = ""
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet."""

    def __getattr__(self, name: str) -> Any:
        # every method is noted, and all but GET are refused
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        ometria = self.server.ometria
        arrived = time.monotonic()
        url = urlsplit(self.path)
        path = url.path.removeprefix(PREFIX).rstrip("/") or "/"
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        fault = ometria.next_fault(path)
        status, body, headers = self._answer(path, query, fault, arrived)
        if ometria.behaviour.latency:
            ometria.closing.wait(ometria.behaviour.latency)
        ometria.note(Request(self.command, path, query, dict(self.headers), arrived, status))
        if isinstance(fault, str) and fault not in BODIES and fault != "redirect":
            self._break(fault, body)
        else:
            self._send(status, body, headers)

    def _answer(
        self, path: str, query: dict[str, str], fault: Fault | None, arrived: float
    ) -> tuple[int, bytes, dict[str, str]]:
        ometria, behaviour = self.server.ometria, self.server.ometria.behaviour
        if path == "/":
            return 200, json.dumps({"about": "A simulation of Ometria's Data API. All data is invented."}).encode(), {}
        if self.command != "GET":
            return 405, b'{"error": "this simulation only reads"}', {}
        if ometria.is_too_fast(arrived) or fault == 429:
            return (
                429,
                b'{"error": "slow down"}',
                {"Retry-After": behaviour.retry_after} if behaviour.retry_after else {},
            )
        if fault == "redirect":
            return 302, b"", {"Location": f"{PREFIX}/elsewhere"}
        if isinstance(fault, int):
            return fault, b'{"error": "as told"}', {}
        if self.headers.get("X-Ometria-Auth") != ometria.api_key:
            return behaviour.refused_status, b'{"error": "key refused"}', {}
        if any(path.startswith(prefix) for prefix in behaviour.forbidden):
            return 403, b'{"error": "not for this key"}', {}
        if fault in BODIES:
            return 200, BODIES[str(fault)], {}
        return *answer(ometria.account, behaviour, path, query), {}

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _break(self, fault: str, body: bytes) -> None:
        """Answer in the way that the fault says, and hang up."""
        self.close_connection = True
        if fault == "hang":
            self.server.ometria.closing.wait()
            return
        half = body[: max(1, len(body) // 2)]
        if fault == "chunked-cut":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(f"{len(body):x}\r\n".encode() + half)
        elif fault in ("truncated", "reset-mid-body"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) + 1))
            self.end_headers()
            self.wfile.write(half)
        self.wfile.flush()
        if fault.startswith("reset"):
            # closed with a reset instead of a goodbye
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


# Answers with status 200 that are no list of objects.
BODIES = {
    "html": b"<html><body>Down for maintenance</body></html>",
    "null": b"null",
    "object": b'{"data": []}',
    "bad-json": b'[{"id": "1"',
}
