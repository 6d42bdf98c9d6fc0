"""What a file may cost: bombs are refused by a sentence, and what is large but right is read."""

from __future__ import annotations

import gzip
import io
import struct
import time
import tracemalloc
import zipfile
import zlib
from datetime import datetime, timezone

import pyarrow as pa
import pytest
from dlt.common.schema import Schema
from export_files import as_parquet, gzipped, refusal, rows, tables, zipped, zstandard

from ometria_source.export import batches, compression
from ometria_source.export import read as reading
from ometria_source.export import zip as zips
from ometria_source.export.batches import ROW_GROUP_ROWS, constant, cut, row_groups, written_out
from ometria_source.export.compression import UNSUSPECTED_BYTES
from ometria_source.export.json_text import json_field
from ometria_source.export.read import read_tables
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.sync import new_columns
from ometria_source.tables.email_events.rows import EventRows

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
    monkeypatch.setattr(compression, "MAX_UNPACKED_BYTES", 1 << 30)
    monkeypatch.setattr(compression, "PIECE_BYTES", MIB)
    packed = pack(b"a\n" + b"1\n" * MIB)
    assert sum(table.num_rows for table in tables(packed, "a", "csv")) == MIB
    monkeypatch.setattr(compression, "MAX_UNPACKED_BYTES", MIB)
    with pytest.raises(reading.UnreadableFileError, match="unpacks to more than"):
        tables(packed, "a", "csv")


def test_the_files_of_a_zip_are_counted_together(monkeypatch):
    """A bound of a file holds for all that is in it."""
    packed = zip_of({f"{number}.csv": "a\n" + "1\n" * 1000 for number in range(10)})
    assert len(rows(packed, "x.zip")) == 10_000
    monkeypatch.setattr(compression, "MAX_UNPACKED_BYTES", 15_000)
    assert "unpacks to more than" in str(refusal(packed, "x.zip"))


def test_a_temporary_file_is_bounded(monkeypatch):
    """Parquet that was compressed as a whole goes to the disk first."""
    packed = gzipped(as_parquet(pa.table({"a": ["x" * 1000]}), compression="none"))
    assert rows(packed, "a.parquet.gz")
    monkeypatch.setattr(compression, "MAX_TEMPORARY_BYTES", 1000)
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
    """The sentence has the limit."""
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
            assert "has more than 2,000 columns" in str(refusal(content, path))


def test_the_columns_of_all_parts_of_a_file_are_counted(monkeypatch):
    """Each line of a jsonl file, and each file of a zip, may have other columns."""
    monkeypatch.setattr(reading, "MAX_COLUMNS", 10)
    many = zip_of({f"{number}.csv": f"c{number}\n1\n" for number in range(11)})
    assert "has more than 10 columns" in str(refusal(many, "x.zip"))


def rows_of(path, content):
    """The tables that are made of a file's rows."""
    contract = {"tables": "evolve", "columns": "evolve", "data_type": "evolve"}
    made = EventRows(None, {}, Schema("invented"), contract, TablePrivacy("email_events", "email_events"))
    return made.make(path, read_tables(path, io.BytesIO(content)), datetime(2026, 11, 1, tzinfo=timezone.utc))


@pytest.mark.slow
def test_rows_of_one_byte_come_in_tables_of_bounded_size():
    """A block of csv with millions of rows and a long path take a few MiB at a time, and every row has its number."""
    path = "p" * 1_000 + ".csv"
    largest = count = 0
    for table in rows_of(path, b"a\n" + b"1\n" * (2 * MIB)):
        assert table.column("_row_number")[0].as_py() == count + 1
        count += table.num_rows
        assert table.column("_row_number")[-1].as_py() == count
        assert table.num_rows <= ROW_GROUP_ROWS
        largest = max(largest, table.nbytes)
    assert count == 2 * MIB
    assert largest < 16 * MIB


@pytest.mark.parametrize("rows_in", [0, 1, ROW_GROUP_ROWS, ROW_GROUP_ROWS + 1, 5 * ROW_GROUP_ROWS // 2])
def test_a_table_is_cut_into_equal_parts_without_loss(rows_in):
    """No part is too long, and none is a remnant of a few rows."""
    table = pa.table({"a": pa.array(range(rows_in), pa.int64())})
    parts = list(cut(table))
    assert pa.concat_tables(parts).equals(table)
    sizes = [len(part) for part in parts]
    assert max(sizes) <= ROW_GROUP_ROWS
    assert max(sizes) - min(sizes) < len(sizes)


def test_a_constant_column_is_written_out_as_text(monkeypatch):
    """In tables whose texts stay small, with the other columns and marks as they were."""
    schema = pa.schema([json_field("b"), pa.field("_file_path", constant("", 0).type, nullable=False)])
    parts = [
        pa.Table.from_arrays([pa.array(["{}"] * count), constant(path, count)], schema=schema)
        for path, count in (("a.csv", 3), ("folder/\u00fc.csv", 4), ("empty.csv", 0))
    ]
    whole = pa.concat_tables(parts)
    wanted = ["a.csv"] * 3 + ["folder/\u00fc.csv"] * 4
    for most in (1 << 20, 40, 0):
        monkeypatch.setattr(batches, "MOST_BYTES", most)
        found = list(written_out(whole))
        assert pa.concat_tables(found).column("_file_path").to_pylist() == wanted
        assert all(part.schema.field("_file_path") == pa.field("_file_path", pa.string(), False) for part in found)
        assert found[0].schema.field("b").metadata == json_field("b").metadata
        assert len(found) == {1 << 20: 1, 40: 3, 0: 7}[most]
    assert [len(part) for part in written_out(whole.slice(0, 0))] == [0]


def test_what_small_tables_take_beside_their_cells_is_counted(monkeypatch):
    """Of files with a row each, the buffers take a hundred times the cells."""
    monkeypatch.setattr(batches, "MOST_BYTES", MIB)
    small = pa.table({f"c{number}": ["x"] for number in range(10)})
    sizes = [len(group) for group in row_groups(small for _ in range(1_000))]
    assert sum(sizes) == 1_000
    assert max(sizes) * 10 * batches.COLUMN_BYTES < 1.1 * MIB


@pytest.mark.parametrize("path", ["a.csv", "a.parquet"])
def test_work_is_linear_in_the_number_of_columns(path, monkeypatch):
    """Ten times the columns take ten times as long, not a hundred."""
    monkeypatch.setattr(reading, "MAX_COLUMNS", 1 << 20)
    monkeypatch.setattr(new_columns, "MAX_NEW_COLUMNS", 1 << 20)
    seconds = []
    for columns in (200, 2_000):
        names = [f"Column {number}" for number in range(columns)]
        content = (",".join(names) + "\n" + ",".join("1" * columns) + "\n").encode()
        if path == "a.parquet":
            content = as_parquet(pa.table({name: [1] for name in names}))
        began = time.process_time()
        assert [table.num_columns for table in rows_of(path, content)] == [columns + 4]
        seconds.append(time.process_time() - began)
    assert seconds[1] < 30 * seconds[0]
