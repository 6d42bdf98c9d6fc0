"""Files that are packed: what is in them, and every way in which they can be broken."""

from __future__ import annotations

import io
import zipfile
from contextlib import ExitStack

import pyarrow as pa
import pytest
from export_files import as_parquet, gzipped, refusal, rows, tables, zipped, zstandard
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from hypothesis import given
from hypothesis import strategies as st

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export import compression
from ometria_source.export.read import read_tables
from ometria_source.export.retry import RetryBudget, RetryingStream

CSV = b"a,b\n1,2\n"
ROWS = [{"a": "1", "b": "2"}]
PACKERS = {"gz": gzipped, "zst": zstandard, "zip": zipped}


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("name", ["events.csv", "events"])
def test_what_is_packed_is_told_by_name_or_by_the_first_bytes(suffix, name):
    packed = PACKERS[suffix](CSV)
    assert [row for part in tables(packed, f"{name}.{suffix}", "csv") for row in part.to_pylist()] == ROWS
    assert [row for part in tables(packed, name, "csv") for row in part.to_pylist()] == ROWS


@pytest.mark.parametrize("pack", [bytes, *PACKERS.values()], ids=["plain", *PACKERS])
@pytest.mark.parametrize(
    "content", [b'\xef\xbb\xbf {"a": "1", "b": "2"}\n', as_parquet(pa.table({"a": ["1"], "b": ["2"]}))]
)
def test_a_name_that_tells_nothing_leaves_it_to_the_first_bytes(content, pack):
    assert rows(pack(content), "2024/events_0001_part_00") == ROWS


@pytest.mark.parametrize("pack", [bytes, *PACKERS.values()], ids=["plain", *PACKERS])
def test_what_neither_name_nor_first_bytes_tell_is_refused_with_a_way_out(pack):
    error = refusal(pack(CSV), "events_0001_part_00", within=pack is zipped)
    assert "set `file_format` to csv, tsv, jsonl or parquet" in str(error)
    assert tables(b"", "events_0001_part_00") == []


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_several_members_are_one_file(suffix):
    pack = PACKERS[suffix]
    data = b"".join(map(pack, (CSV, b"3,4\n", b"", b"5,6\n")))
    assert [row["a"] for row in rows(data, f"events.csv.{suffix}")] == ["1", "3", "5"]
    assert rows(gzipped(CSV) + b"\0" * 512, "events.csv.gz") == ROWS


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_what_is_not_packed_as_its_name_says_or_is_damaged_is_refused(suffix):
    packed, path = PACKERS[suffix](CSV * 50), f"events.csv.{suffix}"
    named = {"gz": "gzip", "zst": "zstd"}[suffix]
    for data in (CSV, packed[:-3], packed[:9], packed[:-8] + b"\1" * 8, packed + b"x1"):
        assert named in str(refusal(data, path))


@given(cut=st.integers(0, 200), flipped=st.integers(0, 200))
@pytest.mark.parametrize("suffix", PACKERS)
def test_no_damage_is_taken_for_an_end_of_the_file(suffix, cut, flipped):
    """Each of these formats has a checksum: what is read is whole, or refused; of nothing, nothing is read."""
    whole = PACKERS[suffix](b"a,b\n" + b"1,2\n" * 20)
    damaged = bytearray(whole[: len(whole) - cut % len(whole)])
    damaged[flipped % len(damaged)] ^= 1
    assert found_in(whole[: len(whole) - 1 - cut % len(whole)], suffix) in (None, [])
    assert found_in(bytes(damaged), suffix) in (None, ROWS * 20)


def found_in(data, suffix):
    """The rows; None where the file is refused."""
    try:
        return rows(data, f"events.csv.{suffix}")
    except UnreadableFileError:
        return None


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_small_file_that_unpacks_to_much_is_read_in_pieces(suffix, monkeypatch):
    monkeypatch.setattr(compression, "PIECE_BYTES", 1 << 16)
    packed = PACKERS[suffix](b"a,b\n" + b"1,2\n" * 3_000_000)
    assert sum(table.num_rows for table in tables(packed, f"events.csv.{suffix}")) == 3_000_000


