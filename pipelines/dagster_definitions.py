"""Ometria in Dagster: an asset for each table, a backfill of the export by day, retries and checks of freshness.

    pip install -e '.[dagster]'
    dagster dev -f pipelines/dagster_definitions.py

Settings and secrets are dlt's, as for the script. The next run puts right what a run that was killed left behind: it is
started again.
"""

# no `from __future__ import annotations`: Dagster reads the annotations of assets
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dlt
from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetExecutionContext,
    AssetKey,
    AssetSelection,
    AssetSpec,
    BackfillPolicy,
    DailyPartitionsDefinition,
    Definitions,
    Failure,
    FreshnessPolicy,
    MaterializeResult,
    RetryPolicy,
    ScheduleDefinition,
    asset_check,
    define_asset_job,
    multi_asset,
)
from dlt.common.destination.client import WithStagingDataset
from dlt.pipeline.exceptions import CannotRestorePipelineException

from ometria_source import (
    AccessDeniedError,
    LoadReport,
    MissingSettingError,
    NotFoundError,
    TableReport,
    load,
    ometria_source,
)

DESTINATION = os.environ.get("OMETRIA_DESTINATION", "duckdb")
DATASET = os.environ.get("OMETRIA_DATASET", "ometria")
PIPELINE = "ometria_pipeline"

# The day of the export's first file.
EXPORT_BEGINS = os.environ.get("OMETRIA_EXPORT_BEGINS", "2024-01-01")

# Also of a worker that was killed. The source itself tries each request again for `patience_minutes`.
RETRIES = RetryPolicy(max_retries=2, delay=300)

# Each table is loaded once an hour, and a run may take one itself.
TABLES_ARE_FRESH_FOR = timedelta(hours=3)

# How often Ometria writes to the bucket is not known: a guess.
EXPORT_IS_FRESH_FOR = timedelta(days=2)


def _key(name: str) -> AssetKey:
    return AssetKey(["ometria", name])


def _result(name: str, table: TableReport) -> MaterializeResult[Any]:
    """What Dagster shows of a loaded table."""
    newest = table.newest and table.newest.isoformat()
    return MaterializeResult(asset_key=_key(name), metadata={"rows": table.rows, "newest_row": newest})


def _is_offered(table: TableReport) -> bool:
    """Whether another try may load the table: what the account does not offer, it will not offer in five minutes."""
    is_forbidden = isinstance(table.cause, AccessDeniedError) and table.cause.status == 403
    return not is_forbidden and not isinstance(table.cause, NotFoundError | MissingSettingError)


def _raise_failure(report: LoadReport) -> None:
    """Let the step fail where anything was not loaded."""
    if not report.ok:
        failed = [table for table in report.tables.values() if table.cause]
        raise Failure(
            "\n".join(
                [*(f"{table.name} was not loaded. {table.error}" for table in failed), *filter(None, [report.error])]
            ),
            allow_retries=bool(report.error) or any(map(_is_offered, failed)),
        )


# The first five tables; name others to load them too, such as `orders`, each of which costs requests of every run.
TABLES = tuple(ometria_source().selected_resources)


@multi_asset(
    name="ometria",
    specs=[
        AssetSpec(
            _key(name),
            skippable=True,
            kinds={"dlt"},
            freshness_policy=FreshnessPolicy.time_window(fail_window=TABLES_ARE_FRESH_FOR),
        )
        for name in TABLES
    ],
    can_subset=True,
    retry_policy=RETRIES,
)
def ometria_assets(context: AssetExecutionContext) -> Iterator[MaterializeResult[Any]]:
    """The tables, one after another in one process, which is what keeps them within the rate of the account.

    Another run that is at work on the same working folder lets this one fail, which is then tried again.
    """
    wanted = [name for name in TABLES if _key(name) in context.selected_asset_keys]
    report = load(wanted, destination=DESTINATION, dataset=DATASET, pipeline_name=PIPELINE)
    for name, table in report.tables.items():
        if table.is_loaded:
            yield _result(name, table)
    # one that fails keeps no other from loading
    _raise_failure(report)


@multi_asset(
    name="email_events_backfill",
    specs=[AssetSpec(_key("email_events_backfill"), kinds={"dlt"})],
    retry_policy=RETRIES,
    partitions_def=DailyPartitionsDefinition(start_date=EXPORT_BEGINS),
    backfill_policy=BackfillPolicy.multi_run(max_partitions_per_run=31),
)
def email_events_backfill(context: AssetExecutionContext) -> Iterator[MaterializeResult[Any]]:
    """The events of the export's files of some days, as many workers at once as the destination bears.

    Each has a working folder and a staging dataset of its own: they would empty each other's.
    """
    start, end = context.partition_time_window
    days = f"{start:%Y%m%d}_{end:%Y%m%d}"
    with _own_folder(days) as folder, _own_staging(days):
        report = load(
            ["email_events"],
            destination=DESTINATION,
            dataset=DATASET,
            pipeline_name=PIPELINE,
            pipelines_dir=folder,
            start_date=start.isoformat(),
            end_date=end.isoformat(),
        )
        _raise_failure(report)
        _drop_staging(dlt.attach(PIPELINE, pipelines_dir=folder))
    yield _result("email_events_backfill", report.tables["email_events"])


@contextmanager
def _own_folder(name: str) -> Iterator[str]:
    """An empty working folder. What a worker that was killed left in it goes with the next that takes the same days."""
    folder = Path(dlt.current.run_context().data_dir) / "backfills" / name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _own_staging(name: str) -> Iterator[None]:
    """A staging dataset of this name, by dlt's setting; a worker is a process, which has its own environment."""
    setting = "DESTINATION__STAGING_DATASET_NAME_LAYOUT"
    os.environ[setting] = f"%s_staging_{name}"
    try:
        yield
    finally:
        del os.environ[setting]


def _drop_staging(worker: dlt.Pipeline) -> None:
    """Drop the staging dataset that no other run will use."""
    with worker.destination_client() as client:
        if isinstance(client, WithStagingDataset):
            with client.with_staging_dataset():
                if client.is_storage_initialized():
                    client.drop_storage()


def _newest_file() -> datetime | None:
    """When the newest file was written that is loaded."""
    try:
        pipeline = dlt.attach(PIPELINE, destination=DESTINATION, dataset_name=DATASET)
    except CannotRestorePipelineException:
        return None
    with pipeline.sql_client() as client:
        column, table = client.escape_column_name("_file_modified_at"), client.make_qualified_table_name("email_events")
        rows = client.execute_sql(f"SELECT MAX({column}) FROM {table}")  # noqa: S608  dlt quotes the names
    return rows[0][0] if rows else None


@asset_check(asset=_key("email_events"), description="Whether the export still delivers files.")
def export_is_fresh() -> AssetCheckResult:
    """Warns when the newest file that was loaded is old: the loads succeed, and bring nothing."""
    newest_file = _newest_file()
    if newest_file is None:
        return AssetCheckResult(passed=False, severity=AssetCheckSeverity.WARN, description="No event can be found.")
    age = datetime.now(timezone.utc) - newest_file
    return AssetCheckResult(
        passed=age <= EXPORT_IS_FRESH_FOR,
        severity=AssetCheckSeverity.WARN,
        metadata={"newest_file": newest_file.isoformat(), "age_in_hours": age.total_seconds() / 3600},
    )


tables = AssetSelection.assets(ometria_assets)

defs = Definitions(
    assets=[ometria_assets, email_events_backfill],
    asset_checks=[export_is_fresh],
    schedules=[ScheduleDefinition(job=define_asset_job("load_ometria", selection=tables), cron_schedule="15 * * * *")],
)
