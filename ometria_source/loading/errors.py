"""Errors for users: the one sentence that a user needs, and redaction of the rows that errors quote.

dlt wraps what a resource raises, and its own messages can hold rows. So the sentence is that of our own exception where
there is one at the bottom, and names no more than the type of any other.

A database that cannot take a value quotes it, and dlt passes that on: to the log, to its trace, to its load packages.
So the text of an error loses what stands in quotes, addresses, and the query of a URL; the type of the error, and where
it arose, stays. Rather too much is hidden than too little: where quotes are many, all from the first to the last.
"""

from __future__ import annotations

import errno
import logging
import re
import signal
import traceback
from asyncio import CancelledError
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import dlt
from dlt.common import logger as dlt_logger
from dlt.common.configuration.exceptions import (
    ConfigFieldMissingException,
    ConfigurationException,
    ConfigValueCannotBeCoercedException,
    LookupTrace,
    LookupTraces,
)
from dlt.common.exceptions import MissingDependencyException
from dlt.common.schema.exceptions import DataValidationError
from dlt.common.storages.load_package import LoadJobInfo
from dlt.pipeline import trace as dlt_trace
from dlt.pipeline.trace import PipelineStepTrace, PipelineTrace

from ometria_source.exceptions import (
    AccessDeniedError,
    InvalidSettingError,
    MachineError,
    MissingConfigurationError,
    MissingPackageError,
    MissingSettingError,
    NotFoundError,
    OmetriaError,
    SchemaContractError,
    UnexpectedError,
    UnreadableConfigurationError,
)
from ometria_source.shown import printable

# Where a traceback names a line of the code, and shows it: no values.
FRAME = re.compile(r'(^ +File "[^"\n]+", line \d+.*\n(?: {4,}.*(?:\n|$))*)', re.MULTILINE)

# What can hold a value, and what is left of it.
HIDDEN = (
    # an address
    (re.compile(r"[^\s\"'`<>(){}\[\],:;=]{1,254}@[^\s\"'`<>(){}\[\],:;=]{1,254}"), "…"),
    # the query of a URL
    (re.compile(r"\?[^\s\"'`?]*=[^\s\"'`]*"), "?…"),
    # a value as PostgreSQL shows it, with the row or the statement around it, which may have several lines: after
    # DETAIL, CONTEXT, LINE 1, or the same in the server's language
    (
        re.compile(
            r"^([ \t]*(?!ERROR|FATAL|PANIC|HINT|NOTICE|WARNING|INFO)[A-ZÀ-Þ]{4,}(?: \d+)? ?:) .*",
            re.MULTILINE | re.DOTALL,
        ),
        r"\1 …",
    ),
    # as SQL Server and DuckDB show it
    (re.compile(r"\b(key value is) \(.*", re.DOTALL), r"\1 …"),
    (re.compile(r"\b(with value|cast value|bad value:|Original Line:|parsed text:) .*", re.DOTALL | re.I), r"\1 …"),
    # as dlt shows it, and its rows
    (re.compile(r"\bvalue `(?:.*?`(?= in table `)|.*`)", re.DOTALL), "value `…`"),
    (re.compile(r"\b(Offending data item): .*", re.DOTALL), r"\1: …"),
    # a literal of SQL with its type before it
    (re.compile(r"\b\w+'[^']*'(?!\w)"), "'…'"),
    # whatever is quoted, to the last quote of the same kind, else to the end; an apostrophe is no quote, and a letter
    # before a quote is SQL's, as in N'a'
    (re.compile(r"(?:(?<!\w)|(?<=\b[BENUXbenux]))([\"'])(?:.*\1(?!\w)|.*)", re.DOTALL), "'…'"),
)

# Where dlt's exceptions keep what they were raised for, besides Python's own chain.
CAUSES = ("__cause__", "exception", "client_exception", "job_exception", "__context__")


def redacted(text: str) -> str:
    """The text of an error without values.

    Args:
        text: A message, or a traceback as Python formats it.
    """
    # every second piece is a frame
    return "".join(piece if number % 2 else _without_values(piece) for number, piece in enumerate(FRAME.split(text)))


def _without_values(message: str) -> str:
    for pattern, rest in HIDDEN:
        message = pattern.sub(rest, message)
    return message


def redacted_traceback(error: BaseException) -> str:
    """The traceback of an error, and of those that led to it, without values."""
    return redacted("".join(traceback.format_exception(error))).rstrip("\n")


