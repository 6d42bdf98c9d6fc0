"""The files of an export in one run: which of them are read, and what becomes of their rows.

Files are read in parallel, each from its beginning to its end. One that was replaced meanwhile is read again: what was
read of its old version is loaded as well, as it would have been a minute earlier.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import BinaryIO, cast

import dlt
import pyarrow as pa
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.common.storages.fsspec_filesystem import FileItemDict
from dlt.common.typing import TDataItems
from dlt.extract import DltResource
from s3fs.utils import FileExpired

from ometria_source.exceptions import MissingSettingError, NoFilesError, UnreadableFileError
from ometria_source.export.columns import json_columns
from ometria_source.export.formats import is_hidden
from ometria_source.export.keys import row_keys
from ometria_source.export.listing import etag, has_changed, list_files, look_again
from ometria_source.export.manifest import Manifest
from ometria_source.export.readers import read_tables
from ometria_source.export.types import ColumnTypes, cast_declared
from ometria_source.tables.metrics import ROWS_READ
from ometria_source.tables.watermark import start_of_table

log = logging.getLogger(__name__)

TABLE = "email_events"

# Before any file of any export: a first load without `start_date` reads them all.
FIRST_FILE = datetime(1970, 1, 1, tzinfo=timezone.utc)

# How often a file is begun that is replaced each time while it is read. A guess: exports write a file once.
MOST_READINGS = 5

COLUMNS: TTableSchemaColumns = {
    "event_key": {
        "data_type": "text",
        "nullable": False,
        "description": "SHA-256 of the columns in `email_events_key`, else of all cells of the row.",
    },
    "_file_path": {"data_type": "text", "description": "The file that the row is from, relative to `bucket_url`."},
    "_file_modified_at": {
        "data_type": "timestamp",
        "dedup_sort": "desc",
        "description": "When that file was last modified (UTC). The newest file wins.",
    },
    "_row_number": {"data_type": "bigint", "description": "The row's place in that file; the first data row is 1."},
    "_cursor": {
        "data_type": "timestamp",
        "description": "`_file_modified_at` where it may move the incremental cursor; null for a time in the future.",
    },
}


@dataclass(frozen=True)
class Export:
    """Where the export is and how to read it.

    Attributes:
        listing: dlt's lister of the bucket; None where no `bucket_url` is configured.
        file_glob: The setting of that name, and so are the other fields.
    """

    listing: DltResource | None
    file_glob: str
    file_format: str | None
    key: Sequence[str] | None
    columns: Mapping[str, str]

    def files(self, table: str) -> Iterator[FileItemDict]:
        """List the files.

        Args:
            table: Who asks, for the error.

        Raises:
            MissingSettingError: `bucket_url` is not configured.
            BucketError: As `list_files`.
        """
        if self.listing is None:
            raise MissingSettingError("bucket_url", table)
        return list_files(self.listing)


class EventFiles:
    """What the files of one run share. Files are read in parallel.

    Args:
        export: Where the files are and how to read them.
        start_date: As for `email_events_resource`.
    """

    def __init__(self, export: Export, start_date: datetime | None) -> None:
        self._export = export
        self._start_date = start_date
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin a run: a source object may be used for several."""
        schema = dlt.current.source_schema()
        known = schema.tables.get(TABLE, {}).get("columns", {})
        types = {name: str(column["data_type"]) for name, column in known.items() if "data_type" in column}
        self._types = ColumnTypes(types, schema.naming.normalize_path)
        self._normalize = schema.naming.normalize_path
        self._now = datetime.now(timezone.utc)
        resource = dlt.current.source().resources[TABLE]
        cursor = cast(dlt.sources.incremental[datetime], resource.incremental)
        start, end = cast(datetime, cursor.start_value), cursor.end_value
        if end is None:
            start = max(start, start_of_table(TABLE, dlt.current.resource_state(TABLE), self._start_date, FIRST_FILE))
        self._window = (start, end)
        self._metrics = resource.custom_metrics
        self._metrics.update(dict.fromkeys((ROWS_READ, "files_read", "files_known", "files_before_window"), 0))

    def files(self) -> Iterator[list[FileItemDict]]:
        """The files that are data.

        Raises:
            NoFilesError: There is none, on a first run.
        """
        # the manifest's state, which every run that reads a file leaves behind
        is_first_run = "files_since" not in dlt.current.resource_state(TABLE)
        matches = 0
        for file in self._export.files(TABLE):
            if is_hidden(file["relative_path"]):
                self._count("files_hidden")
                continue
            matches += 1
            yield [file]
        if not matches and is_first_run:
            raise NoFilesError(self._export.file_glob)
        if not matches:
            log.warning(
                "email_events: no file of the export matches `file_glob` = `%s`, though files did before; check "
                "`bucket_url` and `file_glob`",
                self._export.file_glob,
            )

    def read(self, file: FileItemDict) -> Iterator[TDataItems]:
        """The rows of a file, unless it is outside the window or was read before."""
        modified_at: datetime = file["modification_date"]
        start, end = self._window
        manifest = None
        if end is None:
            with self._lock:
                manifest = Manifest(dlt.current.resource_state(TABLE), start)
                if file in manifest:
                    self._metrics["files_known"] += 1
                    return
        if modified_at < start:
            self._count("files_before_window")
            return
        if end is not None and modified_at >= end:
            self._count("files_after_window")
            return
        read = yield from self._read_whole(file)
        if read is None:
            log.warning("email_events: %s was deleted before its end was read; it is skipped", file["relative_path"])
            return
        self._count("files_read")
        if manifest is not None:
            with self._lock:
                manifest.add(read)

    def _read_whole(self, file: FileItemDict) -> Generator[TDataItems, None, FileItemDict | None]:
        """The rows of a file, and the version of it that was read to its end; None: it was deleted before that."""
        path = file["relative_path"]
        for _ in range(MOST_READINGS):
            failure: Exception | None = None
            opened = None
            try:
                with file.open(mode="rb", compression="disable") as stream:
                    # what fsspec learned when it opened the file; a local file has none
                    opened = etag(getattr(stream, "details", {}))
                    yield from self._rows(path, cast(BinaryIO, stream), file["modification_date"])
            except FileNotFoundError:
                return None
            except (FileExpired, UnreadableFileError) as error:
                failure = error
            seen = look_again(file)
            if seen is None:
                return None if failure else file
            now, now_etag = seen
            if not has_changed(file, now) and now_etag == opened and not isinstance(failure, FileExpired):
                if failure:
                    raise failure
                return file
            log.warning("email_events: %s was replaced while it was read; it is read again", path)
            # or else it would be opened as it was listed
            now.fsspec.invalidate_cache()
            file = now
        raise UnreadableFileError(path, "was replaced again and again while it was read")

    def _rows(self, path: str, stream: BinaryIO, modified_at: datetime) -> Iterator[TDataItems]:
        rows = 0
        for table in read_tables(path, stream, self._export.file_format):
            self._check_key(path, table.column_names)
            yield self._finish(table, path, modified_at, rows)
            rows += table.num_rows
        self._count(ROWS_READ, rows)

    def _finish(self, table: pa.Table, path: str, modified_at: datetime, rows_before: int) -> TDataItems:
        """One table of a file with types, key and lineage."""
        keys = row_keys(table, self._export.key)
        table = cast_declared(table, path, rows_before + 1, self._export.columns)
        table = table.rename_columns([self._free_name(name) for name in table.column_names])
        table = self._types.conform(table)
        hints: TTableSchemaColumns = {name: {"data_type": "json"} for name in json_columns(table)}
        count = table.num_rows
        instant = pa.timestamp("us", tz="UTC")
        lineage = {
            "event_key": keys,
            "_file_path": pa.repeat(pa.scalar(path, pa.string()), count),
            "_file_modified_at": pa.repeat(pa.scalar(modified_at, instant), count),
            "_row_number": pa.array(range(rows_before + 1, rows_before + count + 1), pa.int64()),
            "_cursor": pa.repeat(pa.scalar(modified_at if modified_at <= self._now else None, instant), count),
        }
        for name, values in lineage.items():
            table = table.append_column(name, values)
        return dlt.mark.with_hints(table, dlt.mark.make_hints(columns=hints)) if hints else table

    def _free_name(self, name: str) -> str:
        """A name for a column of the file that is not one of ours."""
        return f"{name}_2" if self._normalize(name) in COLUMNS else name

    def _check_key(self, path: str, columns: Sequence[str]) -> None:
        for name in self._export.key or ():
            if name not in columns:
                raise UnreadableFileError(path, f"the column `{name}` of `email_events_key` is missing")

    def _count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self._metrics[what] = self._metrics.get(what, 0) + number
