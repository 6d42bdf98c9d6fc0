"""What the reading of a table took: custom metrics of its resource, which dlt's trace and our summary show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dlt

from ometria_source.api.client import OmetriaClient

ROWS_READ = "rows_read"
REQUESTS = "requests"
RETRIES = "retries"


@contextmanager
def counting(client: OmetriaClient | None = None) -> Iterator[dict[str, Any]]:
    """Count what the running resource reads, also when it fails.

    Args:
        client: Whose requests and retries to note at the end, when it is closed.

    Yields:
        The resource's metrics, with `rows_read` at zero.
    """
    metrics = dlt.current.resource_metrics()
    metrics[ROWS_READ] = 0
    try:
        yield metrics
    finally:
        if client is not None:
            client.close()
            metrics[REQUESTS] = client.requests
            metrics[RETRIES] = client.retries
