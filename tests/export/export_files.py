"""Files of an export, made in memory, and what reading them gives."""

from __future__ import annotations

import gzip
import io
import json
import sys
import zipfile
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import parquet

from ometria_source.describe.sample import FileSample, sample_file
from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.bucket import BucketFile
from ometria_source.export.csv import CsvDialect
from ometria_source.export.read import read_tables
from ometria_source.export.retry import RetryBudget

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Row = dict[str, Any]

LONG_AGO = datetime(2024, 2, 3, tzinfo=timezone.utc)


def tables(
    content: bytes | str, path: str, file_format: str | None = None, dialect: CsvDialect | None = None
) -> list[pa.Table]:
    """The tables of a file with this content."""
    data = content.encode() if isinstance(content, str) else content
    return list(read_tables(path, io.BytesIO(data), file_format, None, dialect))


def table(content: bytes | str, path: str) -> pa.Table:
    """All rows of a file with this content."""
    return pa.concat_tables(tables(content, path), promote_options="default")


def rows(content: bytes | str, path: str) -> list[Row]:
    """All rows of a file with this content, as Python values."""
    return [row for part in tables(content, path) for row in part.to_pylist()]


def refusal(content: bytes | str, path: str, *, within: bool = False) -> UnreadableFileError:
    """The error with which a file is refused, or one within it; it must not drag the file's content along."""
    with pytest.raises(UnreadableFileError) as caught:
        tables(content, path)
    error = caught.value
    assert error.path == path or (within and error.path.startswith(f"{path}/"))
    assert str(error).startswith(path)
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    return error


def as_delimited(names: Sequence[str], cells: Sequence[Sequence[str | None]], delimiter: str, newline: str) -> bytes:
    """A table as csv or tsv: nothing for a null, two quotes for an empty text."""

    def written(cell: str | None) -> str:
        if cell is None:
            return ""
        if not cell or any(character in cell for character in (delimiter, '"', "\r", "\n")):
            return '"' + cell.replace('"', '""') + '"'
        return cell

    return "".join(delimiter.join(map(written, record)) + newline for record in [names, *cells]).encode()


def as_jsonl(names: Sequence[str], cells: Sequence[Sequence[Any]]) -> bytes:
    """A table as JSON lines."""
    return b"".join(json.dumps(dict(zip(names, row, strict=True))).encode() + b"\n" for row in cells)


def as_parquet(content: pa.Table, **settings: Any) -> bytes:
    """A table as Parquet."""
    sink = io.BytesIO()
    parquet.write_table(content, sink, **settings)
    return sink.getvalue()


def gzipped(content: bytes) -> bytes:
    """One gzip member."""
    return gzip.compress(content, mtime=0)


def zstandard(content: bytes) -> bytes:
    """One zstd frame, with a checksum as zstd's command line writes it."""
    return zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1})


def zipped(content: bytes, name: str = "part") -> bytes:
    """A zip with one file."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return sink.getvalue()


class StoredFile(BucketFile):
    """A file as a bucket lists it, of this content."""

    def __init__(self, path: str, content: bytes | str, modified_at: datetime = LONG_AGO) -> None:
        store = MemoryFileSystem()
        key = f"/{uuid4().hex}/{path}"
        store.pipe_file(key, content.encode() if isinstance(content, str) else content)
        facts = {"relative_path": path, "size_in_bytes": store.size(key), "modification_date": modified_at}
        super().__init__(facts, store, key)


def samples(*contents: bytes | str, path: str = "a.csv") -> list[FileSample]:
    """What is read of files with these contents."""
    return [sample_file(StoredFile(path, content), None, RetryBudget(0)) for content in contents]
