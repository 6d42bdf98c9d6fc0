"""Every error that a user of this package can act on.

OmetriaError
  +-- ConfigurationError        found before anything is read
  |     +-- InvalidSettingError     a setting has a value that cannot work
  |     +-- NothingConfiguredError  there is neither an API key nor a bucket
  |     +-- RunInProgressError      another run uses the same working folder
  |     +-- ForeignFileError        settings, or a working folder, belong to another user of the machine
  |     +-- NotMergedError          the destination would append rows that must be merged
  |     +-- KeptRowsError           a merge that removes nothing, for a table that must lose rows
  |     +-- NoSuchStrategyError     a merge strategy that the destination does not have
  |     +-- UnscopedMergeError      hints under which a merge removes what was only not read
  |     +-- UnreadableConfigurationError  dlt cannot read its configuration
  +-- MissingSettingError       a table needs a setting that is not there
  +-- AccessDeniedError         Ometria refuses the key (401, 403)
  +-- RefusedKeyError           Ometria refuses the key for each table of a load
  +-- UnavailableError          no usable answer from Ometria within the retry budget
  +-- RequestLimitError         a check has sent as many requests as it may
  +-- UnexpectedAnswerError     an answer that the documented API would not give
  |     +-- NotFoundError           the path or the object does not exist (404)
  +-- MembersPathError          the path to the members of lists, which answered before, fails
  +-- IncompleteScanError       an answer that cannot be known to be whole
  |     +-- UnprovenScanError       the same of a path whose paging is not documented
  +-- AnswerTooLargeError       an answer that is longer than any that is read
  +-- EndlessScanError          a collection that has more rows than any account
  +-- TooManyColumnsError       a run that would add more columns to a table than any needs
  +-- MassDeletionError         a complete scan would remove a large part of a table
  +-- SchemaContractError       a change of a table's columns that `schema_contract` refuses
  +-- BucketError               the export's bucket cannot be listed or read
  +-- NoFilesError              nothing in the bucket matches, on a first run
  +-- UnreadableFileError       a file of the export is not what it should be
  |     +-- UnknownFormatError      neither its name nor its content shows its format
  +-- MissingConfigurationError a value that dlt needs is not configured, such as the destination's credentials
  +-- MissingPackageError       a Python package is not installed
  +-- DestinationError          the destination does not answer, or cannot be opened
  +-- RefusedPackageError       the destination answers, and refuses what was read for a table
  +-- PendingPackageError       a refused package cannot be discarded
  +-- ChangedDestinationError   a table or column is missing at the destination that was there before
  +-- UnexpectedError           anything else; only its type is shown
  +-- LoadFailedError           what `LoadReport.raise_for_failures` raises

Each message is one paragraph: what was found, what was not done, what to do. None holds a key, an e-mail address, a
URL's query or a row's content, and none has a flag of the program: the program adds its own advice.
"""

from __future__ import annotations

from collections.abc import Sequence

from ometria_source.shown import printable, shown_name, shown_value

# How to load all the same.
_OR_APPEND = (
    "To load without merging, load with `append=True`, or give each resource "
    '`apply_hints(write_disposition="append")`; rows that are read again are then doubled.'
)


class OmetriaError(Exception):
    """Base of all errors of this package.

    Args:
        message: The paragraph; of the names in it, what a terminal would obey is escaped.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class ConfigurationError(OmetriaError):
    """Something is wrong that can be seen before anything is read."""


class InvalidSettingError(ConfigurationError):
    """A setting has a value that cannot work.

    Attributes:
        setting: Its name.
        table: The table that a full refresh would make right; None: something else is to be done.

    Args:
        problem: The rest of the sentence that begins with the name, and what to do.
        value: The wrong value, which is shown unless it may be a secret; None: what is wrong is not the value alone.
    """

    def __init__(self, setting: str, problem: str, *, value: object = None, table: str | None = None) -> None:
        self.setting = setting
        self.table = table
        shown = "" if value is None else f" It is `{shown_value(value)}`."
        super().__init__(f"`{setting}` {problem}{shown}")


class UnappliedRuleError(OmetriaError):
    """A privacy rule found nothing in the rows that were read: nothing is hidden that it was to hide.

    Attributes:
        setting: Where the rule is from, such as `hash_columns`.

    Args:
        rule: The rule, as it is written.
        outcome: A sentence on what was loaded.
    """

    def __init__(self, setting: str, rule: str, outcome: str) -> None:
        self.setting = setting
        super().__init__(
            f"`{setting}` names `{rule}`, but nothing that was read has it, so that the rule changes nothing. "
            f"{outcome} Correct the name, which is that of the column in the destination, or leave it out."
        )


class NothingConfiguredError(ConfigurationError):
    """There is neither an API key nor a bucket."""

    def __init__(self) -> None:
        super().__init__(
            "Nothing is configured. Set `sources.ometria.api_key` for the API tables and `sources.ometria.bucket_url` "
            "for `email_events` in .dlt/secrets.toml or in the environment."
        )


class RunInProgressError(ConfigurationError):
    """Another run holds the pipeline's working folder."""

    def __init__(self, pipeline_name: str) -> None:
        super().__init__(
            f"Another run of `{pipeline_name}` is in progress on this working folder. Nothing was read. Wait for it "
            "to end, or give this run a working folder of its own with the environment variable `DLT_DATA_DIR`."
        )


