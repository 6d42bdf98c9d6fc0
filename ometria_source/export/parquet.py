"""Read parquet: columns keep their own types, reduced to the few that every destination knows.

Dictionaries are decoded, large and view variants made plain, units made microseconds. Lists, structs and maps become
JSON text.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.canonical import MICROSECOND, canonical_text
from ometria_source.export.json_text import json_field, json_text
from ometria_source.export.retry import WatchedStream

# One table holds at most this much, and half of it where cells keep their length. Nothing in a file tells how long its
# cells are: dictionaries and compression make megabytes of repeated text a few KiB. So batches begin small, and each
# is as large as the one before suggests. Cells that are suddenly long cost the memory of one batch of them.
TABLE_BYTES = 8 << 20
BATCH_ROWS = 16_384
FIRST_ROWS = 256
MOST_GROWTH = 4

# A compressed file has no random access, which parquet needs. Up to this size it is unpacked in memory, else on disk.
SPOOL_BYTES = 32 << 20


def read_parquet(path: str, stream: BinaryIO) -> Iterator[pa.Table]:
    """Read a parquet file.

    Timestamps without a zone stay without; nanoseconds are cut off. Bytes that are UTF-8 become text, others stay
    bytes. An unsigned integer beyond 64 signed bits makes its column, within one table, text.

    Args:
        path: For error messages.
        stream: The file, seekable.

    Yields:
        Tables; a file without rows yields one table without rows. Columns of JSON text are marked.

    Raises:
        UnreadableFileError: Not parquet, damaged, or a column name that is empty or there twice.
    """
    watched = WatchedStream(stream)
    try:
        parquet = pq.ParquetFile(watched)
        _check_names(path, parquet.schema_arrow.names)
        empty = True
        for table in _sized_tables(parquet):
            empty = False
            yield table
        if empty:
            yield _plain_table(pa.RecordBatch.from_pylist([], schema=parquet.schema_arrow))
    except MemoryError:
        # Arrow's is an ArrowException too, and says nothing of the file
        raise
    except (pa.ArrowException, OSError, ValueError, NotImplementedError):
        # Arrow's error may quote values: nothing is raised from here.
        pass
    else:
        return
    if watched.failure is not None:
        raise watched.failure
    raise UnreadableFileError(path, "is not a parquet file, or is damaged")


def read_compressed_parquet(path: str, pieces: Iterator[bytes]) -> Iterator[pa.Table]:
    """Read a parquet file that was compressed as a whole; as `read_parquet`."""
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as unpacked:
        for piece in pieces:
            unpacked.write(piece)
        unpacked.seek(0)
        # a file in all but the name: typeshed does not call it a BinaryIO
        yield from read_parquet(path, unpacked)  # type: ignore[arg-type]


def _check_names(path: str, names: list[str]) -> None:
    if any(not name.strip() for name in names):
        raise UnreadableFileError(path, "a column has no name")
    if len(set(names)) < len(names):
        raise UnreadableFileError(path, "two columns have the same name")


def _sized_tables(parquet: pq.ParquetFile) -> Iterator[pa.Table]:
    rows = min(FIRST_ROWS, BATCH_ROWS)
    for batch in parquet.iter_batches(batch_size=rows):
        table = _plain_table(batch)
        yield from _halves(table)
        fitting = table.num_rows * TABLE_BYTES // 2 // max(table.nbytes, 1)
        rows = max(1, min(fitting, rows * MOST_GROWTH, BATCH_ROWS))
        # Arrow looks at it before each batch.
        parquet.reader.set_batch_size(rows)


def _halves(table: pa.Table) -> Iterator[pa.Table]:
    """Cut a table into ones of at most `TABLE_BYTES`, or of a single row."""
    if table.nbytes <= TABLE_BYTES or table.num_rows == 1:
        yield table
        return
    middle = table.num_rows // 2
    yield from _halves(table.slice(0, middle))
    yield from _halves(table.slice(middle))


def _plain_table(batch: pa.RecordBatch) -> pa.Table:
    fields, arrays = [], []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        array = _decoded(column)
        if pa.types.is_nested(array.type):
            array = _as_json(array)
            fields.append(json_field(name))
        else:
            array = _plain(array)
            fields.append(pa.field(name, array.type))
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _decoded(array: pa.Array) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array


def _plain(array: pa.Array) -> pa.Array:
    """Reduce a column to text, int64, double, decimal, bool, timestamp, date, time, binary or null."""
    kind = array.type
    if pa.types.is_uint64(kind):
        return _signed(array)
    if pa.types.is_integer(kind):
        return array.cast(pa.int64())
    if pa.types.is_floating(kind):
        return array.cast(pa.float64())
    if pa.types.is_timestamp(kind):
        return array.cast(pa.timestamp(MICROSECOND, kind.tz), safe=False)
    if pa.types.is_time(kind):
        return array.cast(pa.time64(MICROSECOND), safe=False)
    if pa.types.is_date(kind):
        return array.cast(pa.date32())
    if pa.types.is_duration(kind):
        # No destination has a type for it: microseconds as a number.
        return array.cast(pa.duration(MICROSECOND), safe=False).cast(pa.int64())
    if pa.types.is_boolean(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind) or pa.types.is_string(kind):
        return array
    if pa.types.is_large_string(kind) or kind == getattr(pa, "string_view", pa.string)():
        return array.cast(pa.string())
    return _text_or_bytes(array.cast(pa.binary()))


def _signed(array: pa.Array) -> pa.Array:
    try:
        return array.cast(pa.int64())
    except pa.ArrowInvalid:
        return canonical_text(array)


def _text_or_bytes(array: pa.Array) -> pa.Array:
    try:
        return array.cast(pa.string())
    except pa.ArrowInvalid:
        return array


def _as_json(array: pa.Array) -> pa.Array:
    coarse = _in_microseconds(array.type)
    if coarse != array.type:
        # Python has no nanoseconds: without pandas Arrow refuses to hand them over.
        array = array.cast(coarse, safe=False)
    if pa.types.is_map(array.type):
        rows = (None if pairs is None else dict(pairs) for pairs in array.to_pylist())
    else:
        rows = iter(array.to_pylist())
    return pa.array([None if value is None else json_text(value) for value in rows], pa.string())


def _in_microseconds(kind: pa.DataType) -> pa.DataType:
    """Tell a nested type with every instant, time and duration inside it in microseconds."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp(MICROSECOND, kind.tz)
    if pa.types.is_time64(kind):
        return pa.time64(MICROSECOND)
    if pa.types.is_duration(kind):
        return pa.duration(MICROSECOND)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_in_microseconds(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(kind.key_field, kind.item_field.with_type(_in_microseconds(kind.item_type)))
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_in_microseconds(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_in_microseconds(kind.value_type)))
    return kind
