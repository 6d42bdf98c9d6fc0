"""Custom metrics of the resources: rows, requests, retries, files, notes. dlt's trace and the summary show them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dlt
from dlt.common.exceptions import ResourceNameNotAvailable
from dlt.extract.exceptions import CurrentSourceNotAvailable

from ometria_source.api.client import OmetriaClient

log = logging.getLogger(__name__)

ROWS_READ = "rows_read"
REQUESTS = "requests"
RETRIES = "retries"

# Between failed attempts, summed over all requests, of which several may wait at the same time.
SECONDS_WAITED = "seconds_waited"

# How much there is to read, where that is known before.
FILES_TO_READ = "files_to_read"
LISTS_TO_READ = "lists_to_read"
LISTS_READ = "lists_read"

# 1 where the run of a log merges a stretch of time that earlier runs may have read.
BACKFILL = "backfill"

# Scans whose rows were loaded although they may not be all, so that nothing was removed.
UNPROVEN = "unproven"

ROWS_EXPECTED = "rows_expected"

# Sentences for the user: a list, which `load` puts there and reports for each table.
NOTES = "notes"


@contextmanager
def counting(client: OmetriaClient | None = None) -> Iterator[dict[str, Any]]:
    """Count what the running resource reads, also when it fails.

    Args:
        client: Whose requests and retries to note; it is closed at the end.

    Yields:
        The resource's metrics, with `rows_read` and `unproven` at zero.
    """
    metrics = dlt.current.resource_metrics()
    metrics.update({ROWS_READ: 0, UNPROVEN: 0})

    def note() -> None:
        if client is not None:
            metrics.update({REQUESTS: client.requests, RETRIES: client.retries, SECONDS_WAITED: client.seconds_waited})

    if client is not None:
        client.on_request = note
    try:
        yield metrics
    finally:
        if client is not None:
            client.close()
        note()


def _running_resource(table: str) -> str:
    """The resource that runs, which a nested table comes with; the table itself, in another thread."""
    try:
        return str(dlt.current.resource_name())
    except ResourceNameNotAvailable:
        return table


def add_note(table: str, text: str, metrics: dict[str, Any] | None = None) -> None:
    """Add a sentence on a table to the report of `load`; where no report is made, log it as a warning.

    Args:
        table: The table's name.
        text: The sentence; it holds no value of a row.
        metrics: Those of the resource, which have `NOTES` where a report is made; None: those of the running resource,
            which only its own thread finds.
    """
    try:
        metrics = dlt.current.resource_metrics() if metrics is None else metrics
    except (CurrentSourceNotAvailable, ResourceNameNotAvailable):
        metrics = {}
    if NOTES in metrics:
        metrics[NOTES].append(text if table == _running_resource(table) else f"{table}: {text}")
    log.log(logging.INFO if NOTES in metrics else logging.WARNING, "%s: %s", table, text)
