"""What a load shall do: the source with its settings, and the tables to read.

Everything that is wrong here is found before anything is read.
"""

# no `from __future__ import annotations`: dlt reads the signatures of the configured functions
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import dlt
from dlt.common.configuration import with_config
from dlt.common.typing import TAnyDateTime
from dlt.extract import DltSource

from ometria_source.api.client import LOOPBACK_HOSTS
from ometria_source.constants import DEFAULT_BASE_URL
from ometria_source.exceptions import InvalidSettingError, NothingConfiguredError
from ometria_source.loading.destinations import capabilities_of
from ometria_source.shown import nearest, shown_value
from ometria_source.source import SECTION, Privacy, ometria_source
from ometria_source.sync.destination import LOGS, strategy_at
from ometria_source.tables import NESTED, PARENTS

# The tables that are loaded where none is named.
TABLES = ("profiles", "lists", "member_lists", "unsubscribes", "email_events")

# It is replaced by each run.
INVENTORY = "email_event_files"

# The tables that can be named: what the default does not read, because each costs requests of the shared limit.
SELECTABLE = (
    *TABLES,
    INVENTORY,
    "collections",
    "contacts",
    "orders",
    "products",
    "custom_events",
    "data_deletion_requests",
    "list_changes",
    "push_errors",
)

# All of them, but for what the account does not offer and what is not configured.
ALL = "all"

PIPELINE_NAME = "ometria_pipeline"
DEFAULT_DESTINATION = "duckdb"
DEFAULT_DATASET = "ometria"

# What the names of Ometria's own hosts end with (documentation of the API: `api.ometria.com`).
OMETRIA_DOMAIN = ".ometria.com"

# The settings of the source.
SETTINGS = frozenset(inspect.signature(ometria_source).parameters)


# Whether dlt raises an error where a job has failed. Otherwise it stores the state as if all rows were there.
RAISES = "load.raise_on_failed_jobs"


@dataclass(frozen=True)
class Plan:
    """What a load shall do.

    Attributes:
        source: With the settings.
        privacy: The settings of that kind.
        tables: Names of its resources, in the order in which to read them.
        offered_only: Whether a table is left out that the account does not offer, or whose setting is missing.
        full_refresh: Whether these tables are read anew and replaced.
        is_backfill: Whether a piece of time is read, which says nothing about the rest of a table.
        event_key: The setting `email_events_key`.
        notes: What the user should know about the selection.
    """

    source: DltSource
    privacy: Privacy
    tables: tuple[str, ...]
    offered_only: bool
    full_refresh: bool
    is_backfill: bool
    event_key: Sequence[str] | None
    notes: tuple[str, ...]


def make_plan(
    tables: Sequence[str] | str | None,
    destination: str,
    *,
    full_refresh: bool = False,
    append: bool = False,
    settings: Mapping[str, Any],
) -> Plan:
    """Check what is asked for, as far as that needs neither the account nor the destination.

    Args:
        tables: As for `load`, and so are the others.
        destination: Name of a dlt destination.
        full_refresh: Whether to read the tables anew and replace them.
        append: Whether to add rows instead of merging them.
        settings: Those of `ometria_source` that are given.

    Raises:
        ConfigurationError: Something that was asked for cannot work.
    """
    for name in settings.keys() - SETTINGS:
        similar = nearest(name, SETTINGS)
        meant = f" Is `{similar}` meant?" if similar else ""
        raise InvalidSettingError(name, f"is no setting of `ometria_source`: leave it out, or correct its name.{meant}")
    if dlt.config.get(RAISES, bool) is False:
        raise InvalidSettingError(RAISES, "must be true, or not be set: rows that a job could not load would be lost.")
    names = _parse(tables)
    offered_only = names is SELECTABLE
    source = ometria_source(**settings)
    has_key, has_bucket, is_backfill = _given(_configured, settings)
    host = _other_host(_given(_base_url, settings)) if has_key else None
    if full_refresh and is_backfill:
        raise InvalidSettingError(
            "end_date", "is set, which reads a piece, and a full refresh replaces whole tables: take one of them away."
        )
    if (names is None or offered_only) and not has_key and not has_bucket:
        raise NothingConfiguredError
    notes = [f"Ometria is asked at `{host}`, which is none of its own addresses."] if host else []
    if names is None:
        names = _defaults(has_key, has_bucket, is_backfill, "end_date" not in settings, notes)
    selected = tuple(name for name in source.resources if name in names)
    if append:
        _append(source, selected)
    capabilities = capabilities_of(destination)
    for name in selected:
        strategy_at(source.resources[name], capabilities)
    return Plan(
        source,
        _given(_privacy, settings),
        selected,
        offered_only,
        full_refresh,
        is_backfill,
        _given(_event_key, settings),
        tuple(notes),
    )


