"""The files of an export in one run: which of them are read, and what becomes of one that is not as it should be.

Files are read in parallel, each from its beginning to its end. One that was replaced meanwhile is read again: what was
read of its old version is loaded as well, as it would have been a minute earlier, and loses against the new one. No row
is made of both: S3 gives one version to the end, and elsewhere the file is looked at again before rows are handed on.

Where the first row of a key is the one that is loaded, files are read from the newest to the oldest. One that was
replaced meanwhile may then have lost rows to its own old version, so the next run reads it again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import cast

import dlt
import pyarrow as pa
from dlt.common.storages.fsspec_filesystem import FileItemDict
from dlt.extract import DltResource
from s3fs.utils import FileExpired

from ometria_source.exceptions import MissingSettingError, NoFilesError, UnreadableFileError
from ometria_source.export.formats import is_hidden
from ometria_source.export.listing import OpenedFile, has_changed, list_files, look_again, open_file
from ometria_source.export.manifest import Manifest
from ometria_source.export.patience import Patience
from ometria_source.export.readers import read_tables
from ometria_source.privacy.policy import TablePrivacy
from ometria_source.tables.deletions import is_limited
from ometria_source.tables.event_rows import TABLE, EventRows
from ometria_source.tables.fields import LogFields
from ometria_source.tables.metrics import ROWS_READ
from ometria_source.tables.privacy_state import check_names, known_columns, note_names
from ometria_source.tables.watermark import start_of_table

log = logging.getLogger(__name__)

# Before any file of any export: a first load without `start_date` reads them all.
FIRST_FILE = datetime(1970, 1, 1, tzinfo=timezone.utc)

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

    def is_still(self, file: FileItemDict, now: FileItemDict, now_etag: str | None) -> bool:
        """Whether the file is the one that was read."""
        is_lost = isinstance(self.failure, FileNotFoundError | FileExpired)
        return not is_lost and now_etag == self.etag and not has_changed(file, now)


@dataclass(frozen=True)
class Export:
    """Where the export is and how to read it.

    Attributes:
        listing: dlt's lister of the bucket; None where no `bucket_url` is configured.
        patience: How long its store is asked again.
        file_glob: The setting of that name, and so are the other fields but `key` and `columns`.
        key: The setting `email_events_key`.
        columns: The setting `email_events_columns`.
    """

    listing: DltResource | None
    patience: Patience
    file_glob: str
    file_format: str | None
    on_bad_file: str
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
        return list_files(self.listing, self.patience)


class EventFiles:
    """The files of one run, which are read in parallel.

    Args:
        export: Where the files are and how to read them.
        start_date: As for `email_events_resource`.
        privacy: What is hashed and dropped.
        newest_first: Whether of the rows of one key the first is loaded, not the newest: files then come from the
            newest to the oldest, for one reader.
    """

    def __init__(
        self, export: Export, start_date: datetime | None, privacy: TablePrivacy, *, newest_first: bool
    ) -> None:
        self._export = export
        self._start_date = start_date
        self._newest_first = newest_first
        self._lock = threading.Lock()
        self._read: list[tuple[FileItemDict, int]] = []
        self._to_read_again: list[FileItemDict] = []
        self._fields = LogFields(enough=1)
        self._now = datetime.now(timezone.utc)
        self._privacy = privacy
        self._schema = dlt.current.source_schema()
        resource = dlt.current.source().resources[TABLE]
        # that of the resource: a notebook can give `pipeline.run` another one than the setting
        contract = self._schema.resolve_contract_settings_for_table(TABLE, resource.compute_table_schema())
        self._rows = EventRows(self._export.key, self._export.columns, self._schema, contract, privacy)
        self._cursor = cast(dlt.sources.incremental[datetime], resource.incremental)
        # dlt would compare and copy every row; `note_files` moves it by files
        self._cursor.advance(self._newest())
        self._start, self._end = cast(datetime, self._cursor.start_value), self._cursor.end_value
        self._lag = timedelta(seconds=cast(float, self._cursor.lag))
        state = dlt.current.resource_state(TABLE)
        # a limited run leaves no trace in the state
        self._is_limited = is_limited()
        state = deepcopy(state) if self._is_limited else state
        self._is_first_run = "manifest" not in state
        self._state = state
        self._manifest = None
        if self._end is None:
            self._start = max(self._start, start_of_table(TABLE, state, self._start_date, FIRST_FILE))
            self._manifest = Manifest(state, self._start)
        self._metrics = resource.custom_metrics
        self._metrics.clear()
        self._metrics.update(dict.fromkeys((ROWS_READ, "files_read", "files_known", "files_before_window"), 0))

    def files(self) -> list[FileItemDict]:
        """The files to read.

        Raises:
            NoFilesError: There is none at all, on a first run.
        """
        new, known = self._new_and_known()
        again: list[FileItemDict] = []
        if self._export.key is not None:
            self._warn_of_files_after_window()
            if known:
                new, again = self._with_newer(new, known)
        self._count("files_known", len(known) - len(again))
        self._count("files_read_again", len(again))
        files = new + again
        if self._newest_first:
            files.sort(key=lambda file: file["modification_date"], reverse=True)
        return files

    def _new_and_known(self) -> tuple[list[FileItemDict], list[FileItemDict]]:
        """The files of the window: those that no run has read, and the others."""
        new: list[FileItemDict] = []
        known: list[FileItemDict] = []
        matches = 0
        for file in self._export.files(TABLE):
            if is_hidden(file["relative_path"]):
                self._count("files_hidden")
                continue
            matches += 1
            if self._manifest is not None and file in self._manifest:
                known.append(file)
            elif file["modification_date"] < self._start:
                self._count("files_before_window")
            elif self._end is not None and file["modification_date"] >= self._end:
                self._count("files_after_window")
            else:
                new.append(file)
        if not matches and self._is_first_run:
            raise NoFilesError(self._export.file_glob)
        if not matches:
            log.warning(
                "email_events: no file of the export matches `file_glob` = `%s`, though files did before; check "
                "`bucket_url` and `file_glob`",
                self._export.file_glob,
            )
        return new, known

    def _warn_of_files_after_window(self) -> None:
        if newer := self._metrics.get("files_after_window"):
            log.warning(
                "email_events: %d files are newer than this backfill. Where they were loaded before it, it puts older "
                "rows of the same `email_events_key` in the place of theirs: load all windows from old to new",
                newer,
            )

    def _with_newer(
        self, new: list[FileItemDict], known: list[FileItemDict]
    ) -> tuple[list[FileItemDict], list[FileItemDict]]:
        """The files to read where a key is declared: new ones, and known ones that are newer than one of those.

        A merge cannot tell whether the row that it replaces is newer. But of the rows that it brings in together, the
        newest wins. Without a declared key, rows of one key are the same row.
        """
        newest = max(file["modification_date"] for file in known)
        late = [file for file in new if file["modification_date"] < newest]
        if self._export.on_bad_file == "skip":
            # or else every run would read the newer ones again for nothing
            bad = [file for file in late if not self._is_readable(file)]
            late, new = ([file for file in files if file not in bad] for files in (late, new))
        oldest = min((file["modification_date"] for file in late), default=newest)
        return new, [file for file in known if file["modification_date"] > oldest]

    def _is_readable(self, file: FileItemDict) -> bool:
        """Whether the rows of a file can be read now; if not, the file is skipped."""
        attempt = _Attempt()
        try:
            with open_file(file, self._export.patience) as opened:
                attempt.etag = opened.etag
                self._rows.check(file["relative_path"], self._tables(file, opened))
        except UnreadableFileError as error:
            seen = self._export.patience(look_again, file, path=file["relative_path"])
            if seen is not None and attempt.is_still(file, *seen):
                self._skip(error)
                return False
        except (FileNotFoundError, FileExpired):
            log.info("email_events: %s changed while it was looked at", file["relative_path"])
        return True

    def read(self, file: FileItemDict) -> Iterator[pa.Table]:
        """The rows of a file.

        Raises:
            UnreadableFileError: It is not what it should be, or is replaced whenever it is read.
        """
        path = file["relative_path"]
        modified_at = file["modification_date"]
        for reading in range(MOST_READINGS):
            attempt = yield from self._try(file, modified_at)
            seen = self._export.patience(look_again, file, path=path)
            if seen is None and attempt.failure:
                log.warning("email_events: %s was deleted before its end was read; it is skipped", path)
                return
            if seen is None or attempt.is_still(file, *seen):
                self._conclude(file, attempt, is_final=reading == 0 or not self._newest_first)
                return
            log.warning("email_events: %s was replaced while it was read; it is read again", path)
            file = seen[0]
            # of rows with one key the newest is kept, and this version may bear the time of the one that it replaced
            modified_at = max(file["modification_date"], modified_at + timedelta(microseconds=1))
        raise UnreadableFileError(path, "was replaced again and again while it was read")

    def _try(self, file: FileItemDict, modified_at: datetime) -> Generator[pa.Table, None, _Attempt]:
        attempt = _Attempt()
        try:
            with open_file(file, self._export.patience) as opened:
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

    def check_names(self, check_everywhere: Callable[[Collection[str]], None]) -> None:
        """Refuse a privacy rule that names no column of the files.

        Args:
            check_everywhere: Refuses one for all tables, of which these are the columns.

        Raises:
            InvalidSettingError: There is one, and files were read.
        """
        if seen := self._rows.privacy.seen:
            tables = self._schema.tables
            known = seen | known_columns(tables.get(TABLE), dlt.current.resource_state(TABLE))
            check_names(self._privacy, known)
            check_everywhere(known.union(*(table["columns"] for table in tables.values())))
            note_names(self._privacy, known)

    def note_files(self) -> None:
        """Move cursor and manifest, once all rows were handed on: a run that is limited or fails leaves them alone."""
        if self._manifest is None or self._is_limited:
            return
        newest = max(
            (file["modification_date"] for file, rows in self._read if rows and file["modification_date"] <= self._now),
            default=self._newest(),
        )
        # it must stay within the lag
        newest = min([newest, *(file["modification_date"] for file in self._to_read_again)])
        self._cursor.advance(max(newest, self._newest()))
        self._fields.note(TABLE, self._state)
        self._manifest.forget_before(newest - self._lag)
        for file, _ in self._read:
            self._manifest.add(file)

    def _newest(self) -> datetime:
        """The cursor as the last run left it, without the lag."""
        return cast(datetime, self._cursor.get_state()["last_value"])

    def _tables(self, file: FileItemDict, opened: OpenedFile) -> Iterator[pa.Table]:
        """The tables of one version of a file.

        Raises:
            FileExpired: It was replaced meanwhile.
        """
        for table in read_tables(file["relative_path"], opened.stream, self._export.file_format):
            if not opened.is_one_version:
                seen = self._export.patience(look_again, file, path=file["relative_path"])
                if seen is not None and (seen[1] != opened.etag or has_changed(file, seen[0])):
                    raise FileExpired(file["relative_path"], opened.etag)
            yield table

    def _conclude(self, file: FileItemDict, attempt: _Attempt, *, is_final: bool) -> None:
        """Note that a file was read, or say what is wrong with it."""
        failure = attempt.failure
        if failure is None:
            self._count("files_read")
            with self._lock:
                if is_final:
                    self._read.append((file, attempt.rows))
                else:
                    self._to_read_again.append(file)
                if attempt.rows:
                    self._fields.add(attempt.columns)
        elif (
            isinstance(failure, UnreadableFileError) and self._export.on_bad_file == "skip" and not attempt.has_rows_out
        ):
            self._skip(failure)
        else:
            raise failure

    def _skip(self, error: UnreadableFileError) -> None:
        self._count("files_unreadable")
        log.warning(
            "email_events: skipped %s: %s. Every run within `file_lag_days` tries it again", error.place, error.problem
        )

    def _count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self._metrics[what] = self._metrics.get(what, 0) + number
