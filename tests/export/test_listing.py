"""What a bucket tells of a file that was listed before, whatever kind of store it is."""

from __future__ import annotations

from collections.abc import Iterator

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from ometria_source.exceptions import BucketError
from ometria_source.export.bucket import bucket_listing, has_changed, list_files, look_again
from ometria_source.export.retry import RetryBudget


@pytest.fixture(params=["file", "memory", "told by path alone"])
def bucket_url(request, tmp_path, monkeypatch) -> Iterator[str]:
    """An empty bucket."""
    if request.param == "memory":
        yield "memory://export"
        fsspec.filesystem("memory").rm("/export", recursive=True)
        return
    if request.param == "told by path alone":
        # as fsspec's `SFTPFileSystem` has it
        info = LocalFileSystem.info

        def info_of_path(self, path):
            return info(self, path)

        monkeypatch.setattr(LocalFileSystem, "info", info_of_path)
    yield tmp_path.as_uri()


@pytest.fixture
def put(bucket_url):
    """Write a file."""

    def write(content: bytes) -> None:
        with fsspec.open(f"{bucket_url}/x.csv", "wb") as file:
            file.write(content)

    return write


@pytest.fixture
def listed(bucket_url, put):
    """A file as it was listed."""
    put(b"a\n1\n")
    (file,) = list_files(bucket_listing(bucket_url, None, "*.csv", "ometria"), RetryBudget(0))
    return file


def test_a_file_that_stays_is_seen_as_it_was_listed(listed):
    now, _ = look_again(listed)
    assert not has_changed(listed, now)
    assert now["relative_path"] == "x.csv"


def test_a_file_that_was_replaced_is_seen_as_it_is_now(listed, put):
    put(b"a\n1\n2\n")
    now, _ = look_again(listed)
    assert has_changed(listed, now)
    assert now["size_in_bytes"] == 6
    with now.open(compression="disable") as stream:
        assert stream.read() == b"a\n1\n2\n"


@pytest.mark.parametrize("file_glob", ["**", "*.csv", "folder/*"])
def test_a_folder_that_must_not_be_listed_is_an_error(monkeypatch, file_glob):
    """It is not taken for an empty one, whatever the glob."""

    def denied(self, path, **_):
        raise PermissionError("denied")

    monkeypatch.setattr(MemoryFileSystem, "ls", denied)
    with pytest.raises(BucketError, match="access is denied"):
        list_files(bucket_listing("memory://export", None, file_glob, "ometria"), RetryBudget(0))


def test_a_file_that_is_gone_is_told(listed):
    listed.fsspec.rm(listed["file_url"])
    assert look_again(listed) is None
