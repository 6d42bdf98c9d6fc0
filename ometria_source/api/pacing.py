"""Pacing: every request to an account takes a turn, so that all tables and threads together keep to its rate.

Who wants to send stands in line; only the first in line opens a connection and waits for its turn, so that none goes
stale in the meantime. A turn ends when the request has left, so what is measured is what the server sees, less the way
there. Two rules hold at once. Turns are evenly spaced, because a burst is unkind to the account's
other integrations. And never do more requests leave than are allowed, counted over any stretch as long as the server's
window and a guard: a request that the network held up for as long as the guard still arrives in a window of its own.

A 429 means that somebody else uses the account too: the pace is halved, and recovers step by step. This is why no
library does the work: pyrate-limiter 4.5 and requests-ratelimiter 0.10 hold a bucket to rates that are fixed when it is
made, have no pause that a server asked for, and take the turn before the connection is opened.
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

# Seconds after which somebody who waits for a turn looks whether it is still wanted.
LONGEST_NAP = 0.25


class CalledOffError(Exception):
    """Nobody wants this request any more."""


class Pacer:
    """Hands out turns at an even pace. Safe to share between threads.

    Args:
        requests: How many may be sent in `seconds` when nobody complains.
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
        self._line: deque[object] = deque()
        self._line_moves = threading.Condition()
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

    def stand_in_line(self, place: object, called_off: Callable[[], bool] = lambda: False) -> None:
        """Return when this caller is the first in line, which it stays until `leave_line`.

        Args:
            place: What stands for the caller in the line.
            called_off: As for `turn`.

        Raises:
            CalledOffError: The request is no longer wanted.
        """
        try:
            with self._line_moves:
                self._line.append(place)
                while self._line[0] is not place:
                    self._line_moves.wait(LONGEST_NAP)
                    if called_off():
                        raise CalledOffError
        except BaseException:
            self.leave_line(place)
            raise

    def leave_line(self, place: object) -> None:
        """Let the next one come forward; harmless for one that has left.

        Args:
            place: As for `stand_in_line`.
        """
        with self._line_moves:
            if place in self._line:
                self._line.remove(place)
                self._line_moves.notify_all()

    @contextmanager
    def turn(self, called_off: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Wait until a request may be sent, and send it inside this context; for the first in line.

        Args:
            called_off: Whether the request is no longer wanted; asked until it is sent.

        Raises:
            CalledOffError: It is not; no turn was used.
        """
        while (wait := self._time_to_wait()) > 0:
            if called_off():
                raise CalledOffError
            self._sleep(min(wait, LONGEST_NAP))
        if called_off():
            raise CalledOffError
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
            # somebody who overslept a little does not delay all who follow; idle time is not saved up
            due = self._next_turn if now - self._next_turn < spacing * SLACK else now
            self._next_turn = due + spacing

    def now(self) -> float:
        """The pacer's time, for `slow_down` and `recover`."""
        return self._clock()

    def slow_down(self, sent_at: float, pause: float) -> None:
        """Note a 429: halve the pace, and let nobody send for `pause` seconds.

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
