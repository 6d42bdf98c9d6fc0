"""What a file may cost: bombs are refused by a sentence, and what is large but right is read."""

from __future__ import annotations

import gzip
import io
import struct
import time
import tracemalloc
import zipfile
import zlib

import pyarrow as pa
import pytest
from export_files import as_parquet, gzipped, refusal, rows, tables, zipped, zstandard

from ometria_source.export import compression
from ometria_source.export import read as reading
from ometria_source.export import zip as zips
from ometria_source.export.compression import UNSUSPECTED_BYTES
from ometria_source.export.read import read_tables

MIB = 1 << 20
CSV = b"a,b\n1,2\n"


def zip_of(files, method=zipfile.ZIP_DEFLATED):
    """A zip with these files."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return sink.getvalue()


def with_method(archive, method):
    """The same zip, whose only file claims another method."""
    changed = bytearray(archive)
    changed[8:10] = struct.pack("<H", method)
    place = archive.index(b"PK\1\2") + 10
    changed[place : place + 2] = struct.pack("<H", method)
    return bytes(changed)


@pytest.mark.parametrize(
    ("method", "name"),
    [(9, "deflate64"), (12, "bzip2"), (14, "lzma"), (93, "zstd"), (95, "xz"), (98, "ppmd"), (77, "number 77")],
)
def test_another_method_of_a_zip_is_refused_by_name(method, name):
    """Only stored and deflated files are read, whatever this Python could unpack."""
    assert f"is packed by the method {name}, which is not read" in str(
        refusal(with_method(zip_of({"a.csv": CSV}), method), "x.zip", within=True)
    )


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_in_another_method_is_not_unpacked(method):
    """`zipfile` gives all that a piece of bzip2 or lzma unpacks to at once."""
    archive = zip_of({"a.csv": bytes(20 * MIB)}, method)
    tracemalloc.start()
    try:
        assert "method" in str(refusal(archive, "x.zip", within=True))
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("where", ["both", "header", "directory"])
def test_an_encrypted_file_in_a_zip_needs_a_password(where):
    """The sentence says so, and does not call it damaged."""
    archive = bytearray(zip_of({"a.csv": CSV}))
    if where != "directory":
        archive[6] |= 1
    if where != "header":
        archive[archive.index(b"PK\1\2") + 8] |= 1
    assert "needs a password" in str(refusal(bytes(archive), "x.zip", within=True))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("field", ["checksum", "longer", "shorter", "less stored", "more stored"])
def test_a_file_that_is_not_what_its_zip_says_is_refused(method, field):
    """Its checksum, its size, and the size of what is stored have to be right; else rows may be missing."""
    content = b"a,b\n" + b"".join(b"%d,x\n" % number for number in range(50))
    archive = bytearray(zip_of({"a.csv": content}, method))
    place = archive.index(b"PK\1\2")
    checksum, stored, size = struct.unpack("<3L", archive[place + 16 : place + 28])
    if field == "checksum":
        checksum ^= 1
    elif field == "longer":
        size += 4
    elif field == "shorter":
        # the checksum of what is left, as an attacker or a broken writer may have it
        size -= 5
        checksum = zlib.crc32(content[:size])
    else:
        stored += 3 if field == "more stored" else -3
    archive[place + 16 : place + 28] = struct.pack("<3L", checksum, stored, size)
    assert "damaged" in str(refusal(bytes(archive), "x.zip", within=True))


def test_files_that_share_their_bytes_are_refused():
    """A zip of 10 MB can hold terabytes in this way."""
    archive = bytearray(zip_of({"a.csv": CSV * 100, "b.csv": CSV * 100}))
    second = archive.index(b"PK\1\2", archive.index(b"PK\1\2") + 4)
    archive[second + 42 : second + 46] = struct.pack("<L", 0)
    assert "share bytes" in str(refusal(bytes(archive), "x.zip"))


class Unseekable(io.RawIOBase):
    """A sink whose writer does not know sizes before: it puts them behind the data."""

    def __init__(self):
        self.content = b""

    def writable(self):
        return True

    def write(self, data):
        self.content += bytes(data)
        return len(data)


def test_zips_of_every_writer_are_read():
    """Sizes behind the data, in 64 bits, with a comment, behind other bytes, and an empty file of zero bytes."""
    content = b"a,b\n1,2\n3,4\n"
    sink = Unseekable()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", content)
        archive.comment = b"invented"
    large = io.BytesIO()
    with (
        zipfile.ZipFile(large, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.csv", "w", force_zip64=True) as f,
    ):
        f.write(content)
    for packed in (sink.content, large.getvalue(), b"#!/bin/sh\n" + zip_of({"a.csv": content})):
        assert [row["a"] for row in rows(packed, "x.zip")] == ["1", "3"]
    assert tables(with_method(zip_of({"a.csv": b""}, zipfile.ZIP_STORED), zipfile.ZIP_DEFLATED), "x.zip") == []


def test_a_zip_of_many_files_is_read(monkeypatch):
    """Work and memory are in proportion to their number."""
    packed = zip_of({f"folder/{number:06}.csv": CSV for number in range(3_000)}, zipfile.ZIP_STORED)
    assert sum(table.num_rows for table in tables(packed, "x.zip")) == 3_000
    monkeypatch.setattr(zips, "MAX_DIRECTORY_BYTES", 100_000)
    assert "list of files is longer than" in str(refusal(packed, "x.zip"))


@pytest.mark.parametrize(("log", "is_read"), [(20, True), (27, True), (28, False), (31, False)])
def test_a_zstd_window_is_bounded(log, is_read):
    """A frame may ask for gigabytes; the sentence says what to do."""
    text = b"a,b\n" + b"1,2\n" * 25
    block = (1 | len(text) << 3).to_bytes(3, "little") + text
    frame = b"\x28\xb5\x2f\xfd" + bytes([0, (log - 10) << 3]) + block
    if is_read:
        assert len(rows(frame, "a.csv.zst")) == 25
    else:
        error = str(refusal(frame, "a.csv.zst"))
        assert "needs a zstd window of more than 128 MiB" in error
        assert "--long" in error


@pytest.mark.parametrize("pack", [gzipped, zstandard, zipped], ids=["gzip", "zstd", "zip"])
def test_a_file_that_unpacks_to_too_much_is_refused(pack, monkeypatch):
    """By its size, whatever the ratio."""
    monkeypatch.setattr(reading, "MAX_UNPACKED_BYTES", 1 << 30)
    monkeypatch.setattr(compression, "PIECE_BYTES", MIB)
    packed = pack(b"a\n" + b"1\n" * MIB)
    assert sum(table.num_rows for table in tables(packed, "a", "csv")) == MIB
    monkeypatch.setattr(reading, "MAX_UNPACKED_BYTES", MIB)
    with pytest.raises(reading.UnreadableFileError, match="unpacks to more than"):
        tables(packed, "a", "csv")


def test_a_temporary_file_is_bounded(monkeypatch):
    """Parquet that was compressed as a whole goes to the disk first."""
    packed = gzipped(as_parquet(pa.table({"a": ["x" * 1000]}), compression="none"))
    assert rows(packed, "a.parquet.gz")
    monkeypatch.setattr(reading, "MAX_TEMPORARY_BYTES", 1000)
    assert "unpacks to more than" in str(refusal(packed, "a.parquet.gz"))


def test_a_ratio_that_no_data_has_is_refused(monkeypatch):
    """A gigabyte of one row in zstd or in gzip within zip; the same ratio is no matter in a small file."""
    text = b"a\n" + b"1\n" * (4 * MIB)
    bombs = {"a.csv.zst": zstandard(text), "x.zip": zip_of({"a.csv.gz": gzipped(text)})}
    for path, bomb in bombs.items():
        assert len(text) > compression.MAX_RATIO * len(bomb)
        assert sum(table.num_rows for table in tables(bomb, path)) == 4 * MIB
    monkeypatch.setattr(compression, "UNSUSPECTED_BYTES", MIB)
    for path, bomb in bombs.items():
        assert "times its size" in str(refusal(bomb, path, within=True))
    # the most that deflate alone can do
    assert sum(table.num_rows for table in tables(gzip.compress(text, 9), "a.csv.gz")) == 4 * MIB
    assert UNSUSPECTED_BYTES > 1000 * MIB


@pytest.mark.parametrize(("pack", "suffix"), [(gzipped, "gz"), (zstandard, "zst")])
def test_a_file_of_empty_members_is_read_in_linear_time(pack, suffix):
    """What follows a member is not copied for each of them."""
    packed = pack(b"") * (MIB // len(pack(b""))) + pack(CSV)
    began = time.process_time()
    assert rows(packed, f"a.csv.{suffix}") == [{"a": "1", "b": "2"}]
    assert time.process_time() - began < 4


@pytest.mark.parametrize("path", ["a.csv", "a.jsonl", "a.parquet"])
def test_the_number_of_columns_is_bounded(path):
    """The sentence has both numbers."""
    for columns in (reading.MAX_COLUMNS, reading.MAX_COLUMNS + 1):
        names = [f"c{number}" for number in range(columns)]
        content = {
            "a.csv": (",".join(names) + "\n" + ",".join("1" * columns) + "\n").encode(),
            "a.jsonl": ("{" + ",".join(f'"{name}":1' for name in names) + "}\n").encode(),
            "a.parquet": as_parquet(pa.table({name: [1] for name in names})),
        }[path]
        if columns == reading.MAX_COLUMNS:
            assert sum(table.num_rows for table in read_tables(path, io.BytesIO(content))) == 1
        else:
            assert "has 2,001 columns; at most 2,000 are read" in str(refusal(content, path))


def test_the_columns_of_all_parts_of_a_file_are_counted(monkeypatch):
    """Each line of a jsonl file, and each file of a zip, may have other columns."""
    monkeypatch.setattr(reading, "MAX_COLUMNS", 10)
    many = zip_of({f"{number}.csv": f"c{number}\n1\n" for number in range(11)})
    assert "has 11 columns" in str(refusal(many, "x.zip"))