class ForeignFileError(ConfigurationError):
    """A file or folder belongs to another user of the machine."""

    def __init__(self, path: str, advice: str) -> None:
        super().__init__(
            f"`{printable(path)}` belongs to another user of this machine, who could lead a load elsewhere. Nothing "
            f"was read. {advice}"
        )


class NotMergedError(ConfigurationError):
    """The destination cannot merge a table: dlt would append, and double the rows that are read again."""

    def __init__(self, table: str, table_formats: Sequence[str]) -> None:
        self.table = table
        self.table_formats = table_formats
        formats = " or ".join(f'`table_format = "{name}"`' for name in table_formats)
        what_to_do = f"Take a table format that can be merged: {formats}" if formats else "Take another destination"
        super().__init__(
            f"dlt cannot merge `{table}` at this destination: it would append, and double every row that is read "
            f"again. Nothing was read or loaded. {what_to_do}. {_OR_APPEND}"
        )


class KeptRowsError(ConfigurationError):
    """A table that must lose the rows that are gone in Ometria would be merged in a way that removes none."""

    def __init__(self, table: str, strategy: str | None, table_formats: Sequence[str] = ()) -> None:
        self.table = table
        self.table_formats = table_formats
        where = "at this destination" if strategy is None else f"with the merge strategy `{strategy}`"
        formats = " or ".join(f'`table_format = "{name}"`' for name in table_formats)
        super().__init__(
            f"`{table}` must lose the rows that are gone in Ometria, which dlt cannot do {where}. Nothing was read or "
            "loaded. Load only the two logs here, `unsubscribes` and `email_events`"
            f"{f', with {formats}' if formats else ''}. {_OR_APPEND}"
        )


class NoSuchStrategyError(ConfigurationError):
    """The hints of a table name a merge strategy that the destination does not have."""

    def __init__(self, table: str, strategy: str) -> None:
        self.table = table
        self.strategy = strategy
        super().__init__(
            f"This destination cannot merge `{table}` with the strategy `{strategy}`. Nothing was read or loaded. Take "
            "the strategy out of the hints of this table to have the destination's own."
        )


class UnscopedMergeError(ConfigurationError):
    """Under the hints of a table, a merge would remove rows that a run has only not read."""

    def __init__(self, table: str, strategy: str, is_log: bool) -> None:
        self.table = table
        self.strategy = strategy
        super().__init__(
            f"As the hints of `{table}` are, a merge with the strategy `{strategy}` does not know what a run has read: "
            "rows would be lost. Nothing was read or loaded. "
            + ("Take `upsert`, or no strategy at all, for this log." if is_log else "Leave the hints as they are.")
        )


class UnreadableConfigurationError(ConfigurationError):
    """dlt cannot read its configuration."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"A setting cannot be read ({kind}). Check .dlt/config.toml, .dlt/secrets.toml and the environment."
        )


class MissingSettingError(OmetriaError):
    """A table was asked for whose setting is not configured."""

    def __init__(self, setting: str, table: str) -> None:
        self.setting = setting
        super().__init__(
            f"`{table}` needs the setting `{setting}`. Set `sources.ometria.{setting}` in .dlt/secrets.toml or "
            f"`SOURCES__OMETRIA__{setting.upper()}` in the environment."
        )


class AccessDeniedError(OmetriaError):
    """Ometria answers 401 or 403."""

    def __init__(self, path: str, status: int) -> None:
        self.path = path
        self.status = status
        super().__init__(
            f"Ometria refuses the API key for {path} (status {status}). Check `sources.ometria.api_key` against "
            "Settings > API keys in Ometria, and that the account offers this endpoint."
        )


class UnavailableError(OmetriaError):
    """No usable answer arrived within the retry budget."""

    def __init__(self, path: str, fault: str, attempts: int, minutes: float) -> None:
        self.path = path
        super().__init__(
            f"No usable answer from {path} in {attempts} attempts ({fault}). What was loaded before stays. Run again "
            f"later, or raise `patience_minutes` (now {minutes:g})."
        )


class RequestLimitError(OmetriaError):
    """A check has sent as many requests as it may."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} was not asked: too many requests had to be repeated. Run again later.")


