"""Refuse to mix rows loaded under different privacy settings, and rules that name no column."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import dlt
from dlt.common.schema.typing import TTableSchema
from dlt.common.schema.utils import has_table_seen_data
from dlt.common.storages.exceptions import CurrentLoadPackageStateNotAvailable

from ometria_source.exceptions import InvalidSettingError
from ometria_source.privacy.rules import Rule, TablePrivacy

# Where a table's resource state keeps by which rules its rows were made, and the columns that these name: of one that
# is dropped, nothing else would remain.
STATE_KEY = "privacy"

# What dlt writes into a resource's state before its first row.
DLT_KEYS = ("incremental",)


def begin(policy: TablePrivacy, *nested: TablePrivacy, is_read_first: bool = False) -> None:
    """Refuse to go on with a table that was loaded under other privacy settings; to be called before the first row.

    Args:
        policy: Of the running resource's table.
        *nested: Of the tables that come with it.
        is_read_first: Whether its columns are known only once they were read, so that names are checked later.

    Raises:
        InvalidSettingError: As `check_rules` and `check_signature`.
    """
    state = dlt.current.resource_state()
    _begin(policy, state, is_read_first)
    for member in nested:
        _begin(member, state.setdefault(member.table, {}), is_read_first)


def _begin(policy: TablePrivacy, state: dict[str, Any], is_read_first: bool) -> None:
    stored = dlt.current.source_schema().tables.get(policy.table)
    emptied = replaced_tables()
    known = known_columns(stored or emptied.get(policy.table), state)
    if not is_read_first:
        check_rules(policy, known)
    if policy.table not in emptied and dlt.current.resource().write_disposition != "replace":
        check_signature(policy, stored, state)
    record_rules(policy, state, known)


def record_rules(policy: TablePrivacy, state: dict[str, Any], seen: Collection[str]) -> None:
    """Keep in state by which rules the rows are made.

    Args:
        policy: Of a table.
        state: Of its resource; of a table that comes with another, what that keeps for it.
        seen: Columns that came, besides the documented ones.
    """
    if policy.is_active:
        known = {*policy.documented, *seen, *known_columns(None, state)}
        named = sorted(rule.column for rule in policy.rules if rule.leads_into(known))
        state[STATE_KEY] = {"sign": policy.signature(), "columns": named}


def known_columns(stored: TTableSchema | None, state: Mapping[str, Any]) -> set[str]:
    """The columns of a table that were loaded, or named and dropped.

    Args:
        stored: The table in the pipeline's schema.
        state: Of its resource.
    """
    return {*(stored["columns"] if stored else ()), *state.get(STATE_KEY, {}).get("columns", ())}


def check_rules(policy: TablePrivacy, known: Collection[str]) -> None:
    """Refuse a rule that names no column.

    Args:
        policy: Of a table.
        known: Its columns, besides the documented ones.

    Raises:
        InvalidSettingError: There is one.
    """
    for rule in policy.unknown(known):
        raise no_such_column(rule)


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
    if not is_same and (is_loaded(stored, state) or before is not None):
        raise InvalidSettingError(
            "hash_columns, drop_columns, pii_salt or privacy",
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
