"""Read Parquet: columns keep their own types, reduced to the few that every destination has.

Dictionaries are decoded, large and view variants made plain, units made microseconds. Lists, structs and maps become
JSON text (see `parquet_cells`). Row groups are inspected before they are decoded (see `parquet_pages`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ometria_source.constants import MAX_RECORD_BYTES
from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.canonical import MICROSECOND
from ometria_source.export.json_text import json_field
from ometria_source.export.parquet_cells import CellError, decoded_bytes, json_column, plain_column
from ometria_source.export.parquet_pages import (
    MAX_OPEN_BYTES,
    MAX_PAGE_BYTES,
    ChunkStream,
    DamagedPagesError,
    LongPageError,
    LongRowError,
    WideGroupError,
    has_encryption,
    plan_reading,
)

# One table holds at most this much, and half of it where cells keep their length. So batches begin small, and each is
# as large as the one before suggests, but never larger than what the pages' headers allow.
TABLE_BYTES = 8 << 20
BATCH_ROWS = 16_384
FIRST_ROWS = 256
MOST_GROWTH = 4


# A file ends with the length of its footer and four letters.
_TAIL_BYTES = 8

_ENCRYPTED = "is encrypted, and cannot be read: export it without encryption"

# What Spark writes for "never" (9999-12-31) has no nanoseconds in 64 bits. Without `pre_buffer`, column chunks are read
# one by one, as they were inspected.
_OPTIONS: dict[str, Any] = {
    "coerce_int96_timestamp_unit": MICROSECOND,
    "page_checksum_verification": True,
    "pre_buffer": False,
}

# A compressed file has no random access, which parquet needs. Up to this size it is unpacked in memory, else on disk.
SPOOL_BYTES = 32 << 20


def read_parquet(path: str, stream: BinaryIO) -> Iterator[pa.Table]:
    """Read a Parquet file.

    Timestamps without a zone stay without; nanoseconds are cut off. Bytes that are UTF-8 become text, others stay
    bytes; UUIDs become text. Within one table, an unsigned integer beyond 64 signed bits makes its column text, and so
    does a date or an instant outside of the years 1 to 9999.

    Args:
        path: For error messages.
        stream: The file, seekable.

    Yields:
        Tables; a file without rows yields one table without rows, a file of zero bytes none. Columns of JSON text are
        marked.

    Raises:
        UnreadableFileError: Not Parquet, damaged, encrypted, with fewer rows than it declares; a column name that is
            empty, not UTF-8 or there twice; a cell that no type can hold; a row, or what Arrow would have to decode,
            that is too long.
    """
    watched = ChunkStream(stream)
    if not watched.length:
        return
    try:
        yield from _checked_tables(path, watched)
        return
    except MemoryError:
        # Arrow's is an ArrowException too, and says nothing of the file
        raise
    except LongRowError as error:
        problem = _long_row(error.column)
    except LongPageError as error:
        problem = (
            f"column `{error.column}` has a page of more than {MAX_PAGE_BYTES >> 20} MiB: write it with smaller pages"
        )
    except WideGroupError:
        limit = MAX_OPEN_BYTES >> 20
        problem = f"needs more than {limit} MiB for one page of each column: write it with smaller pages"
    except (pa.ArrowException, OSError, ValueError, KeyError, NotImplementedError, DamagedPagesError):
        # Arrow's error may quote values: nothing is raised from here.
        problem = "is not a Parquet file, or is damaged"
    except RecursionError:
        problem = "holds values that are nested too deeply"
    if watched.failure is not None:
        raise watched.failure
    if _is_encrypted(watched):
        problem = _ENCRYPTED
    raise UnreadableFileError(path, problem)


def read_compressed_parquet(path: str, pieces: Iterator[bytes]) -> Iterator[pa.Table]:
    """Read a Parquet file that was compressed as a whole; as `read_parquet`."""
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as unpacked:
        for piece in pieces:
            unpacked.write(piece)
        unpacked.seek(0)
        # a file in all but the name: typeshed does not call it a BinaryIO
        yield from read_parquet(path, unpacked)  # type: ignore[arg-type]


def _checked_tables(path: str, stream: ChunkStream) -> Iterator[pa.Table]:
    parquet = _opened(path, stream)
    rows = 0
    for batch in _batches(parquet, stream):
        rows += batch.num_rows
        yield from _tables(path, batch)
    if rows != parquet.metadata.num_rows:
        problem = f"holds {rows} rows, but declares {parquet.metadata.num_rows}: it is damaged"
        raise UnreadableFileError(path, problem)
    if not rows:
        yield _plain_table(path, pa.RecordBatch.from_pylist([], schema=parquet.schema_arrow))


def _opened(path: str, stream: ChunkStream) -> pq.ParquetFile:
    try:
        parquet = pq.ParquetFile(stream, **_OPTIONS)
        problem = _schema_problem(parquet.schema_arrow)
    except UnicodeDecodeError:
        problem = "the name of a column, or of a field in one, is not UTF-8"
    # Arrow ends the process when it is asked about an encrypted column (pyarrow 26).
    if problem is None and _is_signed(parquet.metadata, stream) and _is_encrypted(stream):
        problem = _ENCRYPTED
    if problem is not None:
        raise UnreadableFileError(path, problem)
    return parquet


def _schema_problem(schema: pa.Schema) -> str | None:
    if any(not name.strip() for name in schema.names):
        return "a column has no name"
    if len(set(schema.names)) < len(schema.names):
        return "two columns have the same name"
    twins = next((field.name for field in schema if _has_twins(field.type)), None)
    return twins and f"two fields in column `{twins}` have the same name"


def _has_twins(kind: pa.DataType) -> bool:
    """Whether a struct in a type has two fields of one name."""
    fields = [kind.field(place) for place in range(kind.num_fields)]
    names = [field.name for field in fields]
    return (pa.types.is_struct(kind) and len(set(names)) < len(names)) or any(_has_twins(f.type) for f in fields)


def _is_signed(metadata: pq.FileMetaData, stream: ChunkStream) -> bool:
    """Whether something follows the footer, as the signature of one that is not encrypted itself."""
    return bool(metadata.serialized_size != int.from_bytes(_tail(stream)[:4], "little"))


def _is_encrypted(stream: ChunkStream) -> bool:
    """Whether a file is encrypted, in whole or in some columns."""
    tail = _tail(stream)
    if tail[4:] != b"PAR1":
        return tail[4:] == b"PARE"
    footer = int.from_bytes(tail[:4], "little")
    stream.seek(max(0, stream.length - _TAIL_BYTES - footer))
    return has_encryption(stream.read(footer))


def _tail(stream: ChunkStream) -> bytes:
    stream.seek(max(0, stream.length - _TAIL_BYTES))
    return stream.read(_TAIL_BYTES)


def _batches(parquet: pq.ParquetFile, stream: ChunkStream) -> Iterator[pa.RecordBatch]:
    for groups in _group_runs(parquet.metadata):
        plan = plan_reading(parquet, stream, groups, BATCH_ROWS, MAX_RECORD_BYTES)
        reader = parquet
        if plan.dictionaries:
            reader = pq.ParquetFile(
                stream, metadata=parquet.metadata, read_dictionary=sorted(plan.dictionaries), **_OPTIONS
            )
        rows = min(FIRST_ROWS, plan.rows)
        # a batch that spans row groups has no place for two dictionaries inside a nested column (pyarrow 26)
        parts = [[group] for group in groups] if any(map(_nests_dictionary, reader.schema_arrow.types)) else [groups]
        for batch in chain.from_iterable(reader.iter_batches(rows, row_groups=part) for part in parts):
            yield batch
            size = sum(map(decoded_bytes, batch.columns))
            fitting = batch.num_rows * TABLE_BYTES // 2 // max(size, 1)
            rows = max(1, min(fitting, rows * MOST_GROWTH, plan.rows))
            # Arrow looks at it before each batch.
            reader.reader.set_batch_size(rows)


def _nests_dictionary(kind: pa.DataType) -> bool:
    """Whether a type has a dictionary inside of it."""
    parts = [kind.field(number).type for number in range(kind.num_fields)]
    return any(pa.types.is_dictionary(part) or _nests_dictionary(part) for part in parts)


def _group_runs(metadata: pq.FileMetaData) -> Iterator[list[int]]:
    """Put small row groups together that follow each other."""
    run: list[int] = []
    rows = size = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        run.append(number)
        rows += group.num_rows
        size += group.total_byte_size
        if rows >= BATCH_ROWS or size >= TABLE_BYTES:
            yield run
            run, rows, size = [], 0, 0
    if run:
        yield run


def _tables(path: str, batch: pa.RecordBatch) -> Iterator[pa.Table]:
    """Cut a batch into tables of at most `TABLE_BYTES`, or of a single row, before its cells are decoded."""
    sizes = list(map(decoded_bytes, batch.columns))
    if sum(sizes) > TABLE_BYTES and batch.num_rows > 1:
        middle = batch.num_rows // 2
        yield from _tables(path, batch.slice(0, middle))
        yield from _tables(path, batch.slice(middle))
        return
    _check_row(path, batch.schema.names, sizes)
    yield from _halves(path, _plain_table(path, batch))


def _halves(path: str, table: pa.Table) -> Iterator[pa.Table]:
    """Cut a table into ones of at most `TABLE_BYTES`, or of a single row."""
    if table.nbytes <= TABLE_BYTES:
        yield table
    elif table.num_rows == 1:
        _check_row(path, table.column_names, [column.nbytes for column in table.columns])
        yield table
    else:
        middle = table.num_rows // 2
        yield from _halves(path, table.slice(0, middle))
        yield from _halves(path, table.slice(middle))


def _check_row(path: str, names: list[str], sizes: list[int]) -> None:
    """Refuse a row that is too long, given the sizes of its cells; those of several rows together are shorter."""
    if sum(sizes) > MAX_RECORD_BYTES:
        raise UnreadableFileError(path, _long_row(names[sizes.index(max(sizes))]))


def _long_row(column: str) -> str:
    return f"a row is longer than {MAX_RECORD_BYTES >> 20} MiB, most of it in column `{column}`"


def _plain_table(path: str, batch: pa.RecordBatch) -> pa.Table:
    fields, arrays = [], []
    problem = None
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        is_nested = _is_nested(column.type)
        try:
            array = json_column(column) if is_nested else plain_column(column)
        except CellError as error:
            problem = f"column `{name}` {error.problem}"
            break
        fields.append(json_field(name) if is_nested else pa.field(name, array.type))
        arrays.append(array)
    if problem:
        raise UnreadableFileError(path, problem)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _is_nested(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_nested(kind))
