"""New columns of Iceberg tables, which pyiceberg's upsert cannot add (https://github.com/apache/iceberg-python/issues/2467).

It reads the rows that it may replace by the schema of the newest snapshot, and adding columns makes none: a merge that
meets both a new column and a known key fails, again and again. A snapshot without rows is all that it lacks.
"""

from __future__ import annotations

from collections.abc import Sequence

import dlt
import pyarrow.parquet as pq
from dlt.common.destination.client import SupportsOpenTables
from dlt.common.destination.exceptions import DestinationUndefinedEntity


def add_columns(pipeline: dlt.Pipeline, client: SupportsOpenTables, packages: Sequence[str]) -> None:
    """Give Iceberg tables the columns that packages bring, and a snapshot that has them.

    Args:
        pipeline: Whose packages they are.
        client: Of the destination, open.
        packages: Load ids of packages that are normalised and not loaded.
    """
    for package in packages:
        for job in pipeline.get_load_package_info(package).jobs["new_jobs"]:
            name = job.job_file_info.table_name
            if job.job_file_info.file_format == "parquet" and client.is_open_table("iceberg", name):
                _add_columns(client, name, job.file_path)


def _add_columns(client: SupportsOpenTables, name: str, file: str) -> None:
    from dlt.common.libs.pyiceberg import ensure_iceberg_compatible_arrow_schema  # noqa: PLC0415  of an extra

    try:
        table = client.load_open_table("iceberg", name)
    except DestinationUndefinedEntity:
        # it is made with all of its columns
        return
    columns = ensure_iceberg_compatible_arrow_schema(pq.read_schema(file))
    with table.update_schema() as update:
        update.union_by_name(columns)
    newest = table.current_snapshot()
    if newest is not None and newest.schema_id != table.schema().schema_id:
        table.append(columns.empty_table())
