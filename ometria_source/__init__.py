"""Load a retailer's Ometria account into any warehouse, with dlt.

The public names are imported when they are first used, so that the program answers before dlt is there.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ometria_source.version import __version__ as __version__

if TYPE_CHECKING:
    from ometria_source.exceptions import (
        AccessDeniedError,
        BucketError,
        ChangedDestinationError,
        ConfigurationError,
        DestinationError,
        ForeignFileError,
        IncompleteScanError,
        InvalidSettingError,
        LoadFailedError,
        MachineError,
        MassDeletionError,
        MissingConfigurationError,
        MissingPackageError,
        MissingSettingError,
        NoFilesError,
        NotFoundError,
        NothingConfiguredError,
        OmetriaError,
        PendingPackageError,
        RefusedKeyError,
        RefusedPackageError,
        RunInProgressError,
        SchemaContractError,
        UnappliedRuleError,
        UnavailableError,
        UnexpectedAnswerError,
        UnexpectedError,
        UnreadableFileError,
    )
    from ometria_source.loading import LoadInterruptedError, LoadReport, TableReport, load
    from ometria_source.privacy.words import has_personal_name
    from ometria_source.source import ometria_source
    from ometria_source.sync.snapshot import ended_at

__all__ = [
    "AccessDeniedError",
    "BucketError",
    "ChangedDestinationError",
    "ConfigurationError",
    "DestinationError",
    "ForeignFileError",
    "IncompleteScanError",
    "InvalidSettingError",
    "LoadFailedError",
    "LoadInterruptedError",
    "LoadReport",
    "MachineError",
    "MassDeletionError",
    "MissingConfigurationError",
    "MissingPackageError",
    "MissingSettingError",
    "NoFilesError",
    "NotFoundError",
    "NothingConfiguredError",
    "OmetriaError",
    "PendingPackageError",
    "RefusedKeyError",
    "RefusedPackageError",
    "RunInProgressError",
    "SchemaContractError",
    "TableReport",
    "UnappliedRuleError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UnexpectedError",
    "UnreadableFileError",
    "ended_at",
    "has_personal_name",
    "load",
    "ometria_source",
]

# Where the names are that are no errors.
_MODULES = {
    "LoadInterruptedError": "loading",
    "LoadReport": "loading",
    "TableReport": "loading",
    "ended_at": "sync.snapshot",
    "has_personal_name": "privacy.words",
    "load": "loading",
    "ometria_source": "source",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'exceptions')}"), name)
    return value


def __dir__() -> list[str]:
    return sorted([*(name for name in globals() if name.startswith("__")), *__all__])
