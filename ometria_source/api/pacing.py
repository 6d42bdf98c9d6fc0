"""Pacing: every request to an account takes a turn, so that all tables and threads together keep to its rate.

Turns are evenly spaced instead of handed out in bursts: a burst that jitter pushes together breaks a strict limit, an
even spacing does not. A 429 means that somebody else uses the account too: the pace is halved, and recovers step by
step.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# One 429 halves the pace; about twenty good answers bring it back. Guesses: Ometria documents no more than the status.
SLOW_DOWN = 0.5
RECOVERY = 1.035

# However many 429s arrive, the pace stays above this share of the setting, so that a scan still ends.
SLOWEST_SHARE = 0.1


class Pacer:
    """Hands out turns at an even pace. Safe to share between threads.

    Args:
        requests_per_second: The pace when nobody complains.
        clock: Seconds that only ever grow.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        requests_per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limit = self._pace = requests_per_second
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next_turn = clock()

    def set_limit(self, requests_per_second: float) -> None:
        """Change the pace for all who share this pacer; one that is slowed down stays so if nothing changes."""
        with self._lock:
            if requests_per_second != self._limit:
                self._limit = self._pace = requests_per_second

    def wait_for_turn(self) -> None:
        """Return when the next request may be sent."""
        with self._lock:
            turn = max(self._clock(), self._next_turn)
            self._next_turn = turn + 1 / self._pace
        while (wait := turn - self._clock()) > 0:
            self._sleep(wait)

    def slow_down(self, pause: float) -> None:
        """Note a 429: halve the pace, and let nobody send for `pause` seconds."""
        with self._lock:
            self._pace = max(self._pace * SLOW_DOWN, self._limit * SLOWEST_SHARE)
            self._next_turn = max(self._next_turn, self._clock() + pause)

    def recover(self) -> None:
        """Note a good answer: go a step back towards the full pace."""
        with self._lock:
            self._pace = min(self._pace * RECOVERY, self._limit)


_pacers: dict[str, Pacer] = {}
_pacers_lock = threading.Lock()


def shared_pacer(account: str, requests_per_second: float) -> Pacer:
    """The one pacer of an account in this process; the latest `requests_per_second` holds."""
    with _pacers_lock:
        if account in _pacers:
            _pacers[account].set_limit(requests_per_second)
        else:
            _pacers[account] = Pacer(requests_per_second)
        return _pacers[account]
