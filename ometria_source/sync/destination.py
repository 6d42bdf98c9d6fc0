"""Merge strategies: how the running pipeline's destination brings rows into a table, and when to refuse it.

dlt decides by the table's hints and by what the destination supports. Where it can merge nothing, dlt would append with
a warning, which doubles the rows that are read again. So each table checks before it reads anything, and so does the
program, for all tables of a run, before it starts.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, cast

import dlt
from dlt.common.configuration.container import Container
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.client import WithStateSync
from dlt.common.destination.exceptions import DestinationCapabilitiesException, DestinationUndefinedEntity
from dlt.common.destination.utils import resolve_merge_strategy
from dlt.common.pipeline import SupportsPipeline
from dlt.common.schema.typing import TLoaderMergeStrategy, TTableSchema
from dlt.common.schema.utils import has_table_seen_data
from dlt.common.storages.load_package import LoadPackageStateInjectableContext
from dlt.extract import DltResource
from dlt.pipeline.state_sync import load_pipeline_state_from_destination

from ometria_source.exceptions import (
    InvalidSettingError,
    KeptRowsError,
    NoSuchStrategyError,
    NotMergedError,
    UnscopedMergeError,
)

# What dlt does on most destinations; taken where no pipeline runs, as when a notebook iterates over a resource.
DEFAULT_STRATEGY: TLoaderMergeStrategy = "delete-insert"

# Nothing is ever removed from these tables, so that any way of merging serves them.
LOGS = ("unsubscribes", "email_events", "list_changes", "push_errors")

# These bring what their merge needs under any strategy (`snapshots`).
FOLLOWING = ("profiles", "lists", "member_lists")

# These take rows in, and none away.
KEEPING = ("upsert", "insert-only")

# These make a table equal to a batch, where no scope says which rows the batch stands for.
SYNCING = ("cdc", "scd2")

# DuckDB, and what is made of it, by dlt's names.
READERS_OF_PATHS = ("duckdb", "motherduck", "ducklake")

# Where the local state keeps the target that it belongs to, as `target_of` gives it. dlt does not store this key at the
# destination.
TARGET = "ometria_place"

# Which rows of the table a batch stands for.
SCOPE_HINT = "x-merge-destination-scope"

# The table formats in which dlt merges files by itself, and the module that does it.
TABLE_FORMATS = {"delta": "dlt.common.libs.deltalake", "iceberg": "dlt.common.libs.pyiceberg"}


def strategy_at(
    resource: DltResource, capabilities: DestinationCapabilitiesContext | None, known: TTableSchema | None = None
) -> TLoaderMergeStrategy | None:
    """How a destination merges the table of a resource.

    Args:
        resource: With the hints as they are now, those of a user's `apply_hints` included.
        capabilities: Of the destination; None: it is not known.
        known: The table as the pipeline has it; None: it has none, or that is not known. dlt goes on with its hints
            where the resource has no others.

    Returns:
        dlt's name of the strategy; None where rows are not merged because the table's disposition says so (append,
        replace).

    Raises:
        NotMergedError: They should be merged, and dlt would append.
        KeptRowsError: Rows that are gone in Ometria would stay.
        NoSuchStrategyError: The hints name a strategy that the destination does not have.
        UnscopedMergeError: The hints do not say which rows of the table a batch stands for.
        InvalidSettingError: The destination does not have the table format, or the table is of another one.
        MissingDependencyException: dlt lacks the package for the table format.
    """
    table = resource.compute_table_schema()
    if capabilities is not None:
        _check_table_format(table.get("table_format"), capabilities, known)
    table = cast(TTableSchema, {**(known or {}), **table})
    if table.get("write_disposition") != "merge":
        return None
    name = resource.name
    strategy = _resolved(name, table, capabilities)
    if name not in LOGS and strategy in KEEPING:
        raise KeptRowsError(name, strategy)
    if name not in FOLLOWING and not table.get(SCOPE_HINT) and (name not in LOGS or strategy in SYNCING):
        raise UnscopedMergeError(name, strategy, name in LOGS)
    return strategy


def _resolved(
    name: str, table: TTableSchema, capabilities: DestinationCapabilitiesContext | None
) -> TLoaderMergeStrategy:
    """The strategy that dlt takes; `name` is that of the resource."""
    wanted: TLoaderMergeStrategy | None = table.get("x-merge-strategy")  # type: ignore[assignment]
    if capabilities is None:
        return wanted or DEFAULT_STRATEGY
    formats = [form for form in TABLE_FORMATS if form in (capabilities.supported_table_formats or ())]
    if name not in LOGS and not _has_sql_merge(capabilities):
        raise KeptRowsError(name, None, formats)
    try:
        strategy = resolve_merge_strategy({str(table["name"]): table}, table, capabilities)
    except DestinationCapabilitiesException:
        raise NoSuchStrategyError(name, str(wanted)) from None
    if strategy is None:
        raise NotMergedError(name, formats)
    return strategy


def running_strategy() -> TLoaderMergeStrategy | None:
    """`strategy_at` of the running resource, at the destination of the pipeline that extracts it.

    A caller that only iterates over a resource loads its rows nowhere, also while a pipeline is active.
    """
    container = Container()
    is_known = LoadPackageStateInjectableContext in container and DestinationCapabilitiesContext in container
    resource = dlt.current.resource()
    if not is_known:
        return strategy_at(resource, None)
    check_working_folder(dlt.current.pipeline())
    check_target(dlt.current.pipeline())
    known = dlt.current.source_schema().tables.get(resource.name)
    return strategy_at(resource, container[DestinationCapabilitiesContext], known)


def check_working_folder(pipeline: SupportsPipeline) -> None:
    """Refuse a working folder from which DuckDB would load false columns.

    dlt hands DuckDB the paths of Parquet files in the working folder, and DuckDB takes a part such as `run_id=7` for a
    column of each row (DuckDB docs: Hive partitioning).

    Args:
        pipeline: Whose folder.

    Raises:
        InvalidSettingError: A part of its path is like that.
    """
    kind = pipeline.destination.destination_type.rsplit(".", 1)[-1] if pipeline.destination else ""
    parts = [part for part in Path(pipeline.working_dir).parts if "=" in part]
    if kind in READERS_OF_PATHS and parts:
        raise InvalidSettingError(
            "pipelines_dir",
            f"leads to a working folder below `{parts[0]}`, which DuckDB would take for a column of each row. Nothing "
            "was read. Choose a folder without `=` in its path, with the environment variable `DLT_DATA_DIR`.",
        )


def target_of(pipeline: Any) -> list[str]:
    """The target that a pipeline loads into: destination, dataset, current folder (of DuckDB's file), location."""
    local_dir = str(Path(dlt.current.run_context().local_dir).absolute())
    location = str(pipeline.destination_client().config)
    return [pipeline.destination.destination_name, str(pipeline.dataset_name), local_dir, location]


def check_target(pipeline: Any) -> None:
    """Refuse local state of another destination or dataset: a run would go on from it, and lose the rows before.

    Args:
        pipeline: The running one. Its local state keeps the target from now on; the destination never gets it.

    Raises:
        InvalidSettingError: The state is of another target, and was not restored from this one.
    """
    target = target_of(pipeline)
    try:
        known = list(pipeline.get_local_state_val(TARGET))
    except KeyError:
        known = []
    # state of versions before 0.2 does not say whose it is
    is_unknown = not known and pipeline.state["_state_version"] > 0
    # the current folder is that of the first run, whatever it is now
    is_other = bool(known) and (known[:2], known[3:]) != (target[:2], target[3:])
    if (is_unknown or is_other) and not _is_restored(pipeline):
        owner = f"belongs to `{known[1]}` at `{known[0]}`" if known else "is not what the destination holds"
        raise InvalidSettingError(
            "dataset_name",
            f"is `{target[1]}` at `{target[0]}`, and the local state of this pipeline {owner}. Nothing was read. Load "
            "with `ometria_source.load`, which keeps them apart, or give each of them a `pipeline_name` of its own.",
        )
    pipeline.set_local_state_val(TARGET, target)


def _is_restored(pipeline: Any) -> bool:
    """Whether the local state is the one that the destination holds."""
    with pipeline.destination_client() as client:
        if not isinstance(client, WithStateSync):
            return False
        try:
            stored = load_pipeline_state_from_destination(pipeline.pipeline_name, client)
        except DestinationUndefinedEntity:
            return False
    return stored is not None and bool(stored["_version_hash"] == pipeline.state["_version_hash"])


def _has_sql_merge(capabilities: DestinationCapabilitiesContext) -> bool:
    """Whether rows are merged by SQL, in which a table's hints can say which rows go."""
    return DEFAULT_STRATEGY in (capabilities.supported_merge_strategies or ())


def _check_table_format(
    table_format: str | None, capabilities: DestinationCapabilitiesContext, known: TTableSchema | None
) -> None:
    if table_format is None:
        return
    if table_format not in (capabilities.supported_table_formats or ()):
        raise InvalidSettingError(
            "table_format", f"is `{table_format}`, which this destination does not have; leave it out there."
        )
    if table_format not in TABLE_FORMATS or _has_sql_merge(capabilities):
        return
    # dlt would miss its package only when everything was read
    import_module(TABLE_FORMATS[table_format])
    if known and has_table_seen_data(known) and known.get("table_format") != table_format:
        raise InvalidSettingError(
            "table_format",
            f"is `{table_format}`, and `{known['name']}` was loaded as {known.get('table_format', 'plain files')}. "
            "Nothing of it was read. Leave the format as it was, or load the table anew with a full refresh.",
            table=str(known["name"]),
        )
