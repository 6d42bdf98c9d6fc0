"""What the flags of the program can do about an error: the library's own sentences have none."""

from __future__ import annotations

from ometria_source.exceptions import (
    ChangedDestinationError,
    DestinationError,
    InvalidSettingError,
    KeptRowsError,
    NothingConfiguredError,
    NotMergedError,
    OmetriaError,
    RefusedPackageError,
    UnexpectedError,
)

# Arguments of `load` that the program has as flags alone.
FLAGS = ("tables", "destination", "dataset")


def advice(error: OmetriaError) -> str:
    """A sentence with the flags that help; empty where none does.

    Args:
        error: Of the library.
    """
    if isinstance(error, InvalidSettingError) and error.table:
        return f"As flags: `--tables {error.table} --full-refresh`."
    if isinstance(error, InvalidSettingError) and error.setting in FLAGS:
        return f"As a flag: `--{error.setting}`."
    if isinstance(error, ChangedDestinationError):
        return f"As flags: `--tables {error.table} --full-refresh`."
    if isinstance(error, NotMergedError | KeptRowsError):
        formats = " or ".join(f"`--table-format {name}`" for name in error.table_formats)
        logs = "`--tables unsubscribes,email_events`" if isinstance(error, KeptRowsError) else ""
        flags = ", with ".join(filter(None, [logs, formats]))
        return f"As flags: {'; or '.join(filter(None, [flags, '`--append`']))}."
    if isinstance(error, NothingConfiguredError):
        return "Or try `--demo`, which needs neither."
    if isinstance(error, UnexpectedError | RefusedPackageError | DestinationError):
        return "Run again with --verbose to see the cause."
    return ""
