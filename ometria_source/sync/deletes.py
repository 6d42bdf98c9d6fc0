"""Deleted rows: how a complete scan removes them, and when it must not.

A table's merge deletes what its staged rows cover, then inserts them. The last row of a complete scan is a marker,
whose key is `*`: it covers the whole table and is itself never inserted. Without a marker (an incremental, limited or
interrupted scan) only the rows read again are replaced. The merge's hints never change: dlt keeps them with the table,
so that hints for one run would also act on the next.

The guard comes before the marker: a scan that would remove much of a table is more often the wrong key than a clean-up.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import dlt
from dlt.common.schema.typing import TDeleteInsertStrategyDict

from ometria_source.exceptions import MassDeletionError
from ometria_source.sync.destination import running_strategy

# No id of Ometria's is known to look like this (they are hex groups and numbers; Ometria docs: Profiles and Lists API).
COMPLETE_SCAN_MARKER = "*"

# A complete scan may remove this share of a table, or this many rows, without being asked about it. Both are guesses at
# what ordinary housekeeping removes in a day.
DELETES_SHARE = 0.1
DELETES_ROWS = 10

# Ids kept in state for the guard: 8 KB, and the missing share of a large table is then known to about one percent.
SKETCH_SIZE = 512
HASH_BYTES = 8


def snapshot_merge(*key: str) -> TDeleteInsertStrategyDict:
    """The write disposition of a table whose complete scans remove what is gone.

    Args:
        key: The primary key, of columns that are text.
    """
    one = one_text(*key)
    return {
        "disposition": "merge",
        "strategy": "delete-insert",
        "source_filter": f"{key[-1]} <> '{COMPLETE_SCAN_MARKER}'",
        # in brackets as a whole: under `scd2`, dlt joins it to other conditions with AND
        "destination_scope": (
            f"({one} IN (SELECT {one} FROM {{staging_table}}) "  # noqa: S608  all are constants of ours
            f"OR EXISTS (SELECT 1 FROM {{staging_table}} WHERE {key[-1]} = '{COMPLETE_SCAN_MARKER}'))"
        ),
    }


def one_text(*key: str) -> str:
    """SQL that makes one text of the columns of a key, and another of every other key.

    Args:
        key: Columns that are text.
    """
    # only the separator has a 0 behind the slash
    return key[0] if len(key) == 1 else " || '/0' || ".join(f"REPLACE({column}, '/', '/1')" for column in key)


def is_id(value: object) -> bool:
    """Whether a value of the API can be a key: it is there, and it is not the marker."""
    return value not in (None, "", COMPLETE_SCAN_MARKER)


def is_limited() -> bool:
    """Whether the running resource has a limit (`add_limit`): it must then neither remove rows nor move a watermark."""
    return dlt.current.resource().limit is not None


def is_merged() -> bool:
    """Whether the running table is merged; if not, it must not get a marker: only a merge takes that away.

    Raises:
        ConfigurationError: It must not be loaded at this destination like this; as `strategy_at`.
    """
    return running_strategy() is not None


class IdSketch:
    """What a table's ids were, in a few kilobytes: the smallest of their hashes.

    Two such sets show which share of the first is missing in the second, also when both tables have the same size, as
    those of two different accounts may have.

    Args:
        ids: Ids to begin with.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self.rows = 0
        self._hashes: set[int] = set()
        self._highest = 1 << (8 * HASH_BYTES)
        for identifier in ids:
            self.add(identifier)

    def add(self, identifier: str) -> None:
        """Take note of an id. One that is added twice counts once, where the table is small."""
        number = int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=HASH_BYTES).digest(), "big")
        if number in self._hashes:
            return
        self.rows += 1
        if number < self._highest:
            self._hashes.add(number)
            if len(self._hashes) > 2 * SKETCH_SIZE:
                self._trim()

    def _trim(self) -> None:
        if len(self._hashes) > SKETCH_SIZE:
            self._hashes = set(sorted(self._hashes)[:SKETCH_SIZE])
            self._highest = max(self._hashes)

    def to_state(self) -> dict[str, Any]:
        """The sketch as JSON for dlt's state."""
        self._trim()
        width = 2 * HASH_BYTES
        return {"rows": self.rows, "hashes": "".join(f"{number:0{width}x}" for number in sorted(self._hashes))}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> IdSketch:
        """The sketch that `to_state` gave."""
        sketch = cls()
        width, text = 2 * HASH_BYTES, state["hashes"]
        sketch.rows = state["rows"]
        sketch._hashes = {int(text[place : place + width], 16) for place in range(0, len(text), width)}
        if len(sketch._hashes) >= SKETCH_SIZE:
            sketch._highest = max(sketch._hashes)
        return sketch

    def include(self, other: IdSketch) -> None:
        """Take note of rows that an incremental scan read, most of which are not new."""
        self._hashes |= {number for number in other._hashes if number < self._highest}
        self.rows = max(self.rows, len(self._hashes))
        self._trim()

    def missing_in(self, other: IdSketch) -> int:
        """About how many ids of this sketch are not in `other`: exact for small tables, rather low for large ones."""
        self._trim()
        other._trim()
        common_range = [number for number in self._hashes if number <= other._highest]
        gone = sum(number not in other._hashes for number in common_range)
        if self.rows <= SKETCH_SIZE or not common_range:
            return max(gone, self.rows - other.rows)
        # three standard deviations off: a clean-up of less than a tenth must not be taken for more by chance
        share = gone / len(common_range)
        certain = share - 3 * math.sqrt(DELETES_SHARE * (1 - DELETES_SHARE) / len(common_range))
        return max(round(certain * self.rows), self.rows - other.rows, 0)


def guard_deletions(table: str, before: IdSketch, after: IdSketch, allow_deletes: bool, of: str = "rows") -> None:
    """Refuse a complete scan that would remove a large part of a table.

    Args:
        table: Its name, for the error.
        before: The ids that the table holds.
        after: The ids that the scan found.
        allow_deletes: The user's word that they are really gone.
        of: What the ids stand for, for the error.

    Raises:
        MassDeletionError: More than a tenth of the rows, and more than ten, would go.
    """
    missing = before.missing_in(after)
    if not allow_deletes and missing > DELETES_ROWS and missing > before.rows * DELETES_SHARE:
        raise MassDeletionError(table, missing, before.rows, of)
