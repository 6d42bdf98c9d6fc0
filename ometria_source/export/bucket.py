"""List a bucket, and open its files.

dlt's `filesystem` lists; this module turns its errors into a sentence, and leaves out what is no data: folder markers,
and names that begin with `_` or `.`, as Hadoop and Spark name what they keep beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import urlparse

from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.storages.fsspec_filesystem import MTIME_DISPATCH, FileItem, FileItemDict
from dlt.extract import DltResource
from dlt.extract.exceptions import ResourceExtractionError
from dlt.sources.filesystem import filesystem

from ometria_source.export.retry import RetryBudget, RetryingStream, bucket_error


def bucket_listing(bucket_url: str, credentials: Any, file_glob: str, section: str) -> DltResource:
    """The lister that dlt has for a bucket.

    Args:
        bucket_url: The bucket, with a prefix if there is one.
        credentials: As dlt's `filesystem` takes them; None: from dlt's configuration.
        file_glob: Which files, relative to `bucket_url`.
        section: Where dlt looks for credentials first: `sources.<section>.credentials`.
    """
    given = {} if credentials is None else {"credentials": credentials}
    listing = filesystem(bucket_url=bucket_url, file_glob=file_glob, files_per_page=1, **given)
    listing.section = section
    return listing


def list_files(listing: DltResource, retry: RetryBudget) -> Iterator[FileItemDict]:
    """List the files of an export.

    Args:
        listing: From `bucket_listing`.
        retry: Retries calls to its store.

    Returns:
        Files in no particular order.

    Raises:
        BucketError: The bucket is missing, closed, or out of reach.
    """
    files, first = retry(_begin, listing)
    return files if first is None else chain([first], files)


def _begin(listing: DltResource) -> tuple[Iterator[FileItemDict], FileItemDict | None]:
    """A listing and its first file: dlt asks the store for all of them before it gives the first."""
    files = _files_of(listing)
    return files, next(files, None)


def _files_of(listing: DltResource) -> Iterator[FileItemDict]:
    try:
        for items in listing:
            for item in items if isinstance(items, list) else [items]:
                if not _is_folder_marker(item):
                    yield item
    except (ResourceExtractionError, ConfigurationException) as error:
        raise bucket_error(error) from error


class OpenedFile(NamedTuple):
    """A file that is being read.

    Attributes:
        stream: Its bytes, as they are stored.
        etag: The ETag of what is read, where the store has one.
        is_one_version: Whether no read gives bytes of a version that came later, as S3 promises.
    """

    stream: BinaryIO
    etag: str | None
    is_one_version: bool


@contextmanager
def open_file(file: FileItemDict, retry: RetryBudget) -> Iterator[OpenedFile]:
    """Open a file as it is stored, and close it.

    Args:
        file: As it was listed.
        retry: Retries calls to its store, here and in the middle of the file.

    Raises:
        BucketError: The store refuses, or does not answer; so do reads.
        FileNotFoundError: The file is gone; so do reads.
        FileExpired: A read finds that the file was replaced after it was opened.
    """
    path = file["relative_path"]
    with cast(BinaryIO, retry(_open, file, path=path)) as stream:
        # what fsspec learned when it opened the file; a local file has none
        yield OpenedFile(
            cast(BinaryIO, RetryingStream(stream, retry, path)),
            _etag(getattr(stream, "details", {})),
            # s3fs sends the ETag with each read
            is_one_version="IfMatch" in getattr(stream, "read_kw", ()),
        )


def _open(file: FileItemDict) -> Any:
    return file.open(mode="rb", compression="disable")


def look_again(file: FileItemDict) -> tuple[FileItemDict, str | None] | None:
    """The file as it is now and its ETag, which takes a request; None: it is gone.

    It is opened from now on as it is now.

    Args:
        file: As it was listed.
    """
    bucket = file.fsspec
    # what its client may remember of a listing; `info(refresh=True)` is not for the clients of all stores
    bucket.invalidate_cache(file["file_url"])
    try:
        info = bucket.info(file["file_url"])
    except FileNotFoundError:
        return None
    now = FileItemDict(cast(FileItem, file), bucket)
    now["size_in_bytes"] = info["size"]
    now["modification_date"] = MTIME_DISPATCH[urlparse(file["file_url"]).scheme](info)
    return now, _etag(info)


def has_changed(file: FileItemDict, now: FileItemDict) -> bool:
    """Whether a file was replaced, by size and time. A store may tell whole seconds when asked for one file."""
    listed, time = file["modification_date"], now["modification_date"]
    return time not in (listed, listed.replace(microsecond=0)) or file["size_in_bytes"] != now["size_in_bytes"]


def _is_folder_marker(item: FileItemDict) -> bool:
    return bool(item["size_in_bytes"] == 0 and item["file_url"].endswith("/"))


def _etag(info: Mapping[str, Any]) -> str | None:
    """The mark that a store gives each content of a file, from what fsspec knows of it; None: this store gives none."""
    mark = info.get("ETag") or info.get("etag")
    return None if mark is None else str(mark)
