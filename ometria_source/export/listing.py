"""The listing of a bucket: which of its objects are files of an export.

dlt's `filesystem` lists; this module says what went wrong in a sentence, and leaves out what is no data: folder
markers, and names that begin with `_` or `.`, as Hadoop and Spark name what they keep beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import urlparse

from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.storages.fsspec_filesystem import MTIME_DISPATCH, FileItem, FileItemDict
from dlt.extract import DltResource
from dlt.extract.exceptions import ResourceExtractionError
from dlt.sources.filesystem import filesystem

from ometria_source.exceptions import BucketError

# What fsspec and the clouds' clients raise for the usual mistakes.
PROBLEMS: dict[type[BaseException], str] = {
    FileNotFoundError: "there is no such bucket or folder",
    PermissionError: "access is denied",
    NoCredentialsError: "there are no credentials",
    EndpointConnectionError: "its endpoint is out of reach",
    ConfigurationException: "its configuration is not complete",
    ValueError: "this kind of URL is not known",
}


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


def list_files(listing: DltResource) -> Iterator[FileItemDict]:
    """List the files of an export.

    Args:
        listing: From `bucket_listing`.

    Yields:
        Files in no particular order.

    Raises:
        BucketError: The bucket is missing, closed, or out of reach.
    """
    try:
        for items in listing:
            for item in items if isinstance(items, list) else [items]:
                if not _is_folder_marker(item):
                    yield item
    except (ResourceExtractionError, ConfigurationException) as error:
        cause = error.__cause__ or error
        problem = next((text for kind, text in PROBLEMS.items() if isinstance(cause, kind)), type(cause).__name__)
        raise BucketError(problem) from error


def etag(info: Mapping[str, Any]) -> str | None:
    """The mark that a store gives each content of a file; None: this store gives none.

    Args:
        info: What fsspec's filesystem of the store knows of the file.
    """
    mark = info.get("ETag") or info.get("etag")
    return None if mark is None else str(mark)


def look_again(file: FileItemDict) -> tuple[FileItemDict, str | None] | None:
    """The file as it is now and its ETag, which takes a request; None: it is gone.

    Args:
        file: As it was listed.
    """
    bucket = file.fsspec
    try:
        info = bucket.info(file["file_url"], refresh=True)
    except FileNotFoundError:
        return None
    now = FileItemDict(cast(FileItem, file), bucket)
    now["size_in_bytes"] = info["size"]
    now["modification_date"] = MTIME_DISPATCH[urlparse(file["file_url"]).scheme](info)
    return now, etag(info)


def has_changed(file: FileItemDict, now: FileItemDict) -> bool:
    """Whether a file was replaced, by size and time. A store may tell whole seconds when asked for one file."""
    listed, time = file["modification_date"], now["modification_date"]
    return time not in (listed, listed.replace(microsecond=0)) or file["size_in_bytes"] != now["size_in_bytes"]


def _is_folder_marker(item: FileItemDict) -> bool:
    return bool(item["size_in_bytes"] == 0 and item["file_url"].endswith("/"))