class UnexpectedAnswerError(OmetriaError):
    """An answer that the documented API would not give."""

    def __init__(self, path: str, found: str, status: int | None = None) -> None:
        self.path = path
        self.status = status
        super().__init__(f"{path} answered {found}. Check that `base_url` is an address of the Ometria Data API.")


class NotFoundError(UnexpectedAnswerError):
    """Ometria answers 404: the path or the object does not exist."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "status 404 (not found)", 404)


class MembersPathError(OmetriaError):
    """The path to the members of lists, which answered an earlier run or another list, fails.

    Args:
        path: With `{list_id}`.
        found: How it answers.
        before: What it answered, and when.
    """

    def __init__(self, path: str, found: str, before: str = "from which `member_lists` was read before") -> None:
        self.path = path
        super().__init__(
            f"{path}, {before}, {found}. Nothing of this table was loaded or removed. Run again later. If this path is "
            "gone for good, or the key must not read it, set "
            '`member_lists_from = "profiles"`: the members are then read from the `lists` of each profile.'
        )


class IncompleteScanError(OmetriaError):
    """An answer that cannot be known to be whole, so nothing of it is loaded."""

    def __init__(self, path: str, found: str) -> None:
        self.path = path
        self.found = found
        super().__init__(
            f"{path} {found}, so rows may be missing and nothing of this table was loaded. Please report this "
            "behaviour, which Ometria does not document, to the maintainers of this project."
        )


class UnprovenScanError(IncompleteScanError):
    """A scan of a path whose paging is not documented has returned all that came, which may not be all there is.

    Tables load these rows and remove nothing; only a caller that does not expect this error fails.
    """


class AnswerTooLargeError(OmetriaError):
    """An answer that is longer than any that is read, however few rows are asked for."""

    def __init__(self, path: str, most_bytes: int, what_to_do: str | None = None) -> None:
        self.path = path
        self.most_bytes = most_bytes
        super().__init__(
            f"{path} answers with more than {most_bytes >> 20} MiB, also where it is asked for less. Nothing of this "
            f"table was loaded. {what_to_do or 'Please report this to the maintainers of this project.'}"
        )


class EndlessScanError(OmetriaError):
    """A collection that has more rows than any account, so that it seems to have no end."""

    def __init__(self, path: str, rows: int) -> None:
        self.path = path
        super().__init__(
            f"{path} gives new rows without end: more than {rows:,}. Nothing of this table was loaded. Please report "
            "this behaviour, which Ometria does not document, to the maintainers of this project."
        )


class TooManyColumnsError(OmetriaError):
    """A run would add more columns to a table than any needs."""

    def __init__(self, table: str, most: int, names: Sequence[str]) -> None:
        self.table = table
        first = ", ".join(f"`{name}`" for name in names)
        super().__init__(
            f"`{table}` would get more than {most:,} new columns in this run, such as {first}: too many to be columns, "
            "where their names are ids or other values. Nothing of this table was loaded. Load the columns that fit "
            'with `schema_contract = "discard_value"`, or leave columns out with `drop_columns`.'
        )


class MassDeletionError(OmetriaError):
    """A complete scan found far fewer rows than before; deleting the rest was refused."""

    def __init__(self, table: str, missing: int, total: int, of: str = "rows") -> None:
        self.table = table
        self.missing = missing
        self.total = total
        super().__init__(
            f"About {missing:,} of {total:,} {of} of `{table}` are gone from Ometria. Nothing was deleted or loaded. "
            "If they were really removed, run once with `allow_deletes=True` "
            "(`SOURCES__OMETRIA__ALLOW_DELETES=true`); if not, check that `api_key` belongs to the account that this "
            "dataset was loaded from."
        )


class SchemaContractError(OmetriaError):
    """A table would change in a way that `schema_contract` refuses."""

    def __init__(self, table: str, column: str | None, entity: str) -> None:
        self.table = table
        self.column = column
        change = {
            "columns": f"`{table}` would get the new column `{column}`",
            "data_type": f"`{table}` would get the column `{column}`, for values that are of another type than before",
        }.get(entity, f"`{table}` would be a new table")
        super().__init__(
            f"{change}, which `schema_contract` refuses. Nothing of this table was loaded. Take the change up with "
            '`schema_contract = "evolve"`, or load without it with "discard_value"; the next run then reads all of '
            "this again."
        )


class BucketError(OmetriaError):
    """The bucket of the export cannot be listed, or one of its files not be read, through no fault of that file."""

    def __init__(self, problem: str, path: str | None = None, *, is_transient: bool = False) -> None:
        self.path = path
        what_to_do = "Check `sources.ometria.bucket_url` and `sources.ometria.credentials`"
        if is_transient:
            what_to_do = "What was loaded before stays. Run again later, or raise `patience_minutes`"
        elif path is not None:
            what_to_do += ", or leave the file out with `file_glob`"
        what = "The export" if path is None else f"{path} of the export"
        super().__init__(f"{what} at `bucket_url` cannot be read: {problem}. {what_to_do}.")


class NoFilesError(OmetriaError):
    """Nothing in the bucket matches `file_glob`, on a first run."""

    def __init__(self, file_glob: str) -> None:
        super().__init__(
            f"No file of the export matches `file_glob` = `{file_glob}`. Check `sources.ometria.bucket_url` and "
            "`sources.ometria.file_glob`, and that Ometria has delivered an export."
        )


class UnreadableFileError(OmetriaError):
    """A file of the export is not what its name or `file_format` says, or breaks in the middle."""

    def __init__(self, path: str, problem: str, line: int | None = None) -> None:
        self.path = path
        self.line = line
        shown = shown_name(path)
        self.place = shown if line is None else f"{shown}, line {line}"
        self.problem = problem
        super().__init__(
            f"{self.place}: {problem}. No event of this run was loaded. Mend or remove the file, leave it out with "
            '`file_glob`, or let `on_bad_file = "skip"` load the others; the next run reads all of them.'
        )


class UnknownFormatError(UnreadableFileError):
    """Neither a file's name nor its first bytes show its format."""

    def __init__(self, path: str) -> None:
        super().__init__(
            path,
            "neither its name nor its first bytes tell its format: set `file_format` to csv, tsv, jsonl or parquet",
        )


