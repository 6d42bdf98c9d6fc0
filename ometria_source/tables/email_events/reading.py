"""Read one file of the export, which may be replaced, deleted or damaged at any time.

A file that was replaced meanwhile is read again: what was read of its old version is loaded as well, as it would have
been a minute earlier, and loses against the new one. No row is made of both: S3 serves one version to the end, and
elsewhere the file is looked up again before rows are yielded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pyarrow as pa
from dlt.extract import DltResource
from s3fs.utils import FileExpired

from ometria_source.exceptions import MissingSettingError, UnreadableFileError
from ometria_source.export.bucket import BucketFile, OpenedFile, has_changed, list_files, look_again, open_file
from ometria_source.export.csv import CsvDialect
from ometria_source.export.read import read_tables
from ometria_source.export.retry import RetryBudget
from ometria_source.shown import shown_name
from ometria_source.sync.metrics import ROWS_READ, add_note
from ometria_source.tables.email_events.rows import EventRows


@dataclass(frozen=True)
class Export:
    """Where the export is and how to read it.

    Attributes:
        listing: dlt's lister of the bucket; None where no `bucket_url` is configured.
        retry: Retries calls to its store.
        file_glob: The setting of that name, and so are `file_format` and `on_bad_file`.
        dialect: The settings `csv_delimiter` and `csv_encoding`.
        key: The setting `email_events_key`.
        columns: The setting `email_events_columns`.
    """

    listing: DltResource | None
    retry: RetryBudget
    file_glob: str
    file_format: str | None
    dialect: CsvDialect
    on_bad_file: str
    key: Sequence[str] | None
    columns: Mapping[str, str]

    def files(self, table: str) -> list[BucketFile]:
        """List the files that `file_glob` matches; a link that it does not match and that cannot be followed is named.

        Args:
            table: The table that they are listed for, for errors and notices.

        Returns:
            Files in no particular order; see `list_files`.

        Raises:
            MissingSettingError: `bucket_url` is not configured.
            BucketError: As `list_files`.
        """
        if self.listing is None:
            raise MissingSettingError("bucket_url", table)
        matches = []
        for file in list_files(self.listing, self.retry):
            if file.is_match:
                matches.append(file)
            else:
                add_note(table, f"{shown_name(file['relative_path'])} {file.problem}")
        return matches


log = logging.getLogger(__name__)

# How often a file is begun that is replaced each time while it is read. A guess: exports write a file once.
MOST_READINGS = 5


@dataclass
class _Attempt:
    """What became of one reading of a file."""

    etag: str | None = None
    failure: FileNotFoundError | FileExpired | UnreadableFileError | None = None
    has_rows_out: bool = False
    rows: int = 0
    columns: set[str] = field(default_factory=set)

    @property
    def is_lost(self) -> bool:
        """Whether the file was no longer there, or was another one, before its end."""
        return isinstance(self.failure, FileNotFoundError | FileExpired)

    def is_still(self, file: BucketFile, now: BucketFile, now_etag: str | None) -> bool:
        """Whether the file is the one that was read."""
        return not self.is_lost and now_etag == self.etag and not has_changed(file, now)


@dataclass(frozen=True)
class Reading:
    """A file that was read to its end.

    Attributes:
        file: As it was then.
        rows: Of its last version.
        columns: Of its last version, under the table's names.
        was_replaced: Whether rows of an older version were handed on before.
    """

    file: BucketFile
    rows: int
    columns: set[str]
    was_replaced: bool


class FileReader:
    """Reads the files of one run. Safe to share between threads.

    Args:
        export: How to read them.
        rows: Makes rows of them.
        count: Adds a number to a metric.
        note: Adds a note to the report.

    Attributes:
        with_unnamed_columns: The paths of files whose last columns have no name, and were left out.
    """

    def __init__(
        self,
        export: Export,
        rows: EventRows,
        count: Callable[[str, int], None],
        note: Callable[[str], None],
    ) -> None:
        self._export = export
        self._rows = rows
        self._count = count
        self._add_note = note
        self.with_unnamed_columns: set[str] = set()

    def is_readable(self, file: BucketFile) -> bool:
        """Whether the rows of a file can be read now; if not, the file is skipped."""
        attempt = _Attempt()
        try:
            with open_file(file, self._export.retry) as opened:
                attempt.etag = opened.etag
                self._rows.check(file["relative_path"], self._tables(file, opened))
        except UnreadableFileError as error:
            seen = self._export.retry(look_again, file, path=file["relative_path"])
            if seen is not None and attempt.is_still(file, *seen):
                self._skip(file, error)
                return False
        except (FileNotFoundError, FileExpired):
            log.info("email_events: %s changed while it was looked at", shown_name(file["relative_path"]))
        return True

    def read(self, file: BucketFile) -> Generator[pa.Table, None, Reading | None]:
        """Read a file to its end; again from its beginning, if it was replaced meanwhile.

        Args:
            file: As it was listed.

        Yields:
            Rows of `email_events`, those of an older version first.

        Returns:
            What was read last; None: the file is gone, or cannot be read and is skipped.

        Raises:
            UnreadableFileError: It is not what it should be, or is replaced whenever it is read.
        """
        path = file["relative_path"]
        modified_at = file["modification_date"]
        for number in range(MOST_READINGS):
            attempt = yield from self._try(file, modified_at)
            seen = self._export.retry(look_again, file, path=path)
            if seen is None and attempt.is_lost:
                self._add_note(f"{shown_name(path)} was deleted before its end was read; it is skipped")
                return None
            if seen is None or attempt.is_still(file, *seen):
                return self._reading(file, attempt, was_replaced=number > 0)
            self._add_note(f"{shown_name(path)} was replaced while it was read; it is read again")
            file = seen[0]
            # of rows with one key the newest is kept, and this version may bear the time of the one that it replaced
            modified_at = max(file["modification_date"], modified_at + timedelta(microseconds=1))
        raise UnreadableFileError(path, "was replaced again and again while it was read")

    def _try(self, file: BucketFile, modified_at: datetime) -> Generator[pa.Table, None, _Attempt]:
        attempt = _Attempt()
        try:
            with open_file(file, self._export.retry) as opened:
                attempt.etag = opened.etag
                if self._export.on_bad_file == "skip":
                    # rows that are handed on cannot be taken back
                    self._rows.check(file["relative_path"], self._tables(file, opened))
                    opened.stream.seek(0)
                attempt.has_rows_out = True
                made = yield from self._rows.make(file["relative_path"], self._tables(file, opened), modified_at)
                attempt.rows, attempt.columns = made
                self._count(ROWS_READ, attempt.rows)
        except (FileNotFoundError, FileExpired, UnreadableFileError) as error:
            attempt.failure = error
        return attempt

    def _tables(self, file: BucketFile, opened: OpenedFile) -> Iterator[pa.Table]:
        """The tables of one version of a file.

        Raises:
            FileExpired: It was replaced meanwhile.
        """
        path = file["relative_path"]

        def note_unnamed(_: int) -> None:
            self.with_unnamed_columns.add(path)

        form = (self._export.file_format, None, self._export.dialect, note_unnamed)
        for table in read_tables(path, opened.stream, *form):
            if not opened.is_one_version:
                seen = self._export.retry(look_again, file, path=path)
                if seen is not None and (seen[1] != opened.etag or has_changed(file, seen[0])):
                    raise FileExpired(path, opened.etag)
            yield table

    def _reading(self, file: BucketFile, attempt: _Attempt, *, was_replaced: bool) -> Reading | None:
        """What was read, or what is wrong with it."""
        failure = attempt.failure
        if failure is None:
            self._count("files_read", 1)
            return Reading(file, attempt.rows, attempt.columns, was_replaced)
        if isinstance(failure, UnreadableFileError) and self._export.on_bad_file == "skip" and not attempt.has_rows_out:
            self._skip(file, failure)
            return None
        raise failure

    def refuse(self, file: BucketFile) -> None:
        """Refuse a file that the listing found a problem with, or skip it.

        Args:
            file: With a `problem`.

        Raises:
            UnreadableFileError: `on_bad_file` is "fail".
        """
        error = UnreadableFileError(file["relative_path"], str(file.problem))
        if self._export.on_bad_file != "skip":
            raise error
        self._skip(file, error)

    def _skip(self, file: BucketFile, error: UnreadableFileError) -> None:
        self.with_unnamed_columns.discard(file["relative_path"])
        self._count("files_unreadable", 1)
        self._add_note(f"skipped {error.place}: {error.problem}. Every run within `file_lag_days` tries it again")
