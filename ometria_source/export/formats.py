"""Detect what a file of the export is: by its name, else by its first bytes.

Ometria publishes neither the names nor the format of its export, so the name is believed where it says something, and
the setting `file_format` overrides what it says about the format. No setting speaks of the compression: a bucket may
hold files with and without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FileFormat = Literal["csv", "tsv", "jsonl", "parquet"]
Compression = Literal["gzip", "zstd", "zip"]

# What showed a format or a compression.
DetectedBy = Literal["name", "first bytes", "file_format"]
BY_NAME: DetectedBy = "name"
BY_CONTENT: DetectedBy = "first bytes"
BY_SETTING: DetectedBy = "file_format"

# Compressions, the outermost first, each with what showed it.
Packing = tuple[tuple[Compression, DetectedBy], ...]

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
COMPRESSION_OF_SUFFIX: dict[str, Compression] = {
    "gz": "gzip",
    "gzip": "gzip",
    "zst": "zstd",
    "zstd": "zstd",
    "zip": "zip",
}

# How compressed files begin (RFC 1952, RFC 8878, PKWARE's APPNOTE). No text begins so: each has bytes that none has.
COMPRESSION_OF_MAGIC: dict[bytes, Compression] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",  # with no file in it
}

_PARQUET_MAGIC = b"PAR1"
_BLANK = b"\xef\xbb\xbf \t\r\n"

_FORMATS: dict[str, FileFormat] = {"csv": "csv", "tsv": "tsv", "jsonl": "jsonl", "parquet": "parquet"}


@dataclass(frozen=True)
class FoundFormat:
    """What a file was found to be.

    Attributes:
        kind: Its format.
        detected_by: What it was detected by.
        packing: The compressions around it.
    """

    kind: FileFormat
    detected_by: DetectedBy
    packing: Packing = ()


def format_of(relative_path: str, override: str | None = None) -> tuple[FileFormat | None, Compression | None]:
    """The format and compression of a file by its name, in capital or small letters.

    Args:
        relative_path: The file's path below the bucket; only its last part counts.
        override: The setting `file_format`, already checked; None: by the name.

    Returns:
        The format, and the compression around it; None for what the name does not show.
    """
    stem, suffix = _split_suffix(relative_path.rsplit("/", 1)[-1].lower())
    compression = COMPRESSION_OF_SUFFIX.get(suffix)
    if compression is not None:
        _, suffix = _split_suffix(stem)
    return FORMAT_OF_SUFFIX.get(suffix) if override is None else _FORMATS[override], compression


def compression_of_content(head: bytes) -> Compression | None:
    """The compression of a file by its first bytes; None: they show none."""
    return next((name for magic, name in COMPRESSION_OF_MAGIC.items() if head.startswith(magic)), None)


def format_of_content(head: bytes) -> FileFormat | None:
    """The format by the first bytes that are not compressed; None: they show none, as those of csv and tsv."""
    if head.startswith(_PARQUET_MAGIC):
        return "parquet"
    return "jsonl" if head.lstrip(_BLANK).startswith(b"{") else None


def is_hidden(relative_path: str) -> bool:
    """Whether a file, or a folder that it is in, bears a name that begins with `_` or `.`."""
    return any(part.startswith(("_", ".")) for part in relative_path.split("/"))


def _split_suffix(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    return (stem, suffix) if dot else (name, "")
