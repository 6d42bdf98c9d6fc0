"""How the running pipeline's destination brings rows into a table, and when that must not be.

dlt decides by the table's hints and by what the destination can do. Where it can merge nothing, dlt would append with a
warning, which doubles the rows that are read again. So each table asks before it reads anything, and so does the
program, for all tables of a run, before it begins.
"""

from __future__ import annotations

from importlib import import_module

import dlt
from dlt.common.configuration.container import Container
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.exceptions import DestinationCapabilitiesException
from dlt.common.destination.utils import resolve_merge_strategy
from dlt.common.schema.typing import TLoaderMergeStrategy
from dlt.extract import DltResource

from ometria_source.exceptions import InvalidSettingError, KeptRowsError, NoSuchStrategyError, NotMergedError

# What dlt does on most destinations; taken where no pipeline runs, as when a notebook iterates over a resource.
DEFAULT_STRATEGY: TLoaderMergeStrategy = "delete-insert"

# Nothing is ever removed from these tables, so that any way of merging serves them.
LOGS = ("unsubscribes", "email_events")

# These take rows in, and none away.
KEEPING = ("upsert", "insert-only")

# The table formats in which dlt merges files by itself, and the module that does it.
TABLE_FORMATS = {"delta": "dlt.common.libs.deltalake", "iceberg": "dlt.common.libs.pyiceberg"}


def strategy_at(
    resource: DltResource, capabilities: DestinationCapabilitiesContext | None
) -> TLoaderMergeStrategy | None:
    """How a destination merges the table of a resource.

    Args:
        resource: With the hints as they are now, those of a user's `apply_hints` included.
        capabilities: Of the destination; None: it is not known.

    Returns:
        dlt's name of the strategy; None where rows are not merged because the table's disposition says so (append,
        replace).

    Raises:
        NotMergedError: They should be merged, and dlt would append.
        KeptRowsError: Rows that are gone in Ometria would stay.
        NoSuchStrategyError: The hints name a strategy that the destination does not have.
        InvalidSettingError: The destination does not have the table format.
        MissingDependencyException: dlt lacks the package for the table format.
    """
    table = resource.compute_table_schema()
    name = resource.name
    wanted: TLoaderMergeStrategy | None = table.get("x-merge-strategy")  # type: ignore[assignment]
    is_merged = table.get("write_disposition") == "merge"
    if capabilities is not None:
        _check_table_format(table.get("table_format"), capabilities)
    if not is_merged:
        return None
    strategy: TLoaderMergeStrategy | None = wanted or DEFAULT_STRATEGY
    if capabilities is not None:
        formats = [form for form in TABLE_FORMATS if form in (capabilities.supported_table_formats or ())]
        if name not in LOGS and not _has_sql_merge(capabilities):
            raise KeptRowsError(name, None, formats)
        try:
            strategy = resolve_merge_strategy({str(table["name"]): table}, table, capabilities)
        except DestinationCapabilitiesException:
            raise NoSuchStrategyError(name, str(wanted)) from None
        if strategy is None:
            raise NotMergedError(name, formats)
    if name not in LOGS and strategy in KEEPING:
        raise KeptRowsError(name, strategy)
    return strategy


def running_strategy() -> TLoaderMergeStrategy | None:
    """`strategy_at` of the running resource, at the destination of the running pipeline."""
    container = Container()
    is_known = DestinationCapabilitiesContext in container
    return strategy_at(dlt.current.resource(), container[DestinationCapabilitiesContext] if is_known else None)


def _has_sql_merge(capabilities: DestinationCapabilitiesContext) -> bool:
    """Whether rows are merged by SQL, in which a table's hints can say which rows go."""
    return DEFAULT_STRATEGY in (capabilities.supported_merge_strategies or ())


def _check_table_format(table_format: str | None, capabilities: DestinationCapabilitiesContext) -> None:
    if table_format is None:
        return
    if table_format not in (capabilities.supported_table_formats or ()):
        raise InvalidSettingError(
            "table_format", f"is `{table_format}`, which this destination does not have; leave it out there."
        )
    if table_format in TABLE_FORMATS and not _has_sql_merge(capabilities):
        # dlt would miss its package only when everything was read
        import_module(TABLE_FORMATS[table_format])
