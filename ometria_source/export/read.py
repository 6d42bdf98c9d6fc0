"""From an open file of the export to Arrow tables, whatever its format.

dlt lists and opens the files; its readers are not used, for what they would do to the rows (dlt 1.31). `read_csv` goes
through pandas and Python objects: `NaN` and `null` become empty, `007` becomes 7, and it takes seven times as long or
more (`benchmarks/export_speed.py`). `read_csv_duckdb` holds a whole file in memory and guesses types; told not to, it
still takes empty text for null. `read_jsonl` makes Python objects, and `read_parquet` batches of a number of rows,
however large they are. None of them reads zip, or names the file and line that is wrong.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import BinaryIO

import pyarrow as pa

from ometria_source.exceptions import UnknownFormatError, UnreadableFileError
from ometria_source.export.compression import (
    UnpackedSize,
    stored_pieces,
    unpacked,
)
from ometria_source.export.csv import CsvDialect, read_csv
from ometria_source.export.formats import (
    BY_CONTENT,
    BY_NAME,
    BY_SETTING,
    FileFormat,
    FoundFormat,
    Packing,
    compression_of_content,
    format_of,
    format_of_content,
)
from ometria_source.export.jsonl import read_jsonl
from ometria_source.export.parquet import read_compressed_parquet, read_parquet
from ometria_source.export.zip import members

_DELIMITERS = {"csv": ",", "tsv": "\t"}

# The most columns that the rows of a file may have, nested ones counted as one. dlt and the databases take longer than
# in proportion: 2,000 columns take half a minute and 800 MiB, 20,000 do not end. Most databases allow fewer (PostgreSQL
# and Redshift 1,600, SQL Server 1,024), BigQuery 10,000.
MAX_COLUMNS = 2_000


def read_tables(
    path: str,
    stream: BinaryIO,
    file_format: str | None = None,
    found: Callable[[FoundFormat], None] | None = None,
    dialect: CsvDialect | None = None,
    left_out: Callable[[int], None] | None = None,
) -> Iterator[pa.Table]:
    """Read a file from its beginning to its end, in bounded memory.

    Args:
        path: Its path relative to the bucket: shows what it is, and is named in errors. Nothing is opened.
        stream: The file as it is stored, seekable. The caller closes it.
        file_format: What it is, whatever its name says; None: by its name, else by its first bytes.
        found: Called before the first table with what the file was found to be; for a zip, once for each file in it.
        dialect: What csv and tsv are like; None: as the format says.
        left_out: Called with the number of columns without a name that are left out, as by `read_csv`.

    Yields:
        Tables of at most a few MiB of text each, more only where a single row is longer; rows in the file's order.
        Columns may differ between the tables of one jsonl file, and between the files in a zip. Columns of JSON text
        are marked: see `json_text.json_columns`. A file of zero bytes yields nothing, and so does a zip
        without files; a header or a schema without rows yields one table without rows.

    Raises:
        UnreadableFileError: The file is not what its name or `file_format` says, or exceeds a bound: see `MAX_COLUMNS`,
            and those of `compression` and `zip`.
        UnknownFormatError: Neither name nor content shows its format. Errors of `stream` pass through.
    """
    read_delimited = partial(read_csv, dialect=dialect, left_out=left_out)
    columns: set[str] = set()
    for table in _tables(path, stream, file_format, found or _ignore, read_delimited):
        if not table.num_columns:
            # as an empty object of JSON lines, its rows hold nothing
            continue
        columns.update(table.column_names)
        if len(columns) > MAX_COLUMNS:
            raise UnreadableFileError(path, f"has more than {MAX_COLUMNS:,} columns: divide it, or leave some out")
        yield table


def _tables(
    path: str,
    stream: BinaryIO,
    file_format: str | None,
    note: Callable[[FoundFormat], None],
    read_delimited: Callable[[str, Iterator[bytes], str], Iterator[pa.Table]],
) -> Iterator[pa.Table]:
    kind, compression = format_of(path, file_format)
    detected_by = BY_NAME if file_format is None else BY_SETTING
    if kind == "parquet" and compression is None:
        note(FoundFormat(kind, detected_by))
        yield from read_parquet(path, stream)
        return
    size = UnpackedSize(path, stream.seek(0, io.SEEK_END))
    stream.seek(0)
    stored = stored_pieces(stream)
    head = next(stored, b"")
    if (compression or compression_of_content(head)) == "zip":
        packing: Packing = (("zip", BY_NAME if compression else BY_CONTENT),)
        for member in members(path, stream):
            own_kind, _ = format_of(member.name, file_format)
            yield from _read(
                f"{path}/{member.name}",
                member.pieces,
                size,
                file_format,
                own_kind or kind,
                note,
                read_delimited,
                packing,
            )
    elif kind is None and compression is None and format_of_content(head) == "parquet":
        note(FoundFormat("parquet", BY_CONTENT))
        yield from read_parquet(path, stream)
    else:
        stored = chain([head] if head else [], stored)
        yield from _read(path, stored, size, file_format, kind, note, read_delimited)


def _read(
    path: str,
    stored: Iterator[bytes],
    size: UnpackedSize,
    file_format: str | None,
    kind: FileFormat | None,
    note: Callable[[FoundFormat], None],
    read_delimited: Callable[[str, Iterator[bytes], str], Iterator[pa.Table]],
    packing: Packing = (),
) -> Iterator[pa.Table]:
    """Read a file that comes in pieces, which may be compressed."""
    head = next(stored, b"")
    by_name = format_of(path, file_format)[1]
    compression = by_name or compression_of_content(head)
    if compression == "zip":
        raise UnreadableFileError(path, "is a zip inside of a zip, which is not read")
    if compression is not None:
        packing = (*packing, (compression, BY_NAME if by_name else BY_CONTENT))
    pieces = unpacked(path, chain([head] if head else [], stored), compression)
    detected_by = BY_NAME if file_format is None else BY_SETTING
    if kind is None:
        first = next(pieces, b"")
        kind, detected_by = format_of_content(first), BY_CONTENT
        if kind is None and first:
            raise UnknownFormatError(path)
        pieces = chain([first], pieces)
    if kind is not None:
        note(FoundFormat(kind, detected_by, packing))
    if packing:
        pieces = size.count(pieces, is_temporary=kind == "parquet")
    if kind == "parquet":
        yield from read_compressed_parquet(path, pieces)
    elif kind == "jsonl":
        yield from read_jsonl(path, pieces)
    elif kind is not None:
        yield from read_delimited(path, pieces, _DELIMITERS[kind])


def _ignore(found: FoundFormat) -> None:
    """Take no notice."""