def test_the_files_in_a_zip_are_read_by_their_own_names_and_without_what_is_no_data():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("events/", b"")
        archive.writestr("events/a.csv", CSV)
        archive.writestr("__MACOSX/events/._a.csv", b"\0\1")
        archive.writestr("events/b.jsonl.gz", gzipped(b'{"a": "3"}\n'))
        archive.writestr("c.parquet", as_parquet(pa.table({"a": ["4"]})))
        archive.writestr("part-0000", b'{"a": "5"}\n')
    assert [row["a"] for row in rows(data.getvalue(), "export.zip")] == ["1", "3", "4", "5"]


def test_a_file_in_a_zip_is_named_in_the_error():
    data = zipped(b"a,b\n1,2,3\n", "events/a.csv")
    error = refusal(data, "export.zip", within=True)
    assert str(error).startswith("export.zip/events/a.csv, line 2: ")


def test_a_zip_that_cannot_be_read_is_refused():
    whole = zipped(CSV * 100, "events.csv")
    encrypted = bytearray(whole)
    for place in (6, whole.index(b"PK\1\2") + 8):
        encrypted[place] |= 1
    in_a_zip = zipped(whole, "events.csv.zip")
    for data in (CSV, whole[:-5], bytes(encrypted), in_a_zip):
        assert "zip" in str(refusal(data, "events.csv.zip", within=True))


class BucketFile(AbstractBufferedFile):
    """A file as fsspec opens it in a bucket: its own code says what a place before the beginning is."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        super().__init__(AbstractFileSystem(), "bucket/file", mode="rb", size=len(content))

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self._content[start:end]


@pytest.fixture(params=["local", "bucket"])
def opened(request, tmp_path):
    """Open a file with this content as one of an export is opened."""
    with ExitStack() as files:

        def open_content(content: bytes) -> RetryingStream:
            if request.param == "bucket":
                return RetryingStream(BucketFile(content), RetryBudget(0), "events.csv.zip")
            (tmp_path / "file").write_bytes(content)
            return RetryingStream(files.enter_context((tmp_path / "file").open("rb")), RetryBudget(0), "events.csv.zip")

        yield open_content


@pytest.mark.parametrize("path", ["events.csv.zip", "export.zip", "data.csv"])
def test_a_zip_with_nothing_in_it_has_no_rows(opened, path):
    sink = io.BytesIO()
    zipfile.ZipFile(sink, "w").close()
    for content in (sink.getvalue(), b""):
        assert list(read_tables(path, opened(content))) == []


@pytest.mark.parametrize("path", ["events.csv.zip", "data.csv"])
@pytest.mark.parametrize("length", [4, 6, 20, 40, 90])
def test_a_zip_that_was_cut_off_is_the_fault_of_the_file_and_not_of_its_bucket(opened, path, length):
    whole = zipped(CSV, "events.csv")
    assert length < len(whole)
    with pytest.raises(UnreadableFileError, match=f"^{path}: is not a zip file, is damaged"):
        list(read_tables(path, opened(whole[:length])))


@pytest.mark.parametrize("file_format", ["csv", "tsv", "jsonl", "parquet", None])
@pytest.mark.parametrize("suffix", ["", *(f".{suffix}" for suffix in PACKERS)])
@pytest.mark.parametrize("reads", [0, 1])
def test_an_error_of_the_bucket_is_not_taken_for_one_of_the_file(file_format, suffix, reads, monkeypatch):
    monkeypatch.setattr(compression, "PIECE_BYTES", 16)

    class Broken(io.BytesIO):
        reads = 0

        def read(self, size=-1):
            if self.reads == reads:
                raise ConnectionResetError("bucket")
            self.reads += 1
            return super().read(size)

    content = {"parquet": as_parquet(pa.table({"a": ["1"]}), compression="none"), "csv": CSV, "tsv": CSV}.get(
        file_format, b'{"a": "1"}\n' * 9
    )
    data = PACKERS[suffix[1:]](content) if suffix else content * (1 if file_format == "parquet" else 9)
    with pytest.raises(ConnectionResetError):
        list(read_tables("x" + suffix, Broken(data), file_format))
