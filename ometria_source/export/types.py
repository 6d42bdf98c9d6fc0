"""Types of the export's columns: those that a user declares, and one type a column however many files there are.

Two Arrow types under one column make dlt's load fail, and a failed load blocks every later one (measured). So the first
type of a column stays, and values of another type that it cannot hold go to a variant column, as dlt does for JSON.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.columns import DECIMAL, INSTANT, JSON_FIELD, TIME, data_type_of, is_json
from ometria_source.export.keys import canonical_text

log = logging.getLogger(__name__)

DECLARABLE_TYPES: dict[str, pa.DataType] = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "decimal": DECIMAL,
    "bool": pa.bool_(),
    "timestamp": INSTANT,
    "date": pa.date32(),
    "time": TIME,
    "json": pa.string(),
}

_ZONE = r"[T ].*(Z|[+-]\d{2}(:?\d{2})?)$"
_DATE_ONLY = r"^\d{4}-\d{2}-\d{2}$"


def cast_declared(table: pa.Table, path: str, first_row: int, columns: Mapping[str, str]) -> pa.Table:
    """Give columns the types that a user declared.

    Args:
        table: As it was read.
        path: The file, for errors.
        first_row: The number of its first row in the file, from 1.
        columns: dlt data types by column name. A column that the table lacks is added, with nulls.

    Returns:
        The table with these types; empty text is null in a column that is not text.

    Raises:
        UnreadableFileError: A cell does not parse. Gives the row and the column.
    """
    for name, data_type in columns.items():
        target = DECLARABLE_TYPES[data_type]
        field = pa.field(name, target, metadata=JSON_FIELD if data_type == "json" else None)
        if name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, target))
            continue
        column = table[name]
        try:
            values = _cast(column, data_type, target)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
            row = first_row + _first_that_fails(column, data_type, target)
            problem = f"row {row:,}, column `{name}`: this cell is no {data_type}"
            raise UnreadableFileError(path, problem) from None
        table = table.set_column(table.column_names.index(name), field, values)
    return table


def _cast(column: pa.ChunkedArray, data_type: str, target: pa.DataType) -> pa.ChunkedArray:
    if data_type == "text":
        return canonical_text(column).cast(target)
    if not pa.types.is_string(column.type):
        return canonical_text(column).cast(target) if data_type == "json" else column.cast(target)
    column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    if data_type == "json":
        for text in column.to_pylist():
            orjson.loads(text or "null")
    if data_type == "timestamp":
        at_midnight = pc.binary_join_element_wise(column, "T00:00:00", "")
        column = pc.if_else(pc.match_substring_regex(column, _DATE_ONLY), at_midnight, column)
        in_utc = pc.binary_join_element_wise(column, "Z", "")
        column = pc.if_else(pc.match_substring_regex(column, _ZONE), column, in_utc)
    return column.cast(target)


def _first_that_fails(column: pa.ChunkedArray, data_type: str, target: pa.DataType) -> int:
    """The place of the first cell that cannot be cast, by halving."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _cast(column.slice(low, middle - low), data_type, target)
            low = middle
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
            high = middle
    return low


class ColumnTypes:
    """One type for each column of a table, over all files and runs. Files may be read in parallel.

    Args:
        known: dlt data types by column name, of the table as it is.
        normalize: Turns a column's name into the destination's.
    """

    def __init__(self, known: Mapping[str, str], normalize: Callable[[str], str]) -> None:
        self._types = dict(known)
        self._normalize = normalize
        self._lock = threading.Lock()
        self._reported: set[str] = set()

    def conform(self, table: pa.Table) -> pa.Table:
        """Bring a table's columns to their types.

        Args:
            table: Of one file.

        Returns:
            The same values. A column whose values its type cannot hold is called `<column>__v_<type>`; one without any
            value is left out; of two whose names differ only in spelling the second gets a suffix.
        """
        arrays, fields, taken = [], [], set[str]()
        for field, column in zip(table.schema, table.columns, strict=True):
            data_type = data_type_of(field)
            if data_type is None:
                continue
            name = self._free_name(field.name, taken)
            with self._lock:
                known = self._types.setdefault(name, data_type)
            values = column if known == data_type else _as(column, field, known)
            if values is None:
                name, values = f"{name}__v_{data_type}", column
            taken.add(name)
            arrays.append(values)
            is_still_json = is_json(field) and values is column
            fields.append(pa.field(name, values.type, metadata=JSON_FIELD if is_still_json else None))
        if not arrays:
            return table.select([])
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def _free_name(self, name: str, taken: set[str]) -> str:
        normal = column = self._normalize(name)
        number = 1
        while column in taken:
            number += 1
            column = f"{normal}_{number}"
        if number > 1 and column not in self._reported:
            self._reported.add(column)
            log.warning("the column `%s` is kept as `%s`, because `%s` is another column", name, column, normal)
        return column


def _as(column: pa.ChunkedArray, field: pa.Field, known: str) -> pa.ChunkedArray | None:
    """The same values in the type that the column has already; None where that would change them."""
    if known == "text":
        return canonical_text(column).cast(pa.string()) if not pa.types.is_binary(field.type) else None
    if {known, data_type_of(field)} == {"bigint", "double"}:
        try:
            return column.cast(DECLARABLE_TYPES[known])
        except pa.ArrowInvalid:
            return None
    return None
