"""Snowflake as far as fakesnow emulates it: the destination that the tests name."""

from __future__ import annotations

from dlt.common.destination import DestinationCapabilitiesContext
from dlt.destinations import snowflake


class emulated_snowflake(snowflake):  # noqa: N801  dlt names a destination after its class
    """dlt's Snowflake, without what the emulator lacks."""

    def _raw_capabilities(self) -> DestinationCapabilitiesContext:
        capabilities = super()._raw_capabilities()
        # the emulator answers one statement at a time
        capabilities.supports_multiple_statements = False
        # of jsonl, which is the default, it loads no more than one column
        capabilities.preferred_loader_file_format = "parquet"
        return capabilities


emulated_snowflake.register()
