"""From an open file of the export to Arrow tables, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

import pyarrow as pa

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.archive import members
from ometria_source.export.compression import stored_pieces, unpacked
from ometria_source.export.csv_reader import read_csv
from ometria_source.export.formats import FileFormat, compression_of_content, format_of, format_of_content
from ometria_source.export.jsonl_reader import read_jsonl
from ometria_source.export.parquet_reader import read_compressed_parquet, read_parquet

_DELIMITERS = {"csv": ",", "tsv": "\t"}


def read_tables(path: str, stream: BinaryIO, file_format: str | None = None) -> Iterator[pa.Table]:
    """Read a file from its beginning to its end, in bounded memory.

    Args:
        path: Its path relative to the bucket: tells what it is, and is named in errors. Nothing is opened.
        stream: The file as it is stored, seekable. The caller closes it.
        file_format: What it is, whatever its name says; None: by its name, else by its first bytes.

    Yields:
        Tables of at most a few MiB of text each, rows in the file's order. Columns may differ between the tables of one
        jsonl file, and between the files in a zip. Columns of JSON text are marked: `columns.json_columns` names them.
        A file of zero bytes yields nothing in every format but parquet; a header or a schema without rows yields one
        table without rows.

    Raises:
        UnreadableFileError: The file is not what its name or `file_format` says, or nothing tells what it is. Errors of
            `stream` pass through.
    """
    kind, compression = format_of(path, file_format)
    if kind == "parquet" and compression is None:
        yield from read_parquet(path, stream)
        return
    stored = stored_pieces(stream)
    head = next(stored, b"")
    if (compression or compression_of_content(head)) == "zip":
        for name, content in members(path, stream):
            own_kind, _ = format_of(name, file_format)
            yield from _read(f"{path}/{name}", content, file_format, own_kind or kind)
    elif kind is None and compression is None and format_of_content(head) == "parquet":
        yield from read_parquet(path, stream)
    else:
        yield from _read(path, chain([head] if head else [], stored), file_format, kind)


def _read(path: str, stored: Iterator[bytes], file_format: str | None, kind: FileFormat | None) -> Iterator[pa.Table]:
    """Read a file that comes in pieces, which may be compressed."""
    head = next(stored, b"")
    compression = format_of(path, file_format)[1] or compression_of_content(head)
    if compression == "zip":
        raise UnreadableFileError(path, "is a zip inside of a zip, which is not read")
    pieces = unpacked(path, chain([head] if head else [], stored), compression)
    if kind is None:
        first = next(pieces, b"")
        kind = format_of_content(first)
        if kind is None and first:
            raise UnreadableFileError(
                path,
                "neither its name nor its first bytes tell its format: set `file_format` to csv, tsv, jsonl or parquet",
            )
        pieces = chain([first], pieces)
    if kind == "parquet":
        yield from read_compressed_parquet(path, pieces)
    elif kind == "jsonl":
        yield from read_jsonl(path, pieces)
    elif kind is not None:
        yield from read_csv(path, pieces, _DELIMITERS[kind])
