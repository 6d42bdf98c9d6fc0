"""Which columns tell the rows of a sample apart. A fact about the sample, and no more than a hint about the export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import pyarrow as pa
import pyarrow.compute as pc

from ometria_source.export.canonical import one_array
from ometria_source.export.column_statistics import Column, column_text
from ometria_source.export.keys import row_keys
from ometria_source.export.sampling import FileSample
from ometria_source.export.shapes import EMAIL_ADDRESSES, IP_ADDRESSES, LONG_TEXT

# Pairs are formed of the columns with the most different values. A guess: 66 pairs take well under a second.
COLUMNS_IN_PAIRS = 12

# What is unique by chance: measures, moments, yes and no, and what says more than a key would.
_NO_KEYS = ("double", "decimal", "bool", "json", "date", "time", "timestamp", "binary")


@dataclass(frozen=True)
class CandidateKeys:
    """What tells rows apart.

    Attributes:
        rows: Different rows of the sample.
        repeated: Rows that are there again, equal in every cell; they are left out of account.
        unique: Columns that are never null, never empty and never the same.
        pairs: Pairs of columns that are; only where no single column is.
        renewed: Columns that are unique within each file, but come again in another file with other cells.
    """

    rows: int
    repeated: int
    unique: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    renewed: tuple[str, ...] = ()


def candidate_keys(samples: Sequence[FileSample], columns: Sequence[Column]) -> CandidateKeys:
    """Find what tells the rows of a sample apart.

    Args:
        samples: As for `describe_columns`.
        columns: What that found.
    """
    tables = [table for sample in samples for table in sample.tables]
    hashes = pa.chunked_array([row_keys(table) for table in tables], pa.string())
    different = _first_places(one_array(hashes))
    rows = len(different)
    if rows < 2:
        # any column would do
        return CandidateKeys(rows, len(hashes) - rows)
    full = [column for column in columns if column.is_everywhere and not column.nulls + column.empties]
    coded = {
        column.name: one_array(column_text(column.name, tables)).dictionary_encode().indices
        for column in full
        if column.shape not in (LONG_TEXT, IP_ADDRESSES) and column.guess not in ("json", "binary")
    }
    singles = [column for column in full if column.name in coded and _may_be_a_key(column)]
    unique = [column.name for column in singles if column.distinct == rows]
    pairs: list[tuple[str, str]] = []
    if not unique:
        names = sorted((column for column in full if column.name in coded), key=lambda column: -column.distinct)
        pairs = _pairs(names[:COLUMNS_IN_PAIRS], coded, different)
    file_of_row = _files_of_rows(samples).take(different)
    renewed = [
        column.name
        for column in singles
        if column.distinct < rows and _is_unique_within_files(coded[column.name].take(different), file_of_row)
    ]
    return CandidateKeys(rows, len(hashes) - rows, tuple(unique), tuple(pairs), tuple(renewed))


def _may_be_a_key(column: Column) -> bool:
    return column.guess not in _NO_KEYS and not column.has_personal_name and column.shape != EMAIL_ADDRESSES


def _pairs(columns: Sequence[Column], coded: dict[str, pa.Array], different: pa.Array) -> list[tuple[str, str]]:
    found = []
    for one, other in combinations(columns, 2):
        if not (_may_be_a_key(one) or _may_be_a_key(other)):
            continue
        if one.distinct * other.distinct >= len(different) > 1 and min(one.distinct, other.distinct) > 1:
            both = _combined(coded[one.name].take(different), coded[other.name].take(different))
            if pc.count_distinct(both).as_py() == len(different):
                found.append((one.name, other.name))
    return found


def _is_unique_within_files(codes: pa.Array, file_of_row: pa.Array) -> bool:
    return bool(pc.count_distinct(_combined(codes, file_of_row)).as_py() == len(codes))


def _combined(one: pa.Array, other: pa.Array) -> pa.Array:
    """One number for each pair of small numbers."""
    return pc.add(pc.multiply(one.cast(pa.int64()), 1 << 31), other.cast(pa.int64()))


def _files_of_rows(samples: Sequence[FileSample]) -> pa.Array:
    return pa.concat_arrays([pa.repeat(pa.scalar(number, pa.int32()), s.rows) for number, s in enumerate(samples)])


def _first_places(hashes: pa.Array) -> pa.Array:
    """Where each different row stands first."""
    table = pa.table({"hash": hashes, "place": pa.array(range(len(hashes)), pa.int64())})
    return one_array(table.group_by("hash").aggregate([("place", "min")]).column("place_min"))
