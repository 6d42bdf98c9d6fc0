"""The listing of a bucket: which of its objects are files of an export.

dlt's `filesystem` lists; this module says what went wrong in a sentence, and leaves out what is no data: folder
markers, and names that begin with `_` or `.`, as Hadoop and Spark name what they keep beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.storages.fsspec_filesystem import FileItemDict
from dlt.sources.filesystem import filesystem

from ometria_source.exceptions import BucketError

# Ways in which fsspec and the cloud's client say that a bucket is missing, closed or out of reach.
LISTING_ERRORS = (OSError, BotoCoreError, ClientError, ConfigurationException, ImportError, ValueError)


def list_files(bucket_url: str, credentials: Any, file_glob: str) -> Iterator[FileItemDict]:
    """List the files of an export.

    Args:
        bucket_url: The bucket, with a prefix if there is one.
        credentials: As dlt's `filesystem` takes them; None: from dlt's configuration.
        file_glob: Which files, relative to `bucket_url`.

    Yields:
        Files in no particular order.

    Raises:
        BucketError: The bucket is missing, closed, or out of reach.
    """
    given = {} if credentials is None else {"credentials": credentials}
    try:
        for items in filesystem(bucket_url=bucket_url, file_glob=file_glob, files_per_page=1, **given):
            for item in items if isinstance(items, list) else [items]:
                if not _is_folder_marker(item):
                    yield item
    except LISTING_ERRORS as error:
        raise BucketError(type(error).__name__) from error


def is_hidden(item: FileItemDict) -> bool:
    """Whether a file, or a folder that it is in, bears a name that begins with `_` or `.`."""
    return any(part.startswith(("_", ".")) for part in item["relative_path"].split("/"))


def _is_folder_marker(item: FileItemDict) -> bool:
    return bool(item["size_in_bytes"] == 0 and item["file_url"].endswith("/"))
