"""Work on several files at a time.

dlt has threads for this too, but hands a reader the next turn only after all tables that are ready were written: its
readers and its writer take turns, and half of the machine waits. Here readers go on until a bounded number of tables
waits to be written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Files that are read at once: enough to hide the latency of a bucket. More take more memory, not less time.
MOST_READERS = 5

# Results that may wait to be taken, beside the one that each thread is at.
MOST_WAITING = 5

# Seconds in which readers may come to the end of their table when it is no longer wanted, as dlt gives its own. A
# thread that is inside Arrow when the program ends can bring it down.
LAST_SECONDS = 2.0


@dataclass(frozen=True)
class _End:
    """A thread has ended."""

    failure: BaseException | None = None


def in_parallel(
    items: Sequence[Item], work: Callable[[Item], Iterator[Result]], readers: int | None = None
) -> Generator[Result | None, None, None]:
    """Work on several items at a time, in threads.

    Args:
        items: Begun in their order.
        work: Called with an item; what it yields is handed on.
        readers: How many are worked on at once; None: `MOST_READERS`. One keeps the results in the order of the items.

    Yields:
        The results of all items, in the order in which they are ready; None when there is none yet, by which dlt knows
        that another resource may have its turn.

    Raises:
        BaseException: What `work` raises, after the results that were ready before; the other threads end when they
            have their next one.
    """
    working = _Readers(items, work, MOST_READERS if readers is None else readers)
    try:
        yield from working.results()
    finally:
        working.stop()


class _Readers(Generic[Item, Result]):
    def __init__(self, items: Sequence[Item], work: Callable[[Item], Iterator[Result]], readers: int) -> None:
        self._work = work
        self._items = iter(items)
        self._taking = threading.Lock()
        self._results: SimpleQueue[Result | _End] = SimpleQueue()
        self._places = threading.Semaphore(MOST_WAITING)
        self._stopped = threading.Event()
        self._running = min(readers, len(items))
        # daemons: the end of the program does not wait for a bucket that gives no answer
        self._threads = [
            threading.Thread(target=self._run, name=f"ometria-export-{number}", daemon=True)
            for number in range(self._running)
        ]
        for thread in self._threads:
            thread.start()

    def results(self) -> Iterator[Result | None]:
        while self._running:
            try:
                result = self._results.get_nowait()
            except Empty:
                yield None
                continue
            if isinstance(result, _End):
                self._running -= 1
                if result.failure is not None:
                    raise result.failure
            else:
                self._places.release()
                yield result

    def stop(self) -> None:
        self._stopped.set()
        self._places.release(MOST_READERS)
        end = time.monotonic() + LAST_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        failure = None
        try:
            while not self._stopped.is_set() and (turn := self._take()):
                self._read(*turn)
        except BaseException as error:  # noqa: BLE001  raised again where the results are taken
            failure = error
        self._results.put(_End(failure))

    def _take(self) -> tuple[Item, ...]:
        """The next item; empty where there is none."""
        with self._taking:
            return tuple(islice(self._items, 1))

    def _read(self, item: Item) -> None:
        for result in self._work(item):
            self._places.acquire()
            if self._stopped.is_set():
                return
            self._results.put(result)
