"""Read Parquet: each column keeps its type, spelled in one of the few ways that every destination takes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.columns import INSTANT, JSON_FIELD, TIME
from ometria_source.export.compression import pieces
from ometria_source.export.formats import Compression
from ometria_source.export.jsonl_reader import json_text

# Rows that become one table: a guess between overhead and memory.
BATCH_ROWS = 50_000


def read_parquet(path: str, stream: BinaryIO, compression: Compression | None) -> Iterator[pa.Table]:
    """Read a Parquet file.

    Args:
        path: For error messages.
        stream: The file as it is stored; it must be seekable unless it is compressed as a whole.
        compression: What is around it; such a file is held in memory, because its index is at its end.

    Yields:
        Tables of at least one row. Nested columns become JSON text, and are marked so.

    Raises:
        UnreadableFileError: This is no Parquet, or it is damaged.
    """
    if compression is not None:
        stream = io.BytesIO(b"".join(pieces(path, stream, compression)))
    try:
        for batch in parquet.ParquetFile(stream).iter_batches(batch_size=BATCH_ROWS):
            if batch.num_rows:
                yield _plain(pa.Table.from_batches([batch]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        # Arrow raises a bare OSError for damaged pages; a bucket's errors have types of their own
        if isinstance(error, OSError) and type(error) is not OSError:
            raise
        raise UnreadableFileError(path, "this is not Parquet, or it is damaged") from None


def _plain(table: pa.Table) -> pa.Table:
    columns, fields = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        values, is_nested = _plain_column(column)
        columns.append(values)
        fields.append(pa.field(field.name, values.type, metadata=JSON_FIELD if is_nested else None))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _plain_column(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, bool]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain_column(column.cast(kind.value_type))
    if pa.types.is_nested(kind):
        texts = [None if value is None else json_text(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())]), True
    return _plain_scalar(column, kind), False


def _plain_scalar(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_uint64(kind) and (pc.max(column).as_py() or 0) >= 1 << 63:
        return column.cast(pa.string())
    for test, target in (
        (pa.types.is_integer, pa.int64()),
        (pa.types.is_floating, pa.float64()),
        (pa.types.is_date, pa.date32()),
        (pa.types.is_large_string, pa.string()),
    ):
        if test(kind):
            return column.cast(target)
    if pa.types.is_timestamp(kind):
        # one without a zone is UTC; nanoseconds are cut off, which no destination of dlt's keeps
        return column.cast(pa.timestamp("us", tz=kind.tz), safe=False).cast(INSTANT)
    if pa.types.is_time(kind):
        return column.cast(TIME, safe=False)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        try:
            return column.cast(pa.binary()).cast(pa.string())
        except pa.ArrowInvalid:
            return column.cast(pa.binary())
    return column
