"""From an open file of the export to Arrow tables, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from ometria_source.export.compression import pieces
from ometria_source.export.csv_reader import read_csv
from ometria_source.export.formats import Compression, format_of
from ometria_source.export.jsonl_reader import read_jsonl
from ometria_source.export.parquet_reader import read_compressed_parquet, read_parquet

_DELIMITERS = {"csv": ",", "tsv": "\t"}


def read_tables(
    path: str, stream: BinaryIO, file_format: str | None = None, compression: Compression | None = None
) -> Iterator[pa.Table]:
    """Read a file from its beginning to its end, in bounded memory.

    Args:
        path: Its path relative to the bucket: tells what it is, and is named in errors. Nothing is opened.
        stream: The file as it is stored. The caller closes it. Parquet without compression needs it seekable.
        file_format: What it is, whatever its name says; None: by its name.
        compression: What is around it; None: by its name.

    Yields:
        Tables of at most a few MiB of text each, rows in the file's order. Columns may differ between the tables of one
        jsonl file. Columns of JSON text are marked: `columns.json_columns` names them. A file of zero bytes yields
        nothing in every format but parquet; a header or a schema without rows yields one table without rows.

    Raises:
        UnreadableFileError: The file is not what `file_format` and `compression` say. Errors of `stream` pass through.
    """
    kind, by_name = format_of(path, file_format)
    compression = compression or by_name
    if kind == "parquet":
        if compression is None:
            return read_parquet(path, stream)
        return read_compressed_parquet(path, pieces(path, stream, compression))
    unpacked = pieces(path, stream, compression)
    if kind == "jsonl":
        return read_jsonl(path, unpacked)
    return read_csv(path, unpacked, _DELIMITERS[kind])