class RefusedKeyError(OmetriaError):
    """Ometria refuses the API key everywhere."""

    def __init__(self, status: int) -> None:
        super().__init__(
            f"Ometria refuses the API key (status {status}): check `sources.ometria.api_key` against Settings > API "
            "keys in Ometria, and `base_url`."
        )


class MissingConfigurationError(OmetriaError):
    """A value that dlt needs is not configured, such as the credentials of the destination."""

    def __init__(self, settings: Sequence[str]) -> None:
        names = ", ".join(f"`{name}`" for name in settings)
        what = "is not configured. Set it" if len(settings) == 1 else "are not configured. Set them"
        super().__init__(f"{names} {what} in .dlt/secrets.toml or in the environment.")


class MissingPackageError(OmetriaError):
    """A Python package is not installed that this run needs."""

    def __init__(self, packages: Sequence[str]) -> None:
        super().__init__(f"A package is missing: run `pip install {' '.join(packages)}`.")


class DestinationError(OmetriaError):
    """The destination does not answer, or cannot be opened; what is pending stays pending."""

    def __init__(self, destination: str, kind: str, pending: str | None = None) -> None:
        self.destination = destination
        what_stays = f" What was read for `{pending}` is kept and loaded first by the next run." if pending else ""
        super().__init__(
            f"The destination `{destination}` does not answer ({kind}).{what_stays} Check "
            f"`destination.{destination}.credentials`, and that no other program holds it."
        )


class MachineError(OmetriaError):
    """This machine lacks something that a load needs: disk, rights, files that can be open."""


class RefusedPackageError(OmetriaError):
    """The destination answers, and refuses what was read for a table."""

    def __init__(self, table: str, kind: str, where: str | None = None) -> None:
        self.table = table
        at = f" while it loaded `{where}`" if where and where != table else ""
        super().__init__(
            f"The destination refused the data of `{table}`{at} ({kind}). The next run reads the same again. Check "
            "that the destination's user may read and change this table, and its log for the cause."
        )


class TakenColumnError(OmetriaError):
    """Another load has given a new column of a table to another field, or another type."""

    def __init__(self, table: str) -> None:
        self.table = table
        super().__init__(
            f"Another load has meanwhile given new columns of `{table}` to other fields, or other types. Nothing of it "
            "was loaded; the next run reads the same again."
        )


class ChangedDestinationError(OmetriaError):
    """A table or a column is missing at the destination, though it was loaded."""

    def __init__(self, table: str, missing: Sequence[str], columns: bool) -> None:
        self.table = table
        names = ", ".join(f"`{name}`" for name in missing)
        what = f"of `{table}`, the columns {names} are" if columns else f"the table {names} is"
        super().__init__(
            f"At the destination {what} missing, as if dropped or renamed by hand. Nothing of `{table}` was read. Put "
            "it back, or load the table anew with a full refresh."
        )


class PendingPackageError(OmetriaError):
    """A package was refused, and cannot be discarded."""

    def __init__(self, pipeline_name: str, kind: str) -> None:
        super().__init__(
            f"A package that was refused cannot be discarded ({kind}). To discard it and the state that came with it, "
            f"run `dlt -y pipeline {pipeline_name} abort-packages`; the run after that reads the same again."
        )


class UnexpectedError(OmetriaError):
    """Anything else, of which only the type is shown."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"Unexpected error ({kind}).")


class LoadFailedError(OmetriaError):
    """A load that did not do all that it was asked for."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__(" ".join(sentences))