class _RedactingFilter(logging.Filter):
    """Takes the values out of each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage()), None
        if record.exc_info and record.exc_info[1]:
            record.exc_text, record.exc_info = redacted_traceback(record.exc_info[1]), None
        return True


class _RedactingTracker:
    """Takes the values out of each step of a trace before dlt stores or sends it."""

    def on_start_trace(self, *_: Any) -> None:
        """Nothing to do."""

    def on_start_trace_step(self, *_: Any) -> None:
        """Nothing to do."""

    def on_end_trace_step(self, trace: PipelineTrace, step: PipelineStepTrace, *_: Any) -> None:
        """Redact the errors of the step that has just been added."""
        if step.step_exception:
            trace.steps[-1] = step._replace(step_exception=redacted(step.step_exception))
        for error in step.exception_traces or ():
            error["message"] = redacted(error["message"])
            # attributes of exceptions, such as the row that was refused
            error.pop("exception_attrs", None)
        for package in step.step_info.load_packages if step.step_info else ():
            for jobs in package.jobs.values():
                jobs[:] = [_redacted_job(job) for job in jobs]

    def on_end_trace(self, *_: Any) -> None:
        """Nothing to do."""


def _redacted_job(job: LoadJobInfo) -> LoadJobInfo:
    return job._replace(failed_message=redacted(job.failed_message)) if job.failed_message else job


@contextmanager
def redacted_process(*loggers: logging.Logger) -> Iterator[None]:
    """Let the log and the traces of this process hold no values, until the block ends.

    Args:
        *loggers: Those to which this package logs errors of others; dlt's own is added.
    """
    # dlt sets up its logger with its context
    dlt.current.run_context()
    bound = [*loggers, *([dlt_logger.LOGGER] if dlt_logger.LOGGER else [])]
    # of their own: runs in other threads take away theirs
    values, tracker = _RedactingFilter(), _RedactingTracker()
    for logger in bound:
        logger.addFilter(values)
    # the first, so that the others pass on what it has redacted
    dlt_trace.TRACKING_MODULES.insert(0, tracker)
    try:
        yield
    finally:
        dlt_trace.TRACKING_MODULES.remove(tracker)
        for logger in bound:
            logger.removeFilter(values)


# Settings of which no value is shown.
SECRETS = frozenset({"api_key", "pii_salt", "credentials"})

# What a machine can lack, by the number of the system's error, and what to do.
LACKS = {
    errno.ENOSPC: "The disk is full. Make room on the disk of the working folder and of the database, and run again.",
    errno.EDQUOT: "The disk quota of this user is used up. Make room, and run again.",
    errno.EROFS: "A folder that must be written to is read-only. Run where this user can write, or set `DLT_DATA_DIR`.",
    errno.EACCES: "This user may not read or write a file or folder that the load needs. Let it, or name another.",
    errno.ENOTDIR: "A file is where the load needs a folder. Name another folder, with `DLT_DATA_DIR` or otherwise.",
    errno.EEXIST: "A file is where the load needs a folder. Name another folder, with `DLT_DATA_DIR` or otherwise.",
    errno.EMFILE: "This process has too many open files. Raise the limit (`ulimit -n`), and run again.",
    errno.ENFILE: "This machine has too many open files. Close other programs, and run again.",
}

# The same in DuckDB's errors, which have no numbers.
DUCKDB_LACKS = {
    "Could not set lock on file": "The database does not answer: its file is open in another process. Close it there, "
    "and run again.",
    "No space left": LACKS[errno.ENOSPC],
    "Permission denied": LACKS[errno.EACCES],
    "Read-only file system": LACKS[errno.EROFS],
    "Too many open files": LACKS[errno.EMFILE],
    "No such file or directory": "The database does not answer: its folder is not there. Make it, or name another.",
}


def machine_error(error: BaseException) -> MachineError | None:
    """What this machine lacks, where that led to an error; None: it was something else.

    Args:
        error: As it was caught.
    """
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno in LACKS:
            name = str(link.filename or "")
            # a path with an address in it is not shown
            which = f" It is `{printable(name)}`." if name and "@" not in name else ""
            return MachineError(f"{LACKS[link.errno]}{which}")
        if type(link).__module__.partition(".")[0] in ("duckdb", "_duckdb"):
            text = str(link)
            if found := next((sentence for sign, sentence in DUCKDB_LACKS.items() if sign in text), None):
                return MachineError(found)
    return None


def user_error(error: BaseException) -> OmetriaError:
    """What a user should read about an error, as an error of this package.

    Args:
        error: As it was caught.

    Returns:
        This package's own error at the bottom of it, else one that says as much; it holds no data of the account.
    """
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, OmetriaError):
            return link
    if refusal := contract_refusal(error) or machine_error(error):
        return refusal
    for link in chain:
        if isinstance(link, ConfigFieldMissingException):
            return MissingConfigurationError([_setting_of(link, name) for name in link.fields])
        if isinstance(link, ConfigValueCannotBeCoercedException):
            hint = " A date is written as 2024-01-31." if link.field_name.endswith("_date") else ""
            return InvalidSettingError(
                link.field_name,
                f"has a value of the wrong type.{hint} Correct it in .dlt/config.toml or the environment.",
                value=None if link.field_name in SECRETS else link.field_value,
            )
        if isinstance(link, MissingDependencyException):
            return MissingPackageError(link.dependencies)
        if isinstance(link, ConfigurationException):
            return UnreadableConfigurationError(type(link).__name__)
    return UnexpectedError(type(chain[-1]).__name__)


def _setting_of(error: ConfigFieldMissingException, field: str) -> str:
    """The setting that a field lacks: where dlt looked for it last is the shortest name that is its own."""
    # as environment variables have them, such as DESTINATION__POSTGRES__CREDENTIALS__PASSWORD
    own = [name for name in _looked_up(error.traces.get(field, ())) if name.startswith(("DESTINATION__", "SOURCES__"))]
    return max(own, key=len).lower().replace("__", ".") if own else field


def _looked_up(traces: Iterable[LookupTrace | LookupTraces]) -> Iterator[str]:
    """The names under which dlt looked for a field, or for the first that lacks in it."""
    for trace in traces:
        if isinstance(trace, LookupTraces):
            for inner in trace.traces.values():
                yield from _looked_up(inner)
        else:
            yield trace.key


def user_message(error: BaseException) -> str:
    """What a user should read about an error: one paragraph without data of the account.

    Args:
        error: As it was caught.
    """
    return str(user_error(error))


def without_context(error: OmetriaError) -> OmetriaError:
    """An error that can be kept: without the frames that it came through, which hold rows, and without its causes."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def cause_of(error: BaseException) -> str:
    """The type of the first cause of an error."""
    *_, cause = _chain(error)
    return type(cause).__name__


