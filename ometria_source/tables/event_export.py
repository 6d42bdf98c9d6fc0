"""The export as the settings describe it: where its files are and how to read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dlt.common.storages.fsspec_filesystem import FileItemDict
from dlt.extract import DltResource

from ometria_source.exceptions import MissingSettingError
from ometria_source.export.listing import list_files
from ometria_source.export.patience import Patience


@dataclass(frozen=True)
class Export:
    """Where the export is and how to read it.

    Attributes:
        listing: dlt's lister of the bucket; None where no `bucket_url` is configured.
        patience: How long its store is asked again.
        file_glob: The setting of that name, and so are the other fields but `key` and `columns`.
        key: The setting `email_events_key`.
        columns: The setting `email_events_columns`.
    """

    listing: DltResource | None
    patience: Patience
    file_glob: str
    file_format: str | None
    on_bad_file: str
    key: Sequence[str] | None
    columns: Mapping[str, str]

    def files(self, table: str) -> Iterator[FileItemDict]:
        """List the files.

        Args:
            table: Who asks, for the error.

        Raises:
            MissingSettingError: `bucket_url` is not configured.
            BucketError: As `list_files`.
        """
        if self.listing is None:
            raise MissingSettingError("bucket_url", table)
        return list_files(self.listing, self.patience)
