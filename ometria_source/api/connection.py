"""One request on the wire: when it is sent, when it has taken too long, and how it is cancelled."""

from __future__ import annotations

import contextlib
import http.client
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.poolmanager import ProxyManager
from urllib3.util.connection import is_connection_dropped

from ometria_source.api.pacing import Pacer

_current: ContextVar[Attempt] = ContextVar("attempt")


class RequestHandle:
    """The handle of a request, with all its attempts, for a caller in another thread.

    Args:
        on_sent: Called once, when the first attempt has been sent.
    """

    def __init__(self, on_sent: Callable[[], None] | None = None) -> None:
        self.cancelled = threading.Event()
        self._on_sent = on_sent
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def cancel(self) -> None:
        """Cancel the request, wherever it is; harmless when it has ended.

        When it is just ending, another that took over its connection may have to be tried again.
        """
        self.cancelled.set()
        self.disconnect()

    def disconnect(self) -> None:
        """Break the connection that the request is on, if it is on one."""
        with self._lock:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # a TLS socket's own method would break a read that is under way
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def attach(self, connection: socket.socket | None) -> None:
        """Note the connection that an attempt is on; None when it is on none, or done with it."""
        with self._lock:
            self._socket = connection
        if self.cancelled.is_set():
            self.disconnect()

    def mark_sent(self) -> None:
        """Note that an attempt has been sent."""
        on_sent, self._on_sent = self._on_sent, None
        if on_sent is not None:
            on_sent()


class Attempt:
    """One attempt of a request: a context in which to send and receive in this thread.

    Args:
        handle: The request that it belongs to.
        pacer: Whose turn to take.
        longest_opening: Seconds after which a connection on which the other side has answered, but which does not
            stand, is given up. (Until then it is urllib3's own time-out that counts, for each of the host's addresses.)
        longest_answer: Seconds after which an answer that is not there whole is given up.

    Attributes:
        sent_at: When it was sent, in the pacer's time; None before that.
        overdue: Whether it was given up.
    """

    def __init__(self, handle: RequestHandle, pacer: Pacer, longest_opening: float, longest_answer: float) -> None:
        self.sent_at: float | None = None
        self.overdue = False
        self._request = handle
        self._pacer = pacer
        self._longest_opening = longest_opening
        self._longest_answer = longest_answer
        self._timer: threading.Timer | None = None
        self._due = 0.0
        self._opening_socket: socket.socket | None = None

    def __enter__(self) -> Attempt:
        self._pacer.acquire(self, self._request.cancelled.is_set)
        self._token = _current.set(self)
        return self

    def __exit__(self, *error: object) -> None:
        _current.reset(self._token)
        self._pacer.release(self)
        self._stop_watching()

    def open(self, connect: Callable[[], None]) -> None:
        """Open a connection, through a proxy or TLS, however steadily the other side drips."""
        self._watch(None, self._longest_opening)
        try:
            connect()
        finally:
            self._stop_watching()
            if self._opening_socket is not None:
                self._opening_socket.close()
                self._opening_socket = None

    def watch_opening(self, connection: socket.socket) -> None:
        """Watch over a connection on which more may have to be said before it stands."""
        # TLS will take the place of the socket itself
        self._opening_socket = connection.dup()
        self._request.attach(self._opening_socket)
        if self.overdue:
            self._request.disconnect()

    def send(self, connection: _PacedConnection, send: Callable[[], None]) -> None:
        """Send the request through an open connection when its turn has come.

        Raises:
            RequestCancelledError: It is no longer wanted.
        """
        try:
            with self._pacer.turn(self._request.cancelled.is_set):
                if connection.can_be_replaced and is_connection_dropped(connection):
                    # the pause before this turn was longer than the server keeps an idle connection
                    connection.close()
                    connection.connect()
                self.sent_at = self._pacer.now()
                # what TLS within TLS wraps
                self._watch(getattr(connection.sock, "socket", connection.sock), self._longest_answer)
                send()
        finally:
            # also when the pipe breaks, which urllib3 passes over, since an answer may have come before
            self._pacer.release(self)
            if self.sent_at is not None:
                self._request.mark_sent()

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Let the time that the answer may take stand still: here, the caller does not read it."""
        left = self._due - time.monotonic()
        self._stop_timer()
        try:
            yield
        finally:
            self._start_timer(left)

    def _watch(self, connection: socket.socket | None, longest: float) -> None:
        self._start_timer(longest)
        self._request.attach(connection)

    def _stop_watching(self) -> None:
        self._stop_timer()
        self._request.attach(None)

    def _start_timer(self, seconds: float) -> None:
        self._due = time.monotonic() + seconds
        self._timer = threading.Timer(seconds, self._give_up)
        self._timer.daemon = True
        self._timer.start()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _give_up(self) -> None:
        self.overdue = True
        self._request.disconnect()


class _FinalResponse(http.client.HTTPResponse):
    """Passes over interim answers, such as 103 Early Hints; `http.client` does so with 100 only (RFC 9110, 15.2)."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]  # the stubs leave it out
            # 101 is final for a client that has not asked for it; 100 is passed over by the caller
            if status <= HTTPStatus.SWITCHING_PROTOCOLS or status >= HTTPStatus.OK:
                return version, status, reason
            http.client.parse_headers(self.fp)


class _PacedConnection(HTTPConnection):
    response_class = _FinalResponse
    has_served = False

    def connect(self) -> None:
        _current.get().open(super().connect)

    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        _current.get().watch_opening(connection)
        return connection

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            self.connect()
        send = super().request
        _current.get().send(self, lambda: send(*args, **kwargs))
        self.has_served = True

    @property
    def can_be_replaced(self) -> bool:
        """Whether it may be closed and opened again where it seems to be dropped.

        None through a proxy: closing it forgets the tunnel, so that the request, key and all, would go to the proxy.
        """
        return self.proxy is None


class _PacedTlsConnection(_PacedConnection, HTTPSConnection):
    @property
    def can_be_replaced(self) -> bool:
        """As above, and no new one: in TLS 1.3 the server speaks first, which looks like a dropped connection."""
        return super().can_be_replaced and self.has_served


class _PacedPool(HTTPConnectionPool):
    ConnectionCls = _PacedConnection


class _PacedTlsPool(HTTPSConnectionPool):
    ConnectionCls = _PacedTlsConnection


_POOLS = {"http": _PacedPool, "https": _PacedTlsPool}


class PacedAdapter(HTTPAdapter):
    """Sends each request of a session as the attempt that this thread is in, through a proxy as well."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make connections that take turns."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> ProxyManager:
        """Make connections through a proxy that take turns."""
        manager: ProxyManager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _WithoutQuery(logging.Filter):
    """Cuts the query off every URL in urllib3's log lines: at DEBUG it writes down each request's."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(re.sub(r"\?\S*", "", arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


_without_query = _WithoutQuery()


def keep_queries_out_of_logs() -> None:
    """Let no log line of urllib3's hold a URL's query. Calling it again changes nothing."""
    for name in ("urllib3.connectionpool", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(_without_query)
