"""Settings against what is loaded: where both do not go together, a load would mix rows of two kinds in a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import dlt
from dlt.common.schema.typing import TTableSchema

from ometria_source.loading.plan import Plan
from ometria_source.loading.stored import resource_states
from ometria_source.privacy.consistency import check_signature, known_columns
from ometria_source.sync.history import check_history
from ometria_source.tables import DOCUMENTED, PARENTS
from ometria_source.tables.email_events.resource import check_event_key


def check_settings(pipeline: dlt.Pipeline, plan: Plan, anew: Collection[str]) -> None:
    """Refuse settings that do not go with what is loaded, or at all with the tables that there are.

    Args:
        pipeline: With the destination's state.
        plan: The settings, and the tables to be read.
        anew: Those of them that are replaced, whatever settings they were loaded with.

    Raises:
        InvalidSettingError: As `check_history`, `check_event_key` and `privacy.consistency`.
    """
    states = resource_states(pipeline)
    _check_privacy(pipeline, plan, anew, states)
    for name in plan.tables:
        is_known = pipeline.default_schema_name and name not in anew
        check_history(plan.source.resources[name], pipeline.default_schema if is_known else None)
        if name == "email_events" and is_known:
            check_event_key(plan.event_key, states.get(name, {}))


def _check_privacy(
    pipeline: dlt.Pipeline, plan: Plan, anew: Collection[str], states: Mapping[str, dict[str, Any]]
) -> None:
    stored: Mapping[str, TTableSchema] = pipeline.default_schema.tables if pipeline.default_schema_name else {}
    everywhere: set[str] = set()
    for table in DOCUMENTED:
        resource = PARENTS.get(table, table)
        state = states.get(resource, {})
        state = state if resource == table else state.get(table, {})
        known = known_columns(stored.get(table), state)
        everywhere |= known
        if resource in plan.tables and resource not in anew:
            check_signature(plan.privacy.of(table), stored.get(table), state)
    if "email_events" not in plan.tables:
        plan.privacy.check_everywhere(everywhere)
