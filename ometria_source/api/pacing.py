"""The rate limiter of an account: every request takes a turn, so that all tables and threads keep to one rate.

Callers queue; only the first in the queue opens a connection and waits for its turn, so that no connection goes stale
in the meantime. A turn ends when the request has been sent, so what is measured is what the server sees, less the way
there. Two rules hold at once. Turns are evenly spaced, because a burst is unkind to the account's other integrations.
And never are more requests sent than are allowed, counted over any period as long as the server's window and a guard: a
request that the network delayed by as long as the guard still arrives in a window of its own.

A 429 means that other clients use the account too: the pace is halved, and recovers step by step. This is why no
library does the work: pyrate-limiter 4.5 and requests-ratelimiter 0.10 hold a bucket to rates that are fixed when it is
made, have no pause that a server asks for, and take the turn before the connection is opened.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Seconds by which the network may delay one request more than another before a strict window overflows. 40 ms are
# ordinary jitter over the internet, and 5 ms that of a busy machine; both are guesses. They cost 4.3 % of the rate.
GUARD = 0.045

# One 429 halves the pace; about twenty good answers bring it back. Guesses: Ometria documents no more than the status.
SLOW_DOWN = 0.5
RECOVERY = 1.035

# However many 429s arrive, the pace stays above this share of the setting, so that a scan still ends.
SLOWEST_SHARE = 0.1

# The share of the space between two turns by which one may be late without moving those that follow.
SLACK = 0.1

# Seconds after which a waiting caller checks whether its request is still wanted.
LONGEST_NAP = 0.25


class RequestCancelledError(Exception):
    """The request is no longer wanted."""


class Pacer:
    """Hands out turns at an even pace. Safe to share between threads.

    Args:
        requests: How many may be sent in `seconds` while no 429 comes.
        seconds: The window that the server counts in.
        clock: Seconds that only ever grow.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        requests: float,
        seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._sleep = sleep
        self._queue: deque[object] = deque()
        self._queue_moves = threading.Condition()
        self._lock = threading.Lock()
        self._next_turn = clock()
        self._slowed_at = self._next_turn
        self._share = 1.0
        self._left: deque[float] = deque()
        self._set_limit(requests)

    def _set_limit(self, requests: float) -> None:
        self._limit = requests
        # whole requests, in the stretch of time that holds no part of one
        self._whole = max(1, int(requests))
        self._window = self._seconds * self._whole / requests + GUARD
        self._left = deque(self._left, maxlen=self._whole)

    def set_limit(self, requests: float) -> None:
        """Change the pace for all who share this pacer; one that is slowed down stays so if nothing changes."""
        with self._lock:
            if requests != self._limit:
                self._set_limit(requests)

    def acquire(self, ticket: object, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Return when this caller is the first in the queue, which it stays until `release`.

        Args:
            ticket: Stands for the caller in the queue.
            cancelled: As for `turn`.

        Raises:
            RequestCancelledError: The request is no longer wanted.
        """
        try:
            with self._queue_moves:
                self._queue.append(ticket)
                while self._queue[0] is not ticket:
                    self._queue_moves.wait(LONGEST_NAP)
                    if cancelled():
                        raise RequestCancelledError
        except BaseException:
            self.release(ticket)
            raise

    def release(self, ticket: object) -> None:
        """Let the next caller come forward; harmless for one that has released already.

        Args:
            ticket: As for `acquire`.
        """
        with self._queue_moves:
            if ticket in self._queue:
                self._queue.remove(ticket)
                self._queue_moves.notify_all()

    @contextmanager
    def turn(self, cancelled: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Wait until a request may be sent, and send it inside this context; for the first in the queue.

        Args:
            cancelled: Whether the request is no longer wanted; asked until it is sent.

        Raises:
            RequestCancelledError: It is not; no turn was used.
        """
        while (wait := self._time_to_wait()) > 0:
            if cancelled():
                raise RequestCancelledError
            self._sleep(min(wait, LONGEST_NAP))
        if cancelled():
            raise RequestCancelledError
        self._take()
        try:
            yield
        finally:
            with self._lock:
                self._left.append(self._clock())

    def _time_to_wait(self) -> float:
        with self._lock:
            free = self._left[0] + self._window if len(self._left) == self._whole else 0.0
            return max(self._next_turn, free) - self._clock()

    def _take(self) -> None:
        with self._lock:
            now, spacing = self._clock(), self._window / self._whole / self._share
            # a caller that wakes a little late does not delay all that follow; idle time is not saved up
            due = self._next_turn if now - self._next_turn < spacing * SLACK else now
            self._next_turn = due + spacing

    def now(self) -> float:
        """The pacer's time, for `slow_down` and `recover`."""
        return self._clock()

    def slow_down(self, sent_at: float, pause: float) -> None:
        """Handle a 429: halve the pace, and send nothing for `pause` seconds.

        Args:
            sent_at: When the refused request left. Those that left before the pace was halved do not halve it again.
            pause: Seconds that the server asks for.
        """
        with self._lock:
            now = self._clock()
            if sent_at >= self._slowed_at:
                self._share = max(self._share * SLOW_DOWN, SLOWEST_SHARE)
                self._slowed_at = now
            self._next_turn = max(self._next_turn, now + pause)

    def recover(self, sent_at: float) -> None:
        """Note a good answer: go a step back towards the full pace.

        Args:
            sent_at: When the request left. One that left before the pace was halved says nothing about the pace since.
        """
        with self._lock:
            if sent_at >= self._slowed_at:
                self._share = min(self._share * RECOVERY, 1.0)


_pacers: dict[str, Pacer] = {}
_pacers_lock = threading.Lock()


def shared_pacer(name: str, requests: float, seconds: float = 1.0) -> Pacer:
    """The one pacer of this name in this process; the latest `requests` holds.

    Args:
        name: Of the account, or of one of its endpoints that has a limit of its own.
        requests: As for `Pacer`.
        seconds: As for `Pacer`.
    """
    with _pacers_lock:
        if name in _pacers:
            _pacers[name].set_limit(requests)
        else:
            _pacers[name] = Pacer(requests, seconds)
        return _pacers[name]