def _parse(tables: Sequence[str] | str | None) -> tuple[str, ...] | None:
    """The tables that are named; None: none is."""
    if tables is None:
        return None
    words = tables.split(",") if isinstance(tables, str) else tables
    names = tuple(dict.fromkeys(word.strip() for word in words if word.strip()))
    if names == (ALL,):
        return SELECTABLE
    for name in names:
        if name in PARENTS:
            raise InvalidSettingError("tables", f"names `{name}`, which comes with `{PARENTS[name]}`: name that.")
        if name not in SELECTABLE:
            similar = nearest(name, SELECTABLE)
            meant = f"is `{similar}` meant? " if similar else ""
            raise InvalidSettingError(
                "tables", f"names no table `{shown_value(name)}`: {meant}The tables are {', '.join(SELECTABLE)}."
            )
    if not names:
        raise InvalidSettingError("tables", f"names no table. The tables are {', '.join(SELECTABLE)}.")
    return names


def _defaults(
    has_key: bool, has_bucket: bool, is_backfill: bool, is_end_configured: bool, notes: list[str]
) -> tuple[str, ...]:
    """The tables to load where none is named: all that are configured, and in a backfill the two logs."""
    tables = [name for name in TABLES if name in LOGS or not is_backfill]
    if is_backfill and is_end_configured:
        notes.append("`end_date` is configured: this is a backfill of the two logs, and no other table is read.")
    if not has_bucket:
        tables.remove("email_events")
    if not has_key:
        notes.append("No `api_key` is configured: only `email_events` is loaded.")
        tables = ["email_events"]
    return tuple(tables)


def _other_host(base_url: str) -> str | None:
    """The host that gets the API key; None: it is Ometria's, or this machine."""
    host = urlsplit(base_url).hostname or ""
    return None if host.endswith(OMETRIA_DOMAIN) or host in LOOPBACK_HOSTS else host


def _append(source: DltSource, tables: Sequence[str]) -> None:
    for name in set(tables) - {INVENTORY}:
        source.resources[name].apply_hints(write_disposition="append")
        for nested in NESTED.get(name, ()):
            source.resources[name].apply_hints(table_name=nested, write_disposition="append", create_table_variant=True)


def _given(function: Any, settings: Mapping[str, Any]) -> Any:
    """Call a configured function with those of the settings that it has; dlt resolves the others."""
    return function(**{name: settings[name] for name in inspect.signature(function).parameters if name in settings})


@with_config(sections=("sources", SECTION))
def _configured(
    api_key: dlt.TSecretStrValue | None = None,
    bucket_url: str | None = None,
    end_date: TAnyDateTime | None = None,
) -> tuple[bool, bool, bool]:
    """Whether there is a key, a bucket, and an end, where the source looks for them."""
    return bool(api_key), bool(bucket_url), bool(end_date)


@with_config(sections=("sources", SECTION))
def _privacy(
    hash_columns: list[str] | None = None,
    drop_columns: list[str] | None = None,
    keep_columns: list[str] | None = None,
    pii_salt: dlt.TSecretStrValue | None = None,
    privacy: str | None = None,
) -> Privacy:
    """The settings, where the source looks for them."""
    return Privacy(hash_columns, drop_columns, keep_columns, pii_salt, privacy)


@with_config(sections=("sources", SECTION))
def _base_url(base_url: str = DEFAULT_BASE_URL) -> str:
    """The setting, where the source looks for it."""
    return base_url


@with_config(sections=("sources", SECTION))
def _event_key(email_events_key: list[str] | None = None) -> list[str] | None:
    """The setting, where the source looks for it."""
    return email_events_key
