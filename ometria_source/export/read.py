"""From an open file of the export to Arrow tables, whatever its format.

dlt lists and opens the files; its readers are not used, for what they would do to the rows (dlt 1.31). `read_csv` goes
through pandas and Python objects: `NaN` and `null` become empty, `007` becomes 7, and it takes seven times as long or
more (`benchmarks/export_speed.py`). `read_csv_duckdb` holds a whole file in memory and guesses types; told not to, it
still takes empty text for null. `read_jsonl` makes Python objects, and `read_parquet` batches of a number of rows,
however large they are. None of them reads zip, or names the file and line that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import BinaryIO

import pyarrow as pa

from ometria_source.exceptions import UnknownFormatError, UnreadableFileError
from ometria_source.export.compression import members, stored_pieces, unpacked
from ometria_source.export.csv import read_csv
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

_DELIMITERS = {"csv": ",", "tsv": "\t"}


def read_tables(
    path: str,
    stream: BinaryIO,
    file_format: str | None = None,
    found: Callable[[FoundFormat], None] | None = None,
) -> Iterator[pa.Table]:
    """Read a file from its beginning to its end, in bounded memory.

    Args:
        path: Its path relative to the bucket: tells what it is, and is named in errors. Nothing is opened.
        stream: The file as it is stored, seekable. The caller closes it.
        file_format: What it is, whatever its name says; None: by its name, else by its first bytes.
        found: Called before the first table with what the file was found to be; for a zip, once for each file in it.

    Yields:
        Tables of at most a few MiB of text each, more only where a single row is longer; rows in the file's order.
        Columns may differ between the tables of one jsonl file, and between the files in a zip. Columns of JSON text
        are marked: see `json_text.json_columns`. A file of zero bytes yields nothing, and so does a zip
        without files; a header or a schema without rows yields one table without rows.

    Raises:
        UnreadableFileError: The file is not what its name or `file_format` says.
        UnknownFormatError: Nothing tells what it is. Errors of `stream` pass through.
    """
    note = found or _ignore
    kind, compression = format_of(path, file_format)
    detected_by = BY_NAME if file_format is None else BY_SETTING
    if kind == "parquet" and compression is None:
        note(FoundFormat(kind, detected_by))
        yield from read_parquet(path, stream)
        return
    stored = stored_pieces(stream)
    head = next(stored, b"")
    if (compression or compression_of_content(head)) == "zip":
        packing: Packing = (("zip", BY_NAME if compression else BY_CONTENT),)
        for name, content in members(path, stream):
            own_kind, _ = format_of(name, file_format)
            yield from _read(f"{path}/{name}", content, file_format, own_kind or kind, note, packing)
    elif kind is None and compression is None and format_of_content(head) == "parquet":
        note(FoundFormat("parquet", BY_CONTENT))
        yield from read_parquet(path, stream)
    else:
        yield from _read(path, chain([head] if head else [], stored), file_format, kind, note)


def _read(
    path: str,
    stored: Iterator[bytes],
    file_format: str | None,
    kind: FileFormat | None,
    note: Callable[[FoundFormat], None],
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
    if kind == "parquet":
        yield from read_compressed_parquet(path, pieces)
    elif kind == "jsonl":
        yield from read_jsonl(path, pieces)
    elif kind is not None:
        yield from read_csv(path, pieces, _DELIMITERS[kind])


def _ignore(found: FoundFormat) -> None:
    """Nobody asked."""
