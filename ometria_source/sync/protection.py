"""The privacy of a table over a run: before its first row, and after its last.

Before, rows of other privacy settings are refused. After, rules that were applied to nothing are: a rule with a
mistyped name would leave in the warehouse what it was to keep out. That is known only once the rows were read, because
an account, or an export, may have columns that are not documented. The table then fails, and nothing of it is loaded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import dlt

from ometria_source.exceptions import UnappliedRuleError
from ometria_source.naming import ColumnNames
from ometria_source.privacy.consistency import (
    DROPPED_KEY,
    STATE_KEY,
    applied_before,
    check_signature,
    replaced_tables,
    was_loaded_before_exact_rules,
)
from ometria_source.privacy.rules import DROP, TablePrivacy
from ometria_source.shown import shown_name
from ometria_source.sync.deletes import is_limited
from ometria_source.sync.metrics import add_note

# Unknown columns that a note names; more are only counted. A guess.
MOST_NAMES = 20


def begin_privacy(*policies: TablePrivacy) -> None:
    """Refuse to go on with a table that was loaded under other privacy settings; to be called before the first row.

    Args:
        *policies: Of the running resource's table, then of those that come with it.

    Raises:
        InvalidSettingError: As `check_signature`.
    """
    emptied = replaced_tables()
    is_replaced = dlt.current.resource().write_disposition == "replace"
    for policy, state in _states(policies):
        is_new = policy.table in emptied or is_replaced
        policy.begin(hides_siblings=not is_new and was_loaded_before_exact_rules(state))
        if not is_new:
            check_signature(policy, dlt.current.source_schema().tables.get(policy.table), state)
        _record(policy, state)


def end_privacy(*tables: tuple[TablePrivacy, ColumnNames | None]) -> None:
    """Refuse rules that were applied to nothing, and remember the others; to be called after the last row.

    A limited run reads too little to know that.

    Args:
        *tables: For each table its policy and the names of its columns; None: it has no others than the documented.

    Raises:
        UnappliedRuleError: Rows were read, and a rule for this table found nothing in them, nor in an earlier run.
    """
    if is_limited():
        return
    names = {policy.table: columns for policy, columns in tables}
    for policy, state in _states([policy for policy, _ in tables]):
        if policy.effects.columns:
            for rule in policy.unapplied(applied_before(state)):
                raise UnappliedRuleError(rule.setting, rule.name, f"Nothing of `{policy.loaded_with}` was loaded.")
        _record(policy, state)
        _record_dropped(policy, names[policy.table])
        if policy.effects.unknown:
            add_note(policy.loaded_with, _unknown_note(policy))


def _states(policies: Collection[TablePrivacy]) -> Iterator[tuple[TablePrivacy, dict[str, Any]]]:
    """Each policy with what the running resource's state keeps for its table."""
    state = dlt.current.resource_state()
    for index, policy in enumerate(policies):
        yield policy, state.setdefault(policy.table, {}) if index else state


def _record(policy: TablePrivacy, state: dict[str, Any]) -> None:
    """Keep in state by which rules the rows are made, and what these were applied to."""
    if not policy.is_active:
        return
    applied = {rule.column for rule in policy.effects.applied}
    state[STATE_KEY] = {
        "sign": policy.signature(),
        "columns": sorted({*applied_before(state), *applied}),
        "siblings": policy.effects.hides_siblings,
    }


def _record_dropped(policy: TablePrivacy, names: ColumnNames | None) -> None:
    """Keep in state which fields the columns had that were left out."""
    columns = [column for column in policy.effects.columns if policy.action(column) == DROP]
    fields = {column: names.field(column) for column in columns} if names else {}
    if any(fields.values()):
        kept = dlt.current.source_state().setdefault(DROPPED_KEY, {}).setdefault(policy.table, {})
        kept.update({column: field for column, field in fields.items() if field is not None})


def _unknown_note(policy: TablePrivacy) -> str:
    names = sorted(f"{policy.table}.{name}" for name in policy.effects.unknown)
    shown = ", ".join(f"`{shown_name(name)}`" for name in names[:MOST_NAMES])
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"hashed because unknown: {shown}{more}; keep one with `keep_columns`"
