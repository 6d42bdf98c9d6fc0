"""Pipelines into any destination, with what dlt leaves to its user where its own choice does not suit.

Tables at the destination are changed for all packages of a run before the first of them is loaded. Of packages with one
schema dlt would change only the tables of the first. And dlt looks, then creates what is missing: of several processes
that load into one dataset, the slower ones fail at what the fastest has created in between. They look again.

pyiceberg's upsert cannot add columns (https://github.com/apache/iceberg-python/issues/2467). It reads the rows that it
may replace by the schema of the newest snapshot, and adding columns makes none: a merge that meets both a new column
and a known key fails, again and again. A snapshot without rows is all that it lacks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, cast

import dlt
import pyarrow.parquet as pq
from dlt.common.destination import AnyDestination, Destination, DestinationCapabilitiesContext, TLoaderFileFormat
from dlt.common.destination.client import SupportsOpenTables, WithStateSync
from dlt.common.destination.exceptions import DestinationUndefinedEntity, UnknownDestinationModule
from dlt.common.pipeline import LoadInfo, TPipelineState
from dlt.common.versioned_state import decompress_state
from dlt.destinations import duckdb, postgres
from dlt.destinations.exceptions import DatabaseException
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.pipeline.state_sync import load_pipeline_state_from_destination, migrate_state_to_current
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from ometria_source.exceptions import InvalidSettingError
from ometria_source.loading.dataset_lock import dataset_lock
from ometria_source.loading.packages import pending_packages
from ometria_source.loading.stored import take_over_columns

log = logging.getLogger(__name__)

# Processes can meet at the dataset, at dlt's own tables and at those of a package; one more is for a deadlock.
ATTEMPTS = 5

# Seconds until another process has made what both were about to make.
WAIT = wait_random(0.2, 2)

# Other destinations' defaults suit. Parquet: measured on DuckDB, 14 times faster than INSERT statements. INSERT
# statements: for rows of the export dlt would write csv, from which PostgreSQL reads an empty text as null.
FILE_FORMATS: dict[str, TLoaderFileFormat] = {
    "duckdb": "parquet",
    "motherduck": "parquet",
    "postgres": "insert_values",
}

# Whether dlt makes unique indexes, of which PostgreSQL alone has some by default: on the id that dlt gives each row.
# After a kill, dlt loads a job again whose rows were committed; an index would refuse them, and every later run.
INDEXES = "create_indexes"


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


def change_tables(pipeline: dlt.Pipeline) -> None:
    """Make the dataset, tables and columns that the normalised packages need.

    Args:
        pipeline: Its working folder is held by this process.

    Raises:
        DatabaseException: The destination refuses a change.
        TakenColumnError: As `take_over_columns`.
    """
    packages = pipeline.list_normalized_load_packages()
    if not packages:
        return
    retry = retry_if_exception_type(DatabaseException)
    for attempt in Retrying(
        retry=retry, stop=stop_after_attempt(ATTEMPTS), wait=WAIT, before_sleep=_log_retry, reraise=True
    ):
        with attempt:
            _change_tables(pipeline, packages)


def _change_tables(pipeline: dlt.Pipeline, packages: Sequence[str]) -> None:
    states = [pipeline.get_load_package_state(package) for package in packages]
    # dlt drops these with their packages, and a column of a new kind may not go into a table that has rows
    dropped = {str(table["name"]) for state in states for table in state.get("dropped_tables", ())}
    with pipeline.destination_client() as client:
        client.initialize_storage()
        if isinstance(client, WithStateSync):
            for package in pending_packages(pipeline)[: len(packages)]:
                take_over_columns(pipeline, client, package, dropped)
        client.update_stored_schema(only_tables=pipeline.default_schema.tables.keys() - dropped)
        if isinstance(client, SupportsOpenTables):
            add_columns(pipeline, client, packages)


def _log_retry(state: RetryCallState) -> None:
    log.info("attempt %s to change the tables failed; they are looked at again", state.attempt_number)


class SharedPipeline(dlt.Pipeline):
    """A pipeline into a dataset that other processes may load into at the same time."""

    _is_aborting = False

    def _restore_state_from_destination(self) -> TPipelineState | None:
        """As dlt's, but the newest state is that of the highest version."""
        with self.destination_client() as client:
            if not isinstance(client, WithStateSync):
                return None
            return stored_state(client, self.pipeline_name, is_dataset_needed=True)

    def load(self, *arguments: Any, **options: Any) -> LoadInfo:
        """As dlt's, while no other process loads into the dataset."""
        with dataset_lock(self):
            if not self._is_aborting:
                change_tables(self)
            return super().load(*arguments, **options)

    def abort_packages(self, *arguments: Any, **options: Any) -> Any:
        """As dlt's, which loads nothing but calls `load`: what was refused must change no table."""
        self._is_aborting = True
        try:
            return super().abort_packages(*arguments, **options)
        finally:
            self._is_aborting = False


