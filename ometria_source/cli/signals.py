"""Signals that end the program: SIGTERM, as Kubernetes, systemd and cancelled jobs send it, does what Ctrl-C does."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from ometria_source.constants import SIGNAL_STATUS

ENDING = (signal.SIGINT, signal.SIGTERM)

INTERRUPTED = "Interrupted. What was loaded before stays; the next run reads the rest again."


class SignalInterrupt(KeyboardInterrupt):
    """A signal that ends the program.

    Attributes:
        signal_code: Its number, under the name that dlt gives it.
    """

    def __init__(self, signal_code: int) -> None:
        self.signal_code = signal_code
        super().__init__()


@contextmanager
def interrupts() -> Iterator[None]:
    """Let signals raise `SignalInterrupt` until the block ends, but for those that are ignored, as under `nohup`."""
    with _handled(_interrupt):
        yield


@contextmanager
def ends_at_once() -> Iterator[None]:
    """Let signals end this process with a sentence until the block ends, because an import could not be ended well."""
    with _handled(_end):
        yield


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let signals end this process when the block has ended; a second one ends it at once."""
    waiting: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        if waiting:
            _end(number, frame)
        waiting.append(number)

    with _handled(wait):
        yield


@contextmanager
def _handled(handler: object) -> Iterator[None]:
    # Python lets no other thread set them
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in ENDING if is_main}
    for number, known in before.items():
        if known is not signal.SIG_IGN:
            signal.signal(number, handler)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    raise SignalInterrupt(number)


def _end(number: int, _: FrameType | None) -> NoReturn:
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{INTERRUPTED}\n".encode())
    os._exit(SIGNAL_STATUS + number)
