"""Bound the columns that one run adds to a table.

Each new column costs memory at each step of a load, and most databases end at some thousand of them. So many names are
no columns, but values: ids or addresses instead of names.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable

from dlt.common.schema.typing import TSchemaContractDict

from ometria_source.exceptions import TooManyColumnsError

# Tables of PostgreSQL end at 1,600 columns (PostgreSQL docs: Limits), and 5,000 new ones took 3.4 GB of memory. That no
# account has as many fields is a guess.
MAX_NEW_COLUMNS = 1_000

# So many of them are shown.
NAMES_SHOWN = 3


class NewColumns:
    """The columns that one run adds to a table. Safe to share between threads.

    Args:
        table: Its name, for errors and notices.
        known: The columns that it has, or that are declared.
        contract: Its schema contract: what it discards is discarded beyond the bound, on a first load as well.
        note: Takes a sentence for the user.
    """

    def __init__(
        self, table: str, known: Collection[str], contract: TSchemaContractDict, note: Callable[[str], None]
    ) -> None:
        self._table = table
        self._known = frozenset(known)
        self._mode = contract["columns"]
        self._note = note
        self._new: dict[str, None] = {}
        self._has_warned = False
        self._lock = threading.Lock()

    @property
    def leaves_out_rows(self) -> bool:
        """Whether a row with a column beyond the bound is left out, rather than the value."""
        return self._mode == "discard_row"

    def left_out(self, columns: Iterable[str], shown: Callable[[str], str]) -> list[str]:
        """Record the columns of rows.

        Args:
            columns: Their names in the table.
            shown: The name that may be shown for one of them.

        Returns:
            Those that are beyond the bound, and are not added.

        Raises:
            TooManyColumnsError: There are some, and the contract does not discard them.
        """
        beyond = []
        with self._lock:
            for column in columns:
                if column in self._known or column in self._new:
                    continue
                if len(self._new) < MAX_NEW_COLUMNS:
                    self._new[column] = None
                    continue
                beyond.append(column)
            if beyond and self._mode not in ("discard_value", "discard_row"):
                names = [shown(column) for column in list(self._new)[:NAMES_SHOWN]]
                raise TooManyColumnsError(self._table, MAX_NEW_COLUMNS, names)
            if beyond and not self._has_warned:
                self._has_warned = True
                self._note(
                    f"more than {MAX_NEW_COLUMNS:,} new columns; the others are left out because of `schema_contract`"
                )
        return beyond
