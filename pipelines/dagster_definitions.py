"""Ometria in Dagster: an asset for each table, a backfill of the export by day, retries and checks of freshness.

    pip install -e '.[dagster]'
    dagster dev -f pipelines/dagster_definitions.py

Settings and secrets are dlt's, as for the script. Each run begins with an empty working folder and the state that the
destination holds (dagster-dlt sees to that), so that a run that was killed leaves nothing behind: it is started again.
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
    RetryPolicy,
    ScheduleDefinition,
    asset_check,
    define_asset_job,
    multi_asset,
)
from dagster_dlt import DagsterDltResource, DagsterDltTranslator, build_dlt_asset_specs
from dagster_dlt.translator import DltResourceTranslatorData
from dlt.common.destination.client import WithStagingDataset

from ometria_source import ometria_source
from ometria_source.loading.destinations import create_pipeline, file_format
from ometria_source.loading.errors import not_offered, redact_errors, redacted_traceback, user_message, was_interrupted
from ometria_source.loading.pipeline import working_folder
from ometria_source.loading.report import newest

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


class OmetriaTranslator(DagsterDltTranslator):
    """Gives assets the names of the tables."""

    def get_asset_spec(self, data: DltResourceTranslatorData) -> AssetSpec:
        """The asset of a resource: `ometria/<table>`, which depends on nothing in Dagster."""
        spec = super().get_asset_spec(data)
        return spec.replace_attributes(
            key=_key(data.resource.name),
            deps=[],
            freshness_policy=FreshnessPolicy.time_window(fail_window=TABLES_ARE_FRESH_FOR),
        )


class BackfillTranslator(OmetriaTranslator):
    """Tells the backfill from the table that it fills."""

    def get_asset_spec(self, data: DltResourceTranslatorData) -> AssetSpec:
        """The asset of a resource's backfill: `ometria/<table>_backfill`."""
        spec = super().get_asset_spec(data)
        return spec.replace_attributes(key=_key(f"{data.resource.name}_backfill"), freshness_policy=None)


# The first five tables; name others to load them too, such as `orders`, each of which costs requests of every run.
source = ometria_source()
pipeline = create_pipeline(PIPELINE, DESTINATION, DATASET)


# `dlt_assets` is the same without `retry_policy`
@multi_asset(
    name="ometria",
    specs=build_dlt_asset_specs(source, pipeline, OmetriaTranslator()),
    can_subset=True,
    retry_policy=RETRIES,
)
def ometria_assets(context: AssetExecutionContext, dagster_dlt: DagsterDltResource) -> Iterator[Any]:
    """The tables, one after another in one process, which is what keeps them within the rate of the account."""
    redact_errors()
    failures, is_final = [], True
    wanted = [name for name in source.selected_resources if _key(name) in context.selected_asset_keys]
    # another run would empty it; that one fails, and is tried again
    with working_folder(PIPELINE):
        for name in wanted:
            try:
                yield from dagster_dlt.run(
                    context=context, dlt_source=source.with_resources(name), loader_file_format=file_format(pipeline)
                )
            except Exception as error:  # noqa: PERF203  it keeps no other table from loading
                if was_interrupted(error):
                    raise
                context.log.info(redacted_traceback(error))
                failures.append(f"{name} was not loaded. {user_message(error)}")
                is_final = is_final and not_offered(error) is not None
    if failures:
        # what the account does not offer, it will not offer in five minutes
        raise Failure("\n".join(failures), allow_retries=not is_final)


@multi_asset(
    name="email_events_backfill",
    specs=build_dlt_asset_specs(ometria_source().with_resources("email_events"), pipeline, BackfillTranslator()),
    retry_policy=RETRIES,
    partitions_def=DailyPartitionsDefinition(start_date=EXPORT_BEGINS),
    backfill_policy=BackfillPolicy.multi_run(max_partitions_per_run=31),
)
def email_events_backfill(context: AssetExecutionContext, dagster_dlt: DagsterDltResource) -> Iterator[Any]:
    """The events of the export's files of some days, as many workers at once as the destination bears.

    Each has a working folder and a staging dataset of its own: they would empty each other's.
    """
    redact_errors()
    start, end = context.partition_time_window
    window = ometria_source(start_date=start.isoformat(), end_date=end.isoformat()).with_resources("email_events")
    days = f"{start:%Y%m%d}_{end:%Y%m%d}"
    with _own_folder(days) as folder:
        worker = create_pipeline(PIPELINE, DESTINATION, DATASET, pipelines_dir=folder)
        worker.destination.config_params["staging_dataset_name_layout"] = f"%s_staging_{days}"
        try:
            yield from dagster_dlt.run(
                context=context, dlt_source=window, dlt_pipeline=worker, loader_file_format=file_format(worker)
            )
            _drop_staging(worker)
        except Exception as error:
            if was_interrupted(error):
                raise
            # dlt's own errors may quote rows
            context.log.info(redacted_traceback(error))
            raise Failure(user_message(error)) from None


@contextmanager
def _own_folder(name: str) -> Iterator[str]:
    """An empty working folder. What a worker that was killed left in it goes with the next that takes the same days."""
    folder = Path(dlt.current.run_context().data_dir) / "backfills" / name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _drop_staging(worker: dlt.Pipeline) -> None:
    """Drop the staging dataset that no other run will use."""
    with worker.destination_client() as client:
        if isinstance(client, WithStagingDataset):
            with client.with_staging_dataset():
                if client.is_storage_initialized():
                    client.drop_storage()


@asset_check(asset=_key("email_events"), description="Whether the export still delivers files.")
def export_is_fresh() -> AssetCheckResult:
    """Warns when the newest file that was loaded is old: the loads succeed, and bring nothing."""
    newest_file = newest(pipeline, "email_events")
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
    resources={"dagster_dlt": DagsterDltResource()},
    schedules=[ScheduleDefinition(job=define_asset_job("load_ometria", selection=tables), cron_schedule="15 * * * *")],
)