def not_offered(error: BaseException) -> OmetriaError | None:
    """The answer, or the lack of a setting, that says that a table is none of this account's; None: something else."""
    for link in _chain(error):
        if isinstance(link, NotFoundError | MissingSettingError):
            return link
        if isinstance(link, AccessDeniedError) and link.status == HTTPStatus.FORBIDDEN:
            return link
    return None


def refusal_status(error: BaseException) -> int:
    """The status with which Ometria refused the key; 0: it did not."""
    return next((link.status for link in _chain(error) if isinstance(link, AccessDeniedError)), 0)


def was_interrupted(error: BaseException) -> bool:
    """Whether it was the user, or an orchestrator, who ended what failed."""
    # a time-out of aiohttp's has a `CancelledError` in its chain
    return any(not isinstance(link, Exception | GeneratorExit | CancelledError) for link in _chain(error))


def interrupting_signal(error: BaseException) -> int:
    """The number of the signal that ended what failed; SIGINT where it is not known.

    Args:
        error: For which `was_interrupted` holds.
    """
    numbers = [getattr(link, "signal_code", None) for link in _chain(error)]
    return next((number for number in numbers if isinstance(number, int)), signal.SIGINT)


def contract_refusal(error: BaseException) -> SchemaContractError | None:
    """The refusal by `schema_contract` that led to an error, ours or dlt's; None: it was something else."""
    for link in _chain(error):
        if isinstance(link, SchemaContractError):
            return link
        if isinstance(link, DataValidationError):
            return SchemaContractError(link.table_name, link.column_name, link.schema_entity)
    return None


def failed_table(error: BaseException) -> str | None:
    """The table whose job failed in a load; None: it was not a job that failed."""
    return next((name for link in _chain(error) if (name := _table(link))), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it, the first cause last; dlt keeps some causes in attributes."""
    links: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        link = waiting.pop(0)
        if isinstance(link, BaseException) and link not in links:
            links.append(link)
            waiting += [getattr(link, name, None) for name in CAUSES]
    return iter(links)


def _table(error: BaseException) -> str | None:
    """The table of the job that failed; dlt names a job `<table>.<id>.<format>`."""
    job = getattr(error, "job_id", None)
    return job.split(".")[0] if isinstance(job, str) else None
