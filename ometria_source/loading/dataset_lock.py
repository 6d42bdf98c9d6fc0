"""A lock on a dataset, for loads that run at the same time.

Without it each of two would delete what is there of a key, and both would insert it. And both could give one new column
to different fields.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dlt
from dlt.destinations import postgres
from dlt.destinations.exceptions import DatabaseException
from dlt.destinations.sql_client import SqlClientBase

log = logging.getLogger(__name__)

# Between two attempts to get the lock.
SECONDS_BETWEEN_ATTEMPTS = 0.2


@contextmanager
def dataset_lock(pipeline: dlt.Pipeline) -> Iterator[None]:
    """Let no other process load into the same dataset meanwhile; waits until none does.

    Where a unique index forbids a second row of a key, or a DELETE locks the table, dlt's merge needs no lock.
    PostgreSQL has neither; and no other destination has such a lock.

    Args:
        pipeline: Into the dataset.
    """
    if not isinstance(pipeline.destination, postgres):
        yield
        return
    name = str(pipeline.dataset_name)
    # the lock ends with the connection, also when the process dies
    with pipeline.sql_client() as client:
        if not _try_lock(client, name):
            log.warning("Another load into `%s` is at work; this one waits for its turn", name)
            # asked again and again: a driver that waits for the lock itself hears no interrupt
            while not _try_lock(client, name):
                time.sleep(SECONDS_BETWEEN_ATTEMPTS)
        try:
            yield
        finally:
            # behind a pooler the connection may outlive this; where it is broken, the lock is gone
            with suppress(DatabaseException):
                client.execute_sql("SELECT pg_advisory_unlock(hashtext(%s))", name)


def _try_lock(client: SqlClientBase[Any], name: str) -> bool:
    rows = client.execute_sql("SELECT pg_try_advisory_lock(hashtext(%s))", name)
    return bool(rows and rows[0][0])
