"""Pipelines into any destination, with what dlt leaves to its user where its own choice does not suit."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import dlt
from dlt.common.destination import AnyDestination, Destination, DestinationCapabilitiesContext, TLoaderFileFormat
from dlt.common.destination.exceptions import UnknownDestinationModule
from dlt.common.pipeline import LoadInfo
from dlt.destinations import postgres
from dlt.destinations.exceptions import DatabaseException
from dlt.destinations.sql_client import SqlClientBase

from ometria_source.exceptions import InvalidSettingError
from ometria_source.runner.migration import change_tables

log = logging.getLogger(__name__)

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

# Between two looks whether it is this load's turn.
SECONDS_BETWEEN_LOOKS = 0.2


class SharedPipeline(dlt.Pipeline):
    """A pipeline into a dataset that other processes may load into at the same time."""

    _is_aborting = False

    def load(self, *arguments: Any, **options: Any) -> LoadInfo:
        """As dlt's, in turn with others."""
        if not self._is_aborting:
            change_tables(self)
        with _turn(self):
            return super().load(*arguments, **options)

    def abort_packages(self, *arguments: Any, **options: Any) -> Any:
        """As dlt's, which loads nothing but calls `load`: what was refused must change no table."""
        self._is_aborting = True
        try:
            return super().abort_packages(*arguments, **options)
        finally:
            self._is_aborting = False


@contextmanager
def _turn(pipeline: dlt.Pipeline) -> Iterator[None]:
    """Let no two processes merge at the same time: each would delete what is there of a key, and both would insert it.

    Where a unique index forbids that, or a DELETE locks the table, dlt's merge needs no turn. PostgreSQL has neither.
    """
    if not isinstance(pipeline.destination, postgres):
        yield
        return
    name = str(pipeline.dataset_name)
    # the lock ends with the connection, also when the process dies
    with pipeline.sql_client() as client:
        if not _take_turn(client, name):
            log.warning("Another load into `%s` is at work; this one waits for its turn", name)
            # asked again and again: a driver that waits for the lock itself hears no interrupt
            while not _take_turn(client, name):
                time.sleep(SECONDS_BETWEEN_LOOKS)
        try:
            yield
        finally:
            # behind a pooler the connection may outlive this; where it is broken, the lock is gone
            with suppress(DatabaseException):
                client.execute_sql("SELECT pg_advisory_unlock(hashtext(%s))", name)


def _take_turn(client: SqlClientBase[Any], name: str) -> bool:
    rows = client.execute_sql("SELECT pg_try_advisory_lock(hashtext(%s))", name)
    return bool(rows and rows[0][0])


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
        raise InvalidSettingError("--dataset", f"cannot be `{dataset}`, which is the name of the DuckDB database.")


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
            "--destination", f"`{destination}` is not known to dlt; name one such as duckdb, snowflake or postgres."
        ) from None
