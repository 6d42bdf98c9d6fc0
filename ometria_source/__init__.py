"""Load a retailer's Ometria account into any warehouse, with dlt."""

from ometria_source.exceptions import (
    AccessDeniedError,
    BucketError,
    ConfigurationError,
    IncompleteScanError,
    InvalidSettingError,
    MassDeletionError,
    MissingSettingError,
    NoFilesError,
    NotFoundError,
    NothingConfiguredError,
    OmetriaError,
    RunInProgressError,
    SchemaContractError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreadableFileError,
)
from ometria_source.source import ometria_source

__version__ = "0.1.0"

__all__ = [
    "AccessDeniedError",
    "BucketError",
    "ConfigurationError",
    "IncompleteScanError",
    "InvalidSettingError",
    "MassDeletionError",
    "MissingSettingError",
    "NoFilesError",
    "NotFoundError",
    "NothingConfiguredError",
    "OmetriaError",
    "RunInProgressError",
    "SchemaContractError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UnreadableFileError",
    "ometria_source",
]
