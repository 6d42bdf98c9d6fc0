"""The simulated Ometria API on loopback: real HTTP, invented data.

A request is stamped when it arrives. In the order of the stamps, requests are recorded, answered and followed by the
changes that wait for them, under one lock: so "after the third request" means exactly that, however many connections
are open. Only the ways there and back happen outside the lock.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from urllib.parse import parse_qsl, unquote, urlsplit

from ometria_source.simulator.account import SimulatedAccount
from ometria_source.simulator.answers import Answer, RefusalError, answer
from ometria_source.simulator.behaviour import Behaviour, NamedFault, PlannedFault, Request
from ometria_source.simulator.people import encode
from ometria_source.simulator.wire import Reply, Wire

API_KEY = "simulated-key-0000"
PREFIX = "/v2"
_NOTICE = "This is a simulation of an Ometria account, made for tests and demonstrations. All of its data is invented."


class SimulatedOmetria:
    """Serves a simulated account over HTTP, from construction until `close()`.

    Attributes:
        account: The data.
        behaviour: The knobs; can be replaced at any time.
        requests: Every request, in order of arrival.
        base_url: What to give to the client.
        api_key: The only key that is accepted.
    """

    def __init__(self, account: SimulatedAccount, behaviour: Behaviour | None = None) -> None:
        self.account = account
        self.behaviour = behaviour or Behaviour()
        self.requests: list[Request] = []
        self.api_key = API_KEY
        self._faults: list[PlannedFault] = []
        self._waiting: list[tuple[int, Callable[[], object]]] = []
        self._arrivals: deque[float] = deque()
        self._errors: list[Exception] = []
        self._closing = threading.Event()
        self._random = random.Random(account.seed)
        self._stamping = threading.Lock()
        self._stamped = 0
        self._next_turn = threading.Condition(account.lock)
        self._served = 0
        self._wire = Wire(self._reply, self._closing)
        self._thread = threading.Thread(target=self._wire.serve_forever, args=(0.01,), name="simulated-ometria")
        self._thread.daemon = True
        self._thread.start()
        self.base_url = f"http://127.0.0.1:{self._wire.server_address[1]}{PREFIX}"

    def __enter__(self) -> SimulatedOmetria:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        # A change that failed in the server's thread would otherwise go unnoticed.
        if error is None and self._errors:
            raise self._errors[0]

    def close(self) -> None:
        """Stop: connections are closed, held answers released, threads joined. Closing twice is harmless."""
        if not self._closing.is_set():
            self._closing.set()
            self._wire.stop()
            self._thread.join()

    def requests_to(self, path_prefix: str) -> list[Request]:
        """Return the requests whose path begins so, e.g. "/profiles"."""
        return [request for request in list(self.requests) if request.path.startswith(path_prefix)]

    def fail(
        self, path_prefix: str, fault: int | NamedFault, times: int | None = 1, *, retry_after: str | None = None
    ) -> None:
        """Let the next requests under a path fail. Several plans for one path are worked off in order.

        Args:
            path_prefix: E.g. "/profiles"; "/" is every path; "/lists/" is what lies below the lists.
            fault: A status (its body is small JSON), or: "reset" (before an answer), "reset-mid-body", "truncated"
                (fewer bytes than Content-Length), "chunked-cut" (no last chunk), "html", "null", "object", "bad-json"
                (each with status 200), "hang" (until the server closes), "drip" (the body comes byte by byte and never
                ends), "drip-headers" (so do the headers), "redirect" (302).
            times: How many requests; None: for ever.
            retry_after: The `Retry-After` header that goes with a status; None: on 429, that of the behaviour.
        """
        with self.account.lock:
            self._faults.append(PlannedFault(path_prefix, fault, times, retry_after))

    def heal(self) -> None:
        """Forget all planned faults. Requests that hang already keep hanging."""
        with self.account.lock:
            self._faults.clear()

    def after_request(self, n: int, function: Callable[[], object]) -> None:
        """Call a function once, when the n-th request from now has been answered and before the next one is.

        It runs under the account's lock in the server's thread: it may change the account, the behaviour and the
        faults, but must not send a request itself. What it raises is raised again when the `with` block ends.
        """
        if n < 1:
            raise ValueError("n counts from 1")
        with self.account.lock:
            self._waiting.append((len(self.requests) + n, function))

    def _reply(self, method: str, target: str, headers: dict[str, str]) -> Reply:
        """Answer one request; called by the threads of the wire."""
        way = self.behaviour.latency / 2 + self._random.uniform(0, self.behaviour.jitter)
        if self._closing.wait(way):
            return Reply(0, b"")  # it never arrived
        parts = urlsplit(target)
        path = unquote(parts.path)
        inside = path == PREFIX or path.startswith(PREFIX + "/")
        path = path[len(PREFIX) :] or "/" if inside else path
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        with self._arrival() as at:
            behaviour = self.behaviour
            too_many = self._too_many(at)
            fault = self._next_fault(path)
            try:
                found = self._answer(method, path, query, headers, inside, too_many)
            except Exception as error:  # noqa: BLE001  a bug of the simulator must not look like an ordinary fault
                self._errors.append(error)
                found = Answer(500, encode({"status": 500, "message": "the simulator itself failed"}))
            reply = self._shape(found, fault, path, behaviour)
            self.requests.append(Request(method, path, query, headers, at, reply.status))
            self._call_waiting()
        self._closing.wait(behaviour.latency / 2)
        return reply

    @contextmanager
    def _arrival(self) -> Iterator[float]:
        """Stamp a request, and hold the account's lock while it has its turn; turns come in the order of the stamps."""
        with self._stamping:
            at, turn = time.monotonic(), self._stamped
            self._stamped += 1
        with self._next_turn:
            self._next_turn.wait_for(lambda: self._served == turn)
            try:
                yield at
            finally:
                self._served += 1
                self._next_turn.notify_all()

    def _answer(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], inside: bool, too_many: bool
    ) -> Answer:
        if method != "GET":
            return Answer(405, encode({"status": 405, "message": "Only GET is simulated"}), {"Allow": "GET"})
        if not inside and path == "/":
            return Answer(200, encode({"simulation": True, "message": _NOTICE}))
        if path.startswith("/redirected"):
            return Answer(200, b"[]")
        if headers.get("x-ometria-auth") != self.api_key:
            return RefusalError(self.behaviour.refused_status, "The API key is missing or wrong").answer
        if too_many:
            return RefusalError(429, "Too many requests").answer
        if not inside:
            return RefusalError(404, "Not found").answer
        return answer(self.account, self.behaviour, path, query)

    def _shape(self, found: Answer, planned: PlannedFault | None, path: str, behaviour: Behaviour) -> Reply:
        """Make the reply out of an answer and the fault that befalls it."""
        status, body, extra, content_type = found.status, found.body, dict(found.headers), "application/json"
        fault = planned.fault if planned else None
        if isinstance(fault, int):
            status, body = fault, encode({"status": fault, "message": "A simulated fault"})
        elif fault == "html":
            status, body, content_type = 200, b"<!doctype html><html><body>Please sign in</body></html>", "text/html"
        elif fault == "null":
            status, body = 200, b"null"
        elif fault == "object":
            status, body = 200, encode({"message": "A simulated fault"})
        elif fault == "bad-json":
            status, body = 200, b'[{"id": "1a2b", "email'
        elif fault == "redirect":
            status, body = 302, b""
            extra["Location"] = behaviour.redirect_to or f"{self.base_url}/redirected{path}"
        elif fault in ("reset", "hang"):
            status = 0
        if status == 429 and behaviour.retry_after is not None:
            extra["Retry-After"] = behaviour.retry_after
        if planned and planned.retry_after is not None:
            extra["Retry-After"] = planned.retry_after
        return Reply(status, body, content_type, extra, fault if isinstance(fault, str) else None)

    def _too_many(self, at: float) -> bool:
        """Count an arrival, and say whether it is one too many."""
        rate = self.behaviour.requests_per_second
        if rate is None:
            self._arrivals.clear()
            return False
        allowed = max(1, int(rate))
        window = 1.0 if rate >= 1 else 1 / rate
        while self._arrivals and self._arrivals[0] <= at - window:
            self._arrivals.popleft()
        self._arrivals.append(at)
        return len(self._arrivals) > allowed

    def _next_fault(self, path: str) -> PlannedFault | None:
        for planned in self._faults:
            if path.startswith(planned.path_prefix):
                if planned.times is not None:
                    planned.times -= 1
                    if planned.times <= 0:
                        self._faults.remove(planned)
                return planned
        return None

    def _call_waiting(self) -> None:
        due = [function for count, function in self._waiting if count <= len(self.requests)]
        self._waiting = [(count, function) for count, function in self._waiting if count > len(self.requests)]
        for function in due:
            try:
                function()
            except Exception as error:  # noqa: BLE001, PERF203  raised again by __exit__
                self._errors.append(error)
