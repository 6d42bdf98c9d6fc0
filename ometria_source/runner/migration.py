"""The tables at the destination, changed for all packages of a run before the first of them is loaded.

Of packages with one schema dlt would change only the tables of the first. And it looks, then makes what is missing: of
several processes that load into one dataset, the slower ones fail at what the fastest has made in between. They look
again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import dlt
from dlt.common.destination.client import SupportsOpenTables
from dlt.destinations.exceptions import DatabaseException
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from ometria_source.runner.iceberg import add_columns

log = logging.getLogger(__name__)

# Processes can meet at the dataset, at dlt's own tables and at those of a package; one more is for a deadlock.
ATTEMPTS = 5

# Seconds until another process has made what both were about to make.
WAIT = wait_random(0.2, 2)


def change_tables(pipeline: dlt.Pipeline) -> None:
    """Make the dataset, tables and columns that the normalised packages need.

    Args:
        pipeline: Its working folder is held by this process.

    Raises:
        DatabaseException: The destination refuses a change.
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
    dropped = {table["name"] for state in states for table in state.get("dropped_tables", ())}
    with pipeline.destination_client() as client:
        client.initialize_storage()
        client.update_stored_schema(only_tables=pipeline.default_schema.tables.keys() - dropped)
        if isinstance(client, SupportsOpenTables):
            add_columns(pipeline, client, packages)


def _log_retry(state: RetryCallState) -> None:
    log.info("attempt %s to change the tables failed; they are looked at again", state.attempt_number)
