"""Custom metrics of the resources: rows, requests, retries, files. dlt's trace and the summary show them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dlt

from ometria_source.api.client import OmetriaClient

ROWS_READ = "rows_read"
REQUESTS = "requests"
RETRIES = "retries"

# Between failed attempts, summed over all requests, of which several may wait at the same time.
SECONDS_WAITED = "seconds_waited"

# How much there is to read, where that is known before.
FILES_TO_READ = "files_to_read"
LISTS_TO_READ = "lists_to_read"
LISTS_READ = "lists_read"
ROWS_EXPECTED = "rows_expected"


@contextmanager
def counting(client: OmetriaClient | None = None) -> Iterator[dict[str, Any]]:
    """Count what the running resource reads, also when it fails.

    Args:
        client: Whose requests and retries to note; it is closed at the end.

    Yields:
        The resource's metrics, with `rows_read` at zero.
    """
    metrics = dlt.current.resource_metrics()
    metrics[ROWS_READ] = 0

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
