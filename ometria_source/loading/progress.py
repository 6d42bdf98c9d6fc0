"""The progress of a run: a bar for each table on a terminal, elsewhere a line every 30 seconds.

Both read the metrics that the running resource counts, from a thread of their own, and write to standard error.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, Protocol, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ometria_source.exceptions import InvalidSettingError
from ometria_source.sync.metrics import FILES_TO_READ, LISTS_READ, LISTS_TO_READ, REQUESTS, ROWS_EXPECTED, ROWS_READ

Metrics = Mapping[str, Any]

# Of a step that counts nothing.
NOTHING: Metrics = {}

# Seconds between two looks, and between two lines.
LOOK_EVERY = 0.25
LINE_EVERY = 30.0

# What is read one by one, and how many of it there are, where that is known; the first pair that a table has is shown.
SIZES = (
    ("files_read", FILES_TO_READ, "files"),
    (LISTS_READ, LISTS_TO_READ, "lists"),
    (ROWS_READ, ROWS_EXPECTED, "rows"),
)


class Display(Protocol):
    """Shows what a run is at."""

    def step(self, name: str, metrics: Metrics = NOTHING) -> AbstractContextManager[None]:
        """Show one step while it lasts.

        Args:
            name: A table, or what else is done.
            metrics: What it counts, which changes while it lasts.
        """


class _Lasting:
    """A stream that takes what is written also when its terminal is gone, which must not end a load."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Bars:
    """A bar for each step, on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=cast(TextIO, _Lasting(stream)))

    @contextmanager
    def step(self, name: str, metrics: Metrics = NOTHING) -> Iterator[None]:
        """As `Display.step`."""
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=False, compact=True),
            console=self._console,
            auto_refresh=False,
        ) as bars:
            bar, began = bars.add_task(f"{name:<24}", total=None, figures=""), time.monotonic()
            with _every(LOOK_EVERY, lambda: _show(bars, bar, metrics, began)):
                yield
            _show(bars, bar, metrics, began, is_done=True)


class Lines:
    """A line every now and then, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = _Lasting(stream)

    @contextmanager
    def step(self, name: str, metrics: Metrics = NOTHING) -> Iterator[None]:
        """As `Display.step`."""
        began = time.monotonic()

        def print_line() -> None:
            seconds = time.monotonic() - began
            figures = ", ".join(part for part in (_figures(metrics, seconds), f"{seconds:.0f} s") if part)
            print(f"{name}: {figures}", file=self._stream, flush=True)

        with _every(LINE_EVERY, print_line):
            yield


class Nothing:
    """Shows nothing."""

    @contextmanager
    def step(self, name: str, metrics: Metrics = NOTHING) -> Iterator[None]:  # noqa: ARG002  as `Display`
        """As `Display.step`."""
        yield


def display(progress: str | None) -> Display:
    """How to show the progress of a load, on standard error.

    Args:
        progress: "bar", "log", or None for nothing.

    Raises:
        InvalidSettingError: It is another word.
    """
    if progress not in (None, "bar", "log"):
        raise InvalidSettingError("progress", 'must be "bar" or "log", or not be given.')
    if progress is None:
        return Nothing()
    return Bars(sys.stderr) if progress == "bar" else Lines(sys.stderr)


@contextmanager
def _every(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Do something again and again in a thread, until the block ends."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            act()

    thread = threading.Thread(target=repeat, name="progress", daemon=True)
    thread.start()
    with ExitStack() as stack:
        stack.callback(thread.join)
        stack.callback(ended.set)
        yield


def _show(bars: Progress, bar: TaskID, metrics: Metrics, began: float, *, is_done: bool = False) -> None:
    read, total, _ = _size(metrics)
    if is_done:
        read = total = max(read, 1)
    bars.update(bar, completed=read, total=total, figures=_figures(metrics, time.monotonic() - began), refresh=True)


def _size(metrics: Metrics) -> tuple[int, int | None, str]:
    """What was read of what there is, and of what; None: it is not known how much there is."""
    for read, total, unit in SIZES:
        if metrics.get(total):
            # there may be more by now
            return int(metrics.get(read, 0)), max(int(metrics[total]), int(metrics.get(read, 0))), unit
    return 0, None, ""


def _figures(metrics: Metrics, seconds: float) -> str:
    """What was read by now, and how fast."""
    rows = metrics.get(ROWS_READ, 0)
    parts = []
    read, total, unit = _size(metrics)
    if total is not None and unit != "rows":
        parts.append(f"{read:,}/{total:,} {unit}")
    if requests := metrics.get(REQUESTS):
        parts.append(f"{requests:,} requests")
    if rows:
        parts.append(f"{rows:,} rows, {rows / max(seconds, 0.001):,.0f} a second")
    return ", ".join(parts)
