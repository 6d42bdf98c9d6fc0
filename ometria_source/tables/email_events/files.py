"""Which files of an export one run reads, and what the state keeps of them for the next.

Files are read in parallel. Where the first row of a key is the one that is loaded, they are read from the newest to the
oldest. A file that was replaced meanwhile may then have lost rows to its own old version, so the next run reads it
again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from typing import cast

import dlt
import pyarrow as pa
from dlt.common.typing import TDataItems

from ometria_source.exceptions import NoFilesError
from ometria_source.export.bucket import BucketFile
from ometria_source.export.formats import is_hidden
from ometria_source.privacy.consistency import applied_anywhere, dropped_columns
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.sync.deletes import is_limited
from ometria_source.sync.metrics import FILES_TO_READ, NOTES, ROWS_READ, add_note
from ometria_source.sync.notices import STATE_KEY, LogFields
from ometria_source.sync.protection import end_privacy
from ometria_source.sync.state import start_of_table
from ometria_source.tables.email_events.manifest import Manifest
from ometria_source.tables.email_events.reading import Export, FileReader
from ometria_source.tables.email_events.rows import TABLE, EventRows

# Before any file of any export: a first load without `start_date` reads them all. NTFS counts from 1601, and no file
# system from an earlier year.
FIRST_FILE = datetime(1601, 1, 1, tzinfo=timezone.utc)


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
        self._read: list[tuple[BucketFile, int]] = []
        self._to_read_again: list[BucketFile] = []
        self._fields = LogFields(enough=1)
        self._now = datetime.now(timezone.utc)
        self._privacy = privacy
        self._schema = dlt.current.source_schema()
        resource = dlt.current.source().resources[TABLE]
        # that of the resource: a notebook can give `pipeline.run` another one than the setting
        contract = self._schema.resolve_contract_settings_for_table(TABLE, resource.compute_table_schema())
        dropped = dropped_columns(TABLE)
        self._rows = EventRows(self._export.key, self._export.columns, self._schema, contract, privacy, dropped)
        self._reader = FileReader(self._export, self._rows, self._count, self._add_note)
        self._cursor = cast(dlt.sources.incremental[datetime], resource.incremental)
        # dlt would compare and copy every row; `commit` moves it by files
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
        for name in self._metrics.keys() - {NOTES}:
            del self._metrics[name]
        self._metrics.update(dict.fromkeys((ROWS_READ, "files_read", "files_known", "files_before_window"), 0))

    def files(self) -> list[BucketFile]:
        """The files to read.

        Raises:
            NoFilesError: There is none at all, on a first run.
            UnreadableFileError: The listing found a problem with one.
        """
        new, known = self._new_and_known()
        again: list[BucketFile] = []
        if self._export.key is not None:
            self._warn_of_files_after_window()
            if known:
                new, again = self._with_newer(new, known)
        self._count("files_known", len(known) - len(again))
        self._count("files_read_again", len(again))
        files = new + again
        self._count(FILES_TO_READ, len(files))
        if self._newest_first:
            files.sort(key=lambda file: file["modification_date"], reverse=True)
        return files

    def _new_and_known(self) -> tuple[list[BucketFile], list[BucketFile]]:
        """The files of the window: those that no run has read, and the others."""
        new: list[BucketFile] = []
        known: list[BucketFile] = []
        matches = 0
        for file in self._export.files(TABLE):
            if file.problem is not None:
                self._reader.refuse(file)
                continue
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
            self._add_note(
                f"no file of the export matches `file_glob` = `{self._export.file_glob}`, though files did before; "
                "check `bucket_url` and `file_glob`"
            )
        return new, known

    def _warn_of_files_after_window(self) -> None:
        if newer := self._metrics.get("files_after_window"):
            self._add_note(
                f"{newer} files are newer than this backfill. Where they were loaded before it, it puts older rows of "
                "the same `email_events_key` in the place of theirs: load all windows from old to new"
            )

    def _with_newer(self, new: list[BucketFile], known: list[BucketFile]) -> tuple[list[BucketFile], list[BucketFile]]:
        """The files to read where a key is declared: new ones, and known ones that are newer than one of those.

        A merge cannot tell whether the row that it replaces is newer. But of the rows that it brings in together, the
        newest wins. Without a declared key, rows of one key are the same row.
        """
        newest = max(file["modification_date"] for file in known)
        late = [file for file in new if file["modification_date"] < newest]
        if self._export.on_bad_file == "skip":
            # or else every run would read the newer ones again for nothing
            bad = [file for file in late if not self._reader.is_readable(file)]
            late, new = ([file for file in files if file not in bad] for files in (late, new))
        oldest = min((file["modification_date"] for file in late), default=newest)
        return new, [file for file in known if file["modification_date"] > oldest]

    def read(self, file: BucketFile) -> Iterator[pa.Table]:
        """The rows of a file; of one that was replaced meanwhile, also those of the version that is there now.

        Raises:
            UnreadableFileError: As `FileReader.read`.
        """
        reading = yield from self._reader.read(file)
        if reading is None:
            return
        with self._lock:
            if self._newest_first and reading.was_replaced:
                self._to_read_again.append(reading.file)
            else:
                self._read.append((reading.file, reading.rows))
            if reading.rows:
                self._fields.add(reading.columns)

    def with_hints(self, table: pa.Table) -> TDataItems:
        """A table as dlt takes it; as `EventRows.with_hints`."""
        return self._rows.with_hints(table)

    def no_rows(self) -> pa.Table:
        """A table without rows, with the columns that every file gets.

        Not dlt's `materialize_table_schema`: it adds columns that must not be null, and that Arrow tables do not have.
        """
        return next(self._rows.make("", [pa.table({})], FIRST_FILE))

    def check_rules(self, check_everywhere: Callable[[Collection[str]], None]) -> None:
        """Refuse a privacy rule that names no column of the files.

        Args:
            check_everywhere: Refuses one for all tables, of which these are the columns.

        Raises:
            InvalidSettingError: There is one, and files were read.
        """
        if seen := self._privacy.effects.columns:
            tables = self._schema.tables
            known = seen | applied_anywhere(dlt.current.source_state().get("resources", {}))
            check_everywhere(known.union(*(table["columns"] for table in tables.values())))
        end_privacy((self._privacy, self._rows.column_names))

    def report_columns(self) -> None:
        """Report columns: two of one name, declared ones that no file has, those without a name."""
        for note in self._rows.notes:
            self._add_note(note)
        for name, question in self._rows.absent_columns(self._state.get(STATE_KEY, {})).items():
            self._add_note(
                f"`email_events_columns` names `{name}`, a column that no file of this run has, so it is null in every "
                f"row{question}"
            )
        if paths := self._reader.with_unnamed_columns:
            self._add_note(
                f"columns at the end without a name and without a value were left out of {min(paths)} "
                f"(files: {len(paths)})"
            )

    def commit(self) -> None:
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

    def _add_note(self, text: str) -> None:
        with self._lock:
            add_note(TABLE, text, self._metrics)

    def _count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self._metrics[what] = self._metrics.get(what, 0) + number
