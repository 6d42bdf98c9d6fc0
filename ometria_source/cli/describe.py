"""`--describe`: find out what an export is, from its newest files. It loads nothing and writes nothing."""

# no `from __future__ import annotations`: dlt reads the signature of `configured_export`
from typing import Any

from dlt.common.configuration import with_config

from ometria_source.cli.console import show
from ometria_source.constants import DEFAULT_PATIENCE_MINUTES
from ometria_source.describe.render import description
from ometria_source.describe.sample import sample_file, take_inventory
from ometria_source.exceptions import NoFilesError
from ometria_source.export.bucket import bucket_listing
from ometria_source.export.csv import CsvDialect
from ometria_source.export.retry import RetryBudget
from ometria_source.source import SECTION, ometria_source
from ometria_source.tables.email_events.reading import Export
from ometria_source.tables.email_events.rows import TABLE


def run_describe() -> int:
    """Describe the export that is configured, on standard output.

    Returns:
        The exit status: 0, or 1 where a file could not be read.

    Raises:
        ConfigurationError: As `ometria_source`.
        MissingSettingError: `bucket_url` is not configured.
        BucketError: The bucket cannot be listed.
        NoFilesError: No file matches.
    """
    # a load would refuse a bad setting before it reads anything
    ometria_source()
    export = configured_export()
    inventory = take_inventory(export.files(TABLE))
    if not inventory.files + inventory.empty:
        raise NoFilesError(export.file_glob)
    samples = [sample_file(file, export.file_format, export.retry, export.dialect) for file in inventory.sample]
    show("\n".join(description(inventory, samples, export.file_format, export.dialect)))
    return 1 if inventory.problems or any(sample.problem for sample in samples) else 0


# the sections in which dlt looks for the arguments of the source: "sources", its section, its name
@with_config(sections=("sources", SECTION, SECTION))
def configured_export(
    bucket_url: str | None = None,
    credentials: Any = None,
    file_glob: str = "**",
    file_format: str | None = None,
    on_bad_file: str = "fail",
    csv_delimiter: str | None = None,
    csv_encoding: str | None = None,
    patience_minutes: float = DEFAULT_PATIENCE_MINUTES,
) -> Export:
    """The export that the source would read."""
    listing = bucket_listing(bucket_url, credentials, file_glob, SECTION) if bucket_url else None
    dialect = CsvDialect(csv_delimiter, csv_encoding)
    retry = RetryBudget(patience_minutes)
    return Export(listing, retry, file_glob, file_format, dialect, on_bad_file, key=None, columns={})
