"""How the running pipeline's destination brings rows into a table.

dlt decides by the table's hints and by what the destination can do. Where it can merge nothing, dlt would append with a
warning, which doubles the rows that are read again.
"""

from __future__ import annotations

import dlt
from dlt.common.configuration.container import Container
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.utils import resolve_merge_strategy
from dlt.common.schema.typing import TLoaderMergeStrategy
from dlt.extract import DltResource

# What dlt does on most destinations; taken where no pipeline runs, as when a notebook iterates over a resource.
DEFAULT_STRATEGY: TLoaderMergeStrategy = "delete-insert"


def strategy_at(
    resource: DltResource, capabilities: DestinationCapabilitiesContext | None
) -> TLoaderMergeStrategy | None:
    """How a destination merges the table of a resource.

    Args:
        resource: With the hints as they are now, those of a user's `apply_hints` included.
        capabilities: Of the destination; None: it is not known.

    Returns:
        dlt's name of the strategy; None where rows are not merged: by the table's disposition (append, replace), or
        because the destination cannot, in which case dlt would append.

    Raises:
        DestinationCapabilitiesException: The hints name a strategy that the destination does not have.
    """
    table = resource.compute_table_schema()
    if capabilities is None:
        is_merged = table.get("write_disposition") == "merge"
        return table.get("x-merge-strategy", DEFAULT_STRATEGY) if is_merged else None  # type: ignore[return-value]
    return resolve_merge_strategy({str(table["name"]): table}, table, capabilities)


def running_strategy() -> TLoaderMergeStrategy | None:
    """`strategy_at` of the running resource, at the destination of the running pipeline."""
    container = Container()
    is_known = DestinationCapabilitiesContext in container
    return strategy_at(dlt.current.resource(), container[DestinationCapabilitiesContext] if is_known else None)
