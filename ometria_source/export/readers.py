"""One way into every format: a stored file in, Arrow tables out.

dlt's stock readers are not used: `read_csv` guesses types chunk by chunk (a leading zero or an empty column changes the
data), `read_csv_duckdb` knows no line numbers and guesses file by file, and `read_jsonl` stops at a blank line or a
byte order mark without naming the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from ometria_source.export.compression import pieces
from ometria_source.export.csv_reader import read_csv
from ometria_source.export.formats import format_of
from ometria_source.export.jsonl_reader import read_jsonl
from ometria_source.export.parquet_reader import read_parquet

DELIMITERS = {"csv": ",", "tsv": "\t"}


def read_tables(path: str, stream: BinaryIO, file_format: str | None) -> Iterator[pa.Table]:
    """Read one file.

    Args:
        path: Its path relative to the bucket: tells its format, and is named in errors.
        stream: The file as it is stored, open for reading.
        file_format: What it is, whatever its name says; None: by its name.

    Yields:
        Tables of bounded size, in the order of the file.

    Raises:
        UnreadableFileError: The file is not what it should be. Gives the line where there are lines.
    """
    kind, compression = format_of(path, file_format)
    if kind == "parquet":
        yield from read_parquet(path, stream, compression)
    elif kind == "jsonl":
        yield from read_jsonl(path, pieces(path, stream, compression))
    else:
        yield from read_csv(path, pieces(path, stream, compression), DELIMITERS[kind])
