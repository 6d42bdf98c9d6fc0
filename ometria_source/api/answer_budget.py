"""How many bytes of answers may be in memory at once, while they are read, unpacked and parsed.

The oldest answer always goes on, however long it is, so that none waits for ever; another one goes on while all
together are within the bound. So no more is in memory than twice the bound, where no single answer is longer than that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from ometria_source.api.pacing import LONGEST_NAP, RequestCancelledError


class AnswerBudget:
    """Admits the bytes of answers. Safe to share between threads."""

    def __init__(self) -> None:
        self._changes = threading.Condition()
        # bytes of each, the oldest first
        self._sizes: dict[object, int] = {}

    def admit(
        self,
        answer: object,
        size: int,
        most: int,
        cancelled: Callable[[], bool],
        waiting: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """Return when an answer may have this size, which it has until `release`.

        Args:
            answer: Stands for the answer.
            size: Bytes, unpacked.
            most: The bound of all answers together.
            cancelled: Whether it is no longer wanted; asked while it waits.
            waiting: A context to wait in.

        Raises:
            RequestCancelledError: It is no longer wanted.
        """
        with ExitStack() as wait, self._changes:
            self._sizes.setdefault(answer, 0)
            if self._is_too_much(answer, size, most):
                wait.enter_context(waiting())
            while self._is_too_much(answer, size, most):
                self._changes.wait(LONGEST_NAP)
                if cancelled():
                    raise RequestCancelledError
            self._sizes[answer] = size

    def release(self, answer: object) -> None:
        """Forget an answer; harmless for one that has never been admitted.

        Args:
            answer: As for `admit`.
        """
        with self._changes:
            self._sizes.pop(answer, None)
            self._changes.notify_all()

    def _is_too_much(self, answer: object, size: int, most: int) -> bool:
        is_oldest = next(iter(self._sizes)) is answer
        return not is_oldest and sum(self._sizes.values()) - self._sizes[answer] + size > most
