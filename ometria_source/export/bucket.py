"""List a bucket, and open its files.

dlt's `filesystem` has the settings and the credentials of the bucket, and makes the client. The listing is our own, for
what dlt's would do to an export (dlt 1.31): it takes `[` in the prefix for a pattern, gives `a.csv` and `//a.csv` one
path, follows links of a local folder without end, and leaves out silently what cannot be read. Its errors become a
sentence here. Folder markers are no data, nor are names that begin with `_` or `.`, as Hadoop and Spark name what they
keep beside it (`formats.is_hidden`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, BinaryIO, NamedTuple, cast

from dlt.common.storages.configuration import FilesystemConfiguration, make_fsspec_url
from dlt.common.storages.fsspec_filesystem import MTIME_DISPATCH, FileItem, FileItemDict
from dlt.extract import DltResource
from dlt.sources.filesystem import filesystem
from dlt.sources.filesystem.helpers import fsspec_from_resource
from fsspec import AbstractFileSystem
from s3fs import S3FileSystem

from ometria_source.export.folder import FoundFile, Glob, find_files
from ometria_source.export.retry import RetryBudget, RetryingStream, bucket_error

# Stores whose clients list all keys below a prefix at once; the others are listed folder by folder.
FLAT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"})

# What s3fs takes for the version of an object, although a key may have it in its middle.
_VERSION = "?versionId="


class BucketFile(FileItemDict):
    """A file as it was listed.

    Its items are those of dlt's `FileItem`, such as `relative_path` (to `bucket_url`), `size_in_bytes` and
    `modification_date` (UTC).

    Args:
        item: The items.
        client: Of the store.
        path: By which the client finds the file, which is not always its URL.
        problem: Why the file cannot be read; None: nothing is known against it.
        is_match: Whether `file_glob` matches it; False only where there is a problem.

    Attributes:
        path: As the argument.
        problem: As the argument.
        is_match: As the argument.
    """

    def __init__(
        self, item: FileItem, client: AbstractFileSystem, path: str, problem: str | None = None, is_match: bool = True
    ) -> None:
        super().__init__(item, client)
        self.path = path
        self.problem = problem
        self.is_match = is_match

    def as_seen(self, info: Mapping[str, Any]) -> BucketFile:
        """The same file with the size and time that its store gives now."""
        now = BucketFile(cast(FileItem, self), self.fsspec, self.path)
        now["size_in_bytes"] = int(info["size"])
        now["modification_date"] = _modified(self["file_url"], info)
        return now


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


def list_files(listing: DltResource, retry: RetryBudget) -> list[BucketFile]:
    """List the files of an export.

    Args:
        listing: From `bucket_listing`.
        retry: Retries calls to its store.

    Returns:
        Files in no particular order. One with a `problem` must not be opened.

    Raises:
        BucketError: The bucket is missing, closed, or out of reach.
    """

    def list_all() -> list[BucketFile]:
        try:
            return list(_files_of(listing))
        except FileNotFoundError as error:
            raise bucket_error(error) from error

    return retry(list_all)


def _files_of(listing: DltResource) -> Iterator[BucketFile]:
    arguments = listing.explicit_args
    given = arguments.get("credentials")
    client = given if isinstance(given, AbstractFileSystem) else fsspec_from_resource(listing)
    url, glob = arguments["bucket_url"], Glob(arguments["file_glob"])
    if "file" in client.protocol:
        if FilesystemConfiguration.is_local_path(url):
            url = FilesystemConfiguration.make_file_url(url)
        for found in find_files(FilesystemConfiguration.make_local_path(url), glob):
            yield _local_file(found, client)
        return
    root = client._strip_protocol(url)
    for info in _objects(client, root, glob, url.split("://", 1)[0]):
        path = info["name"]
        relative = _relative(path, root)
        if info["type"] == "file" and glob.matches(relative) and not (path.endswith("/") and not info["size"]):
            yield _stored_file(relative, path, info, url, client)


def _objects(client: AbstractFileSystem, root: str, glob: Glob, scheme: str) -> Iterator[Mapping[str, Any]]:
    """What a store lists where matches may lie.

    fsspec's own walk over folders passes over those that must not be listed, as if they were empty.
    """
    folder = posixpath.join(root, glob.folder)
    if glob.is_deep and scheme in FLAT_STORES:
        yield from client.find(folder, detail=True).values()
        return
    folders = [folder]
    while folders:
        folder = folders.pop()
        try:
            listing = client.ls(folder, detail=True)
        except FileNotFoundError as error:
            if error.__cause__ is not None:
                # the store's own answer, as that there is no such bucket; else nothing has been delivered there yet
                raise
            continue
        for info in listing:
            if info["type"] != "directory":
                yield info
            elif glob.may_hold(_relative(info["name"], root)):
                folders.append(info["name"])


def _relative(path: str, root: str) -> str:
    return path.removeprefix(root).removeprefix("/")


def _local_file(found: FoundFile, client: AbstractFileSystem) -> BucketFile:
    # a name that is not UTF-8 has no URL
    url = "file:" if found.problem else FilesystemConfiguration.make_file_url(found.path)
    info = {"size": found.size, "mtime": found.modified}
    return BucketFile(_item(found.relative_path, url, info), client, found.path, found.problem, found.is_match)


def _stored_file(
    relative: str, path: str, info: Mapping[str, Any], bucket_url: str, client: AbstractFileSystem
) -> BucketFile:
    if _VERSION in path and type(client) is S3FileSystem:
        client = _PlainKeys(*client.storage_args, **client.storage_options)
    scheme = bucket_url.split("://", 1)[0]
    return BucketFile(_item(relative, make_fsspec_url(scheme, path, bucket_url), info), client, path)


class _PlainKeys(S3FileSystem):  # type: ignore[misc]  # s3fs ships no types
    """Takes keys as they are."""

    def split_path(self, path: str) -> tuple[str, str, None]:
        bucket, _, key = self._strip_protocol(path).lstrip("/").partition("/")
        return bucket, key, None


def _item(relative_path: str, url: str, info: Mapping[str, Any]) -> FileItem:
    return FileItem(
        file_name=relative_path.rsplit("/", 1)[-1],
        relative_path=relative_path,
        file_url=url,
        # the readers decide by themselves
        mime_type="application/octet-stream",
        size_in_bytes=int(info["size"]),
        modification_date=_modified(url, info),
    )


def _modified(url: str, info: Mapping[str, Any]) -> datetime:
    return cast(datetime, MTIME_DISPATCH[url.split(":", 1)[0]](dict(info)))


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
def open_file(file: BucketFile, retry: RetryBudget) -> Iterator[OpenedFile]:
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


def _open(file: BucketFile) -> Any:
    return file.fsspec.open(file.path, mode="rb")


def look_again(file: BucketFile) -> tuple[BucketFile, str | None] | None:
    """The file as it is now and its ETag, which takes a request; None: it was deleted.

    It is looked up by the path that it is opened by, and opened from now on as it is now.

    Args:
        file: As it was listed.
    """
    client = file.fsspec
    # what its client may remember of a listing; `info(refresh=True)` is not for the clients of all stores
    client.invalidate_cache(file.path)
    try:
        info = client.info(file.path)
    except FileNotFoundError:
        # a second look that finds nothing proves nothing, as long as the file can be opened
        try:
            _open(file).close()
        except FileNotFoundError:
            return None
        return file, None
    return file.as_seen(info), _etag(info)


def has_changed(file: BucketFile, now: BucketFile) -> bool:
    """Whether a file was replaced, by size and time. A store may give whole seconds when asked for one file."""
    listed, time = file["modification_date"], now["modification_date"]
    return time not in (listed, listed.replace(microsecond=0)) or file["size_in_bytes"] != now["size_in_bytes"]


def _etag(info: Mapping[str, Any]) -> str | None:
    """The mark that a store gives each content of a file, from what fsspec knows of it; None: this store gives none."""
    mark = info.get("ETag") or info.get("etag")
    return None if mark is None else str(mark)
