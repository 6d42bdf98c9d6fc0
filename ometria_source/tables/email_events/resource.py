"""`email_events`: sends, opens, clicks and the like, from the files of Ometria's self-serve data export.

The export's file names, format and columns are not public, so all columns are kept as they come, and a row is known by
a hash of its cells until the account's owner names the columns that identify an event.

The cursor is the files' modification time: an event-time cursor would lose late events. One value holds for all rows of
a file, so it is a property of the file that is read, not of its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any

import dlt
from dlt.common.typing import TDataItems
from dlt.extract import DltResource

from ometria_source.exceptions import InvalidSettingError
from ometria_source.export.batches import first_rows, row_groups, written_out
from ometria_source.export.parallel import in_parallel
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.shown import shown_name, without_addresses
from ometria_source.sync.destination import DEFAULT_STRATEGY, running_strategy
from ometria_source.sync.metrics import add_note
from ometria_source.sync.protection import begin_privacy
from ometria_source.tables.email_events.files import FIRST_FILE, EventFiles
from ometria_source.tables.email_events.reading import Export
from ometria_source.tables.email_events.rows import KEY, TABLE

SECONDS_A_DAY = 24 * 60 * 60


# Where the state keeps the columns of `email_events_key`; none: all cells of a row are its key.
KEY_STATE = "key_columns"


def email_events_resource(
    export: Export,
    start_date: datetime | None,
    end_date: datetime | None,
    file_lag_days: float,
    privacy: TablePrivacy,
    check_everywhere: Callable[[Collection[str]], None],
) -> DltResource:
    """The `email_events` table.

    Args:
        export: Where the files are and how to read them.
        start_date: First instant of the first load, or of the backfill, by the files' modification time.
        end_date: The instant after the last one. With it this is a backfill, which leaves cursor and manifest alone.
        file_lag_days: How long a file may take to appear after its modification time.
        privacy: What is hashed and dropped.
        check_everywhere: Refuses a privacy rule for all tables that names none of these columns, nor another table's.
    """
    cursor: dlt.sources.incremental[datetime] = dlt.sources.incremental(
        "_file_modified_at",
        initial_value=(start_date if end_date else None) or FIRST_FILE,
        end_value=end_date,
        lag=file_lag_days * SECONDS_A_DAY,
        primary_key=(),
    )

    @dlt.resource(name=TABLE, primary_key=KEY, write_disposition="merge", columns=privacy.columns(), incremental=cursor)
    def email_events() -> Iterator[TDataItems]:
        """Events of e-mails that Ometria sent: what a row is depends on the account's export.

        The cursor is on the files' modification time. It reaches back `file_lag_days` on every run, because a file can
        appear late; files that were read are known by the manifest.

        Yields:
            Arrow tables; None while none is ready.

        Raises:
            ConfigurationError: The table cannot be merged; as `strategy_at`.
            MissingSettingError: `bucket_url` is not configured.
            BucketError: The bucket cannot be listed or read.
            NoFilesError: No file matches, on a first run.
            UnreadableFileError: A file is not what it should be. No event of this run is loaded.
            InvalidSettingError: The table was loaded under other privacy settings, or a rule for all tables names no
                column. No event of this run is loaded.
            UnappliedRuleError: A privacy rule for the table found nothing in its rows. No event of this run is loaded.
        """
        begin_privacy(privacy)
        state = dlt.current.resource_state()
        check_event_key(export.key, state)
        record_event_key(export.key, state)
        # dlt leaves out all but one row of a key, the newest, under this strategy only
        is_deduplicated = running_strategy() == DEFAULT_STRATEGY
        # one for each run: a reader of an earlier one may still be at it
        reading = EventFiles(export, start_date, privacy, newest_first=not is_deduplicated)
        files = reading.files()
        has_table = False
        with closing(in_parallel(files, reading.read, readers=None if is_deduplicated else 1)) as tables:
            for table in row_groups(tables if is_deduplicated else first_rows(tables, KEY)):
                if table is None:
                    yield None
                else:
                    has_table = True
                    yield from map(reading.with_hints, written_out(table))
        if not has_table and TABLE not in dlt.current.source_schema().tables:
            # no file lies in the window of a backfill: the table is there all the same, as every other one is
            yield from map(reading.with_hints, written_out(reading.no_rows()))
        reading.check_rules(check_everywhere)
        reading.report_columns()
        reading.commit()

    return email_events


def check_event_key(key: Sequence[str] | None, state: Mapping[str, Any]) -> None:
    """Refuse another `email_events_key` than that of the loaded rows: the same event would be there twice.

    Args:
        key: The setting.
        state: Of the resource. State without a key, as of an earlier version, goes with any.

    Raises:
        InvalidSettingError: The rows that are there have another key.
    """
    before = state.get(KEY_STATE)
    if before is not None and before != _recorded(key):
        raise InvalidSettingError(
            "email_events_key",
            f"is not what it was when `{TABLE}` was loaded, so that the same event would be there twice. Nothing was "
            f"read. Set it back, or load `{TABLE}` anew with a full refresh.",
            table=TABLE,
        )


def record_event_key(key: Sequence[str] | None, state: dict[str, Any]) -> None:
    """Keep in state by which key the rows are made."""
    state.setdefault(KEY_STATE, _recorded(key))


def _recorded(key: Sequence[str] | None) -> list[str]:
    return sorted({*(key or ())})


def email_event_files_resource(export: Export) -> DltResource:
    """An inventory of the export, not selected by default: one row for each file.

    Args:
        export: Where the files are.
    """

    @dlt.resource(name="email_event_files", write_disposition="replace", primary_key="file_path", selected=False)
    def email_event_files() -> Iterator[TDataItems]:
        """Files of the export: path, size in bytes and time of modification."""
        for file in export.files("email_event_files"):
            if file.problem is not None:
                # it has no size or time of its own
                add_note("email_event_files", f"{shown_name(file['relative_path'])} {file.problem}")
                continue
            yield [
                {
                    "file_path": without_addresses(file["relative_path"]),
                    "size_in_bytes": file["size_in_bytes"],
                    "modified_at": file["modification_date"],
                }
            ]

    return email_event_files
