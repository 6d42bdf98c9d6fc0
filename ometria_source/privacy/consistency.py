"""Refuse to mix rows loaded under different privacy settings, and remember what the rules were applied to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dlt
from dlt.common.schema.typing import TTableSchema, TTableSchemaColumns
from dlt.common.schema.utils import has_table_seen_data
from dlt.common.storages.exceptions import CurrentLoadPackageStateNotAvailable

from ometria_source.exceptions import InvalidSettingError
from ometria_source.naming import field_hint
from ometria_source.privacy.rules import SIGNATURE_PREFIX, Rule, TablePrivacy

# Where a table's resource state keeps by which rules its rows were made (`sign`), the columns of rules that were
# applied to something (`columns`), and whether rules hide columns with a number behind their name, too (`siblings`).
STATE_KEY = "privacy"

# Where the source's state keeps the fields of columns that were left out, by table and column: no schema knows of them,
# and a full refresh must not give their columns to other fields.
DROPPED_KEY = "dropped_fields"

# What dlt writes into a resource's state before its first row.
DLT_KEYS = ("incremental",)


def known_columns(stored: TTableSchema | None, state: Mapping[str, Any]) -> set[str]:
    """The columns of a table that were loaded, or named and dropped.

    Args:
        stored: The table in the pipeline's schema.
        state: Of its resource.
    """
    return {*(stored["columns"] if stored else ()), *applied_before(state)}


def applied_before(state: Mapping[str, Any]) -> list[str]:
    """The columns that rules were applied to in earlier runs.

    Args:
        state: Of a table's resource; of a table that comes with another, what that keeps for it.
    """
    return list(state.get(STATE_KEY, {}).get("columns", ()))


def applied_anywhere(states: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The columns that rules were applied to in earlier runs, in any table.

    Args:
        states: By resource, each with what it keeps for the tables that come with its own.
    """
    nested = [part for state in states.values() for part in state.values() if isinstance(part, Mapping)]
    return {column for state in (*states.values(), *nested) for column in applied_before(state)}


def dropped_columns(table: str) -> TTableSchemaColumns:
    """The columns that earlier runs left out, with the hints of their fields.

    Args:
        table: Its name.
    """
    fields: Mapping[str, str] = dlt.current.source_state().get(DROPPED_KEY, {}).get(table, {})
    return {column: field_hint(column, field) for column, field in fields.items()}


def was_loaded_before_exact_rules(state: Mapping[str, Any]) -> bool:
    """Whether a version before 0.2 loaded a table, whose rules also hid columns with a number behind their name.

    Args:
        state: As for `applied_before`.
    """
    kept = state.get(STATE_KEY, {})
    is_earlier = "sign" in kept and not str(kept["sign"]).startswith(SIGNATURE_PREFIX)
    return bool(kept.get("siblings", is_earlier))


def no_such_column(rule: Rule) -> InvalidSettingError:
    """The error for a rule that names no column."""
    return InvalidSettingError(
        rule.setting,
        f"names `{rule.name}`, but there is no such column. Nothing was loaded. Correct the name or leave it out; they "
        "are those of the columns in the destination.",
    )


def check_signature(policy: TablePrivacy, stored: TTableSchema | None, state: Mapping[str, Any]) -> None:
    """Refuse to mix rows of two privacy settings in a table.

    Args:
        policy: As the settings are now.
        stored: The table in the pipeline's schema; None: it was not loaded yet.
        state: Of its resource.

    Raises:
        InvalidSettingError: The rows that are there were made by other rules, or with another salt.
    """
    before = state.get(STATE_KEY, {}).get("sign")
    is_same = before is not None and policy.is_signed(before) if policy.is_active else before is None
    if is_same or not (is_loaded(stored, state) or before is not None):
        return
    if before is not None and policy.is_signed_without_list(before):
        raise InvalidSettingError(
            "privacy",
            "hides more in this version: `strict` now hashes whatever is not known to be harmless, and the rows of "
            f"`{policy.table}` were loaded without that. Nothing was read. Load `{policy.loaded_with}` anew with a "
            "full refresh.",
            table=policy.loaded_with,
        )
    raise InvalidSettingError(
        "hash_columns, drop_columns, keep_columns, pii_salt or privacy",
        f"is not what it was when `{policy.table}` was loaded, and rows of both would be mixed. Nothing was read. "
        f"Set it back, or load `{policy.loaded_with}` anew with a full refresh.",
        table=policy.loaded_with,
    )


def is_loaded(stored: TTableSchema | None, state: Mapping[str, Any]) -> bool:
    """Whether a table was loaded: its schema shows it, or the state that its last scan left.

    Args:
        stored: The table in the pipeline's schema; None: it has none.
        state: Of its resource.
    """
    return (stored is not None and has_table_seen_data(stored)) or bool(state.keys() - {STATE_KEY, *DLT_KEYS})


def replaced_tables() -> dict[str, TTableSchema]:
    """The tables that dlt drops or empties with this load, as in a full refresh."""
    try:
        package: Mapping[str, Any] = dict(dlt.current.load_package_state()["state"])
    except CurrentLoadPackageStateNotAvailable:
        return {}
    tables = [*package.get("dropped_tables", ()), *package.get("truncated_tables", ())]
    return {table["name"]: table for table in tables}