def stored_state(client: Any, pipeline_name: str, *, is_dataset_needed: bool = False) -> TPipelineState | None:
    """The state at the destination with the highest version.

    dlt takes that of the newest load, by the clock of the machine that loaded: one that was ahead stays the newest.

    Args:
        client: Of the destination, open; it keeps state.
        pipeline_name: Of the pipeline.
        is_dataset_needed: Whether it is an error that there is no dataset.

    Returns:
        None: there is none.

    Raises:
        DestinationUndefinedEntity: There is no dataset, or none with tables of dlt's.
    """
    try:
        state = _newest_by_version(client, pipeline_name) if isinstance(client, SqlJobClientBase) else None
        if state is None:
            return load_pipeline_state_from_destination(pipeline_name, client)
        return migrate_state_to_current(pipeline_name, decompress_state(state))
    except DestinationUndefinedEntity:
        if is_dataset_needed:
            raise
        return None


def _newest_by_version(client: SqlJobClientBase, pipeline_name: str) -> str | None:
    def name(column: str) -> str:
        return client.sql_client.escape_column_name(client.schema.naming.normalize_path(column))

    states = client.sql_client.make_qualified_table_name(client.schema.state_table_name)
    loads = client.sql_client.make_qualified_table_name(client.schema.loads_table_name)
    # dlt quotes the names
    found = (
        f"FROM {states} AS s JOIN {loads} AS l ON l.{name('load_id')} = s.{name('_dlt_load_id')} "
        f"WHERE s.{name('pipeline_name')} = %s AND l.{name('status')} = 0"
    )
    query = (
        f"SELECT s.{name('state')} {found} AND s.{name('version')} = (SELECT MAX(s.{name('version')}) {found}) "
        f"ORDER BY l.{name('load_id')} DESC"
    )
    rows = client.sql_client.execute_sql(query, pipeline_name, pipeline_name)
    return str(rows[0][0]) if rows else None


def connect(pipeline: dlt.Pipeline) -> None:
    """Find out that the destination answers, by a new connection.

    Args:
        pipeline: Into it.

    Raises:
        Exception: As its driver.
    """
    with pipeline.destination_client() as client:
        if isinstance(client, SqlJobClientBase):
            client.sql_client.execute_sql("SELECT 1")
        else:
            client.is_storage_initialized()


@contextmanager
def kept_open(pipeline: dlt.Pipeline) -> Iterator[None]:
    """Keep a file of DuckDB open meanwhile: dlt opens it for each of its questions, which takes 26 ms of the processor.

    Where it cannot be opened, the next use of it raises the error.

    Args:
        pipeline: Into it. No other process can read the file meanwhile.
    """
    with ExitStack() as stack:
        if isinstance(pipeline.destination, duckdb):
            with suppress(Exception):
                stack.enter_context(cast(AbstractContextManager[Any], pipeline.sql_client()))
        yield


def answers(pipeline: dlt.Pipeline) -> bool:
    """Whether the destination answers, by a new connection.

    Args:
        pipeline: Into it.
    """
    try:
        connect(pipeline)
    except Exception as error:  # noqa: BLE001  whatever a driver raises
        log.info("the destination does not answer: %s", type(error).__name__)
        return False
    return True


def check_dataset(pipeline_name: str, destination: str, dataset: str) -> None:
    """Find out that a destination can hold a dataset.

    Args:
        pipeline_name: Of the pipeline that loads it.
        destination: Name of a dlt destination.
        dataset: Name of the dataset.

    Raises:
        InvalidSettingError: It cannot.
    """
    if destination == "duckdb" and dataset == pipeline_name:
        # DuckDB names a database after its file: with both alike, every query would be ambiguous
        raise InvalidSettingError("dataset", f"cannot be `{dataset}`, which is the name of the DuckDB database.")


def create_pipeline(pipeline_name: str, destination: str, dataset: str, **settings: Any) -> dlt.Pipeline:
    """A pipeline into a destination.

    Args:
        pipeline_name: Its name.
        destination: Name of a dlt destination, which dlt knows.
        dataset: Name of the dataset.
        **settings: Further arguments of `dlt.pipeline`.
    """
    pipeline = dlt.pipeline(
        pipeline_name, destination=destination, dataset_name=dataset, _impl_cls=SharedPipeline, **settings
    )
    if isinstance(pipeline.destination, postgres) and dlt.config.get(f"destination.{destination}.{INDEXES}") is None:
        pipeline.destination.config_params[INDEXES] = False
    return pipeline


def file_format(pipeline: dlt.Pipeline) -> TLoaderFileFormat | None:
    """What dlt shall write for the destination; None: its default."""
    return FILE_FORMATS.get(pipeline.destination.destination_type.rsplit(".", 1)[-1])


def capabilities_of(destination: str) -> DestinationCapabilitiesContext:
    """What a destination can do.

    Args:
        destination: Name of a dlt destination.

    Raises:
        InvalidSettingError: dlt knows no such destination.
    """
    try:
        return cast(AnyDestination, Destination.from_reference(destination)).capabilities()
    except UnknownDestinationModule:
        raise InvalidSettingError(
            "destination", "is not known to dlt; name one such as duckdb, snowflake or postgres.", value=destination
        ) from None
