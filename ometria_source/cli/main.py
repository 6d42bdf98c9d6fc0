"""The program: options in, exit status out."""

# no `from __future__ import annotations`: dlt reads the signature of `_configured`
import logging
import sys
from collections.abc import Sequence
from typing import Any

import dlt
from dlt.common.configuration import with_config
from dlt.common.configuration.exceptions import ConfigFieldMissingException, ConfigurationException
from dlt.common.typing import TAnyDateTime
from dlt.extract import DltSource

from ometria_source.cli.check import run_check
from ometria_source.cli.console import show
from ometria_source.cli.describe import run_describe
from ometria_source.cli.options import INVENTORY, PIPELINE_NAME, TABLES, Options, parse_options
from ometria_source.exceptions import ConfigurationError, InvalidSettingError, NothingConfiguredError
from ometria_source.export.retry import cancel_all_retries
from ometria_source.loading.destinations import capabilities_of
from ometria_source.loading.errors import redact_errors, redacted_packages, redacted_traceback, user_message
from ometria_source.loading.pipeline import open_pipeline, working_folder
from ometria_source.loading.progress import display
from ometria_source.loading.report import INTERRUPTED, as_json, check_report_path, write_json
from ometria_source.loading.run import configured_privacy, run_tables
from ometria_source.source import ometria_source
from ometria_source.sync.destination import LOGS, strategy_at
from ometria_source.tables import NESTED

FAILED = 1
MISCONFIGURED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: Without the program's name; None: those of this process.

    Returns:
        The exit status: 0 all loaded, 1 a table or the load failed, 2 something is wrong before anything is read.
    """
    verbose = False
    try:
        options = parse_options(arguments)
        verbose = options.verbose
        _set_up_logging(verbose)
        if options.demo:
            # the demo brings the simulated account with it, which no other run needs
            from ometria_source.cli.demo import run_demo  # noqa: PLC0415

            return run_demo()
        redact_errors()
        return run_describe() if options.describe else _load_account(options)
    except ConfigurationError as error:
        return _fail(error, MISCONFIGURED, verbose)
    except ConfigFieldMissingException as error:
        return _fail(error, FAILED, verbose)
    except ConfigurationException as error:
        return _fail(error, MISCONFIGURED, verbose)
    except KeyboardInterrupt:
        cancel_all_retries()
        print("Interrupted. What was loaded before stays; the next run reads the rest again.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  the last resort of a program
        return _fail(error, FAILED, verbose)


def _load_account(options: Options) -> int:
    # only what was given: an argument that is None would hide the setting of the same name
    given: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("start_date", "end_date", "table_format")
        if getattr(options, name) is not None
    }
    source = ometria_source(**given)
    if options.full_refresh and _configured()[2]:
        raise InvalidSettingError(
            "end_date", "is set, which reads a piece, and --full-refresh replaces whole tables: take one of them away."
        )
    tables = _tables_to_load(options, source)
    if options.append:
        for name in set(tables) - {INVENTORY}:
            source.resources[name].apply_hints(write_disposition="append")
            for nested in NESTED.get(name, ()):
                source.resources[name].apply_hints(
                    table_name=nested, write_disposition="append", create_table_variant=True
                )
    report_file = check_report_path(options.report) if options.report is not None else None
    capabilities = capabilities_of(options.destination)
    for name in tables:
        strategy_at(source.resources[name], capabilities)
    if options.check:
        return run_check(options, tables, report_file)
    with working_folder(PIPELINE_NAME):
        pipeline = open_pipeline(PIPELINE_NAME, options.destination, options.dataset)
        quiet_dlt(options.verbose)
        with redacted_packages(pipeline):
            report = run_tables(
                pipeline,
                source,
                tables,
                options.full_refresh,
                configured_privacy(),
                display(options.verbose),
                offered_only=options.offered_only,
            )
    if report_file is not None:
        write_json(as_json(report), report_file)
    if report.is_interrupted:
        raise KeyboardInterrupt
    show("\n".join(report.lines()))
    return report.exit_status


def _tables_to_load(options: Options, source: DltSource) -> list[str]:
    """The tables that were named, else all that are configured.

    Raises:
        NothingConfiguredError: There is neither a key nor a bucket.
    """
    has_key, has_bucket, is_backfill = _configured()
    if (options.tables is None or options.offered_only) and not has_key and not has_bucket:
        raise NothingConfiguredError
    if options.tables is not None:
        return [name for name in source.resources if name in options.tables]
    tables = [name for name in TABLES if name in LOGS or not (options.end_date or is_backfill)]
    if is_backfill and not options.end_date:
        show("`end_date` is configured: this is a backfill of the two logs, and no other table is read.")
    if not has_bucket:
        tables.remove("email_events")
    if not has_key:
        show("No `api_key` is configured: only `email_events` is loaded.")
        tables = ["email_events"]
    return tables


@with_config(sections=("sources", "ometria"))
def _configured(
    api_key: dlt.TSecretStrValue | None = None,
    bucket_url: str | None = None,
    end_date: TAnyDateTime | None = None,
) -> tuple[bool, bool, bool]:
    """Whether there is a key, a bucket, and an end, where the source will look for them."""
    return bool(api_key), bool(bucket_url), bool(end_date)


def quiet_dlt(verbose: bool) -> None:
    """Leave out what dlt logs: the summary says it in a sentence. Unless somebody set a level; dlt must be running."""
    if not verbose and dlt.config.get("runtime.log_level") is None:
        logging.getLogger(dlt.current.run_context().name).setLevel(logging.CRITICAL)


def _set_up_logging(verbose: bool) -> None:
    logger = logging.getLogger("ometria_source")
    logger.propagate = False
    if verbose and not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbose else logging.WARNING)


def _fail(error: BaseException, status: int, verbose: bool) -> int:
    if verbose:
        print(redacted_traceback(error), file=sys.stderr)
    print(user_message(error), file=sys.stderr)
    return status
