"""What a file of the export is, told by its name.

Ometria publishes neither the names nor the format of its export, so the name is believed, and the setting `file_format`
overrides what it says about the format. The compression always follows from the name: a bucket may hold both kinds.
"""

from __future__ import annotations

from typing import Literal

from ometria_source.exceptions import UnreadableFileError

FileFormat = Literal["csv", "tsv", "jsonl", "parquet"]
Compression = Literal["gzip"]

# `.json` is read as JSON lines: that is what exporters write under this name. A file that holds one JSON array instead
# is refused at its first line.
FORMAT_OF_SUFFIX: dict[str, FileFormat] = {
    "csv": "csv",
    "tsv": "tsv",
    "tab": "tsv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "jsonl",
    "parquet": "parquet",
}
COMPRESSION_OF_SUFFIX: dict[str, Compression] = {"gz": "gzip"}

_FORMATS: dict[str, FileFormat] = {"csv": "csv", "tsv": "tsv", "jsonl": "jsonl", "parquet": "parquet"}


def format_of(relative_path: str, override: str | None = None) -> tuple[FileFormat, Compression | None]:
    """Tell a file's format and compression by its name, whatever the case of its letters.

    Args:
        relative_path: The file's path below the bucket; only its last part counts.
        override: The setting `file_format`, already checked; None: by the name.

    Returns:
        The format, and the compression around it (None: plain).

    Raises:
        UnreadableFileError: The name tells no format and there is no override.
    """
    stem, suffix = _split_suffix(relative_path.rsplit("/", 1)[-1].lower())
    compression = COMPRESSION_OF_SUFFIX.get(suffix)
    if compression is not None:
        _, suffix = _split_suffix(stem)
    file_format = FORMAT_OF_SUFFIX.get(suffix) if override is None else _FORMATS[override]
    if file_format is None:
        raise UnreadableFileError(
            relative_path, "the name does not tell its format: set `file_format` to csv, tsv, jsonl or parquet"
        )
    return file_format, compression


def _split_suffix(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    return (stem, suffix) if dot else (name, "")
