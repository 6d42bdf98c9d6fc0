"""The command line: flags and their values."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn, cast

from ometria_source.exceptions import ConfigurationError, InvalidSettingError
from ometria_source.loading.plan import (
    ALL,
    DEFAULT_DATASET,
    DEFAULT_DESTINATION,
    PIPELINE_NAME,
    SELECTABLE,
    TABLES,
)
from ometria_source.shown import nearest
from ometria_source.sync.destination import TABLE_FORMATS
from ometria_source.version import __version__

__all__ = ["PIPELINE_NAME", "TABLES", "Options", "parse_options"]

# These are runs of their own kind, which no other flag but --verbose says anything about.
LONE_FLAGS = {"demo", "describe"}


@dataclass(frozen=True)
class Options:
    """What a run shall do.

    Attributes:
        tables: The tables, as typed; None: all of the default that are configured.
        destination: Name of a dlt destination.
        dataset: Name of the dataset (schema) to load into.
        start_date: Start of the window, as typed.
        end_date: End of the window, as typed; makes the run a backfill.
        full_refresh: Read the tables anew and replace them.
        append: Do not merge: add rows to what is there.
        table_format: What the logs are at a destination of files, as typed.
        report: The file to write the figures of the run to, as typed.
        check: Find out whether a load would work, and load nothing.
        demo: Run against a simulated account.
        describe: Describe the export, and load nothing.
        verbose: Log more, and show tracebacks.
    """

    tables: str | None = None
    destination: str = DEFAULT_DESTINATION
    dataset: str = DEFAULT_DATASET
    start_date: str | None = None
    end_date: str | None = None
    full_refresh: bool = False
    append: bool = False
    table_format: str | None = None
    report: str | None = None
    check: bool = False
    demo: bool = False
    describe: bool = False
    verbose: bool = False


class WrongFlagError(ConfigurationError):
    """The command line cannot be read."""


class _Parser(argparse.ArgumentParser):
    """Raises what it would end the process with."""

    def error(self, message: str) -> NoReturn:
        # what is quoted was typed in the wrong place, and may be a key
        shown = re.sub("'.*'", "'…'", message, flags=re.DOTALL)
        raise WrongFlagError(f"{self.prog}: {shown}. `--help` lists the flags.")

    def with_nearest(self, flag: str) -> str:
        """A flag that is not known, and the most similar one."""
        similar = nearest(flag, self._option_string_actions)
        return f"{flag} (is {similar} meant?)" if similar else flag


def report_flag(arguments: Sequence[str] | None) -> str | None:
    """The file that `--report` names, whatever the other flags are; None: none, or the flag has no value.

    Args:
        arguments: As for `parse_options`.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--report")
    with suppress(WrongFlagError):
        return cast("str | None", parser.parse_known_args(arguments)[0].report)
    return None


def parse_options(arguments: Sequence[str] | None) -> Options:
    """Read the command line.

    Args:
        arguments: Without the program's name; None: those of this process.

    Raises:
        InvalidSettingError: A flag has a value that cannot work.
        WrongFlagError: A flag is not known, or lacks its value.
        SystemExit: With 0, for `--help` and `--version`.
    """
    parser = _Parser(
        prog=f"{PIPELINE_NAME}.py",
        description="Load an Ometria account into a warehouse.",
        epilog="Exit status: 0 all loaded, 1 a table failed, 2 a wrong flag or setting, 130 or 143 interrupted.",
        allow_abbrev=False,
    )
    parser.add_argument("--tables", metavar="A,B", help=f"only these of {', '.join(SELECTABLE)}; or: {ALL}")
    parser.add_argument("--destination", metavar="NAME", help=f"a dlt destination; default: {DEFAULT_DESTINATION}")
    parser.add_argument("--dataset", metavar="NAME", help=f"default: {DEFAULT_DATASET}")
    parser.add_argument("--start-date", metavar="DATE", help="start of the first load, or of a backfill (UTC)")
    parser.add_argument("--end-date", metavar="DATE", help="end of a backfill, not included (UTC)")
    parser.add_argument("--full-refresh", action="store_true", help="read the selected tables anew and replace them")
    parser.add_argument("--append", action="store_true", help="do not merge; rows that are read again are doubled")
    parser.add_argument("--table-format", metavar="NAME", help=f"of the logs, in files: {', '.join(TABLE_FORMATS)}")
    parser.add_argument("--report", metavar="FILE", help="write the figures of the run to this file, as JSON")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--check", action="store_true", help="find out whether a load would work; loads nothing")
    parser.add_argument("--demo", action="store_true", help="show it on a simulated account; needs no credentials")
    parser.add_argument("--describe", action="store_true", help="describe the export's newest files; loads nothing")
    parser.add_argument("--verbose", action="store_true", help="log more, and show tracebacks")
    flags, unknown = parser.parse_known_args(arguments)
    if unknown:
        # not what follows a flag: it may be a key
        names = [word.split("=")[0] if word.startswith("--") else word[:2] for word in unknown if word[:1] == "-"]
        flags_with_nearest = ", ".join(map(parser.with_nearest, names))
        parser.error(f"unknown flag: {flags_with_nearest}" if names else "unknown words after the flags")
    given = {name for name, value in vars(flags).items() if value not in (None, False)}
    for alone in LONE_FLAGS & given:
        if others := given - {alone, "verbose"}:
            flag = min(others).replace("_", "-")
            raise InvalidSettingError(
                f"--{alone}",
                f"goes with no other flag but --verbose: leave --{flag} out, or --{alone} out to load an account.",
            )
    for flag, value in (("--destination", flags.destination), ("--dataset", flags.dataset)):
        if value is not None and not value.strip():
            raise InvalidSettingError(flag, "names nothing; leave it out for the default.")
        if value is not None and ("@" in value or "://" in value or not value.isprintable()):
            raise InvalidSettingError(
                flag, "must be a plain name, such as `duckdb`. Addresses and passwords belong into .dlt/secrets.toml."
            )
    if flags.full_refresh and flags.end_date:
        raise InvalidSettingError(
            "--full-refresh", "replaces whole tables and --end-date reads a piece of them: leave one of them out."
        )
    return Options(
        tables=flags.tables,
        destination=DEFAULT_DESTINATION if flags.destination is None else flags.destination,
        dataset=DEFAULT_DATASET if flags.dataset is None else flags.dataset,
        start_date=flags.start_date,
        end_date=flags.end_date,
        full_refresh=flags.full_refresh,
        append=flags.append,
        table_format=flags.table_format,
        report=flags.report,
        check=flags.check,
        demo=flags.demo,
        describe=flags.describe,
        verbose=flags.verbose,
    )
