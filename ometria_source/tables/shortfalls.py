"""Collections that give fewer rows than Ometria says they hold.

How far `offset` may go is not documented: a server that answers nothing behind some place looks as if it had no more.
`size` of a list and `count` of a collection may be hours old, so that this is no error.
"""

from __future__ import annotations

import logging

from ometria_source.settings import DELETES_ROWS, DELETES_SHARE

log = logging.getLogger(__name__)


class Shortfalls:
    """Those of one run of a table.

    Args:
        table: Its name, for the notice.
        of: What its rows are in: `lists`.
    """

    def __init__(self, table: str, of: str) -> None:
        self._table = table
        self._of = of
        self._short: list[tuple[int, int]] = []

    def note(self, read: int, expected: object) -> None:
        """Take note of one that was read to its end.

        Args:
            read: How many rows it gave.
            expected: How many Ometria says that it has; of another type where it says nothing.
        """
        if not isinstance(expected, int):
            return
        missing = expected - read
        if missing > DELETES_ROWS and missing > expected * DELETES_SHARE:
            self._short.append((read, expected))

    def warn(self) -> None:
        """Tell of all of them."""
        if self._short:
            read, expected = (sum(counts) for counts in zip(*self._short, strict=True))
            log.warning(
                "%s: %d %s gave %d rows, where Ometria says %d. If that stays so, report it to the maintainers of this "
                "project: the server may end too early",
                self._table,
                len(self._short),
                self._of,
                read,
                expected,
            )
