"""What can be refused before anything is read, once it is known what the destination holds."""

# no `from __future__ import annotations`: dlt reads the signature of `configured_privacy`
from collections.abc import Mapping
from typing import Any

import dlt
from dlt.common.configuration import with_config
from dlt.common.schema.typing import TTableSchema
from dlt.extract import DltSource

from ometria_source.source import SECTION
from ometria_source.tables.catalogue import DOCUMENTED, PARENTS
from ometria_source.tables.history import check_history
from ometria_source.tables.privacy import Privacy
from ometria_source.tables.privacy_state import check_names, check_sign, known_columns


def check_settings(
    pipeline: dlt.Pipeline, source: DltSource, tables: list[str], full_refresh: bool, privacy: Privacy
) -> None:
    """Refuse settings that do not go with what is loaded, or at all with the tables that there are.

    Args:
        pipeline: With the destination's state.
        source: Whose resources bear the settings.
        tables: Those to be read.
        full_refresh: Whether they are replaced.
        privacy: The source's settings.

    Raises:
        InvalidSettingError: As `check_history` and `tables.privacy_state`.
    """
    _check_privacy(pipeline, privacy, tables, full_refresh)
    is_known = pipeline.default_schema_name and not full_refresh
    for name in tables:
        check_history(source.resources[name], pipeline.default_schema if is_known else None)


def _check_privacy(pipeline: dlt.Pipeline, privacy: Privacy, tables: list[str], full_refresh: bool) -> None:
    stored: Mapping[str, TTableSchema] = pipeline.default_schema.tables if pipeline.default_schema_name else {}
    sources: dict[str, Any] = dict(pipeline.state.get("sources", {}))
    resources: dict[str, Any] = sources.get(SECTION, {}).get("resources", {})
    everywhere: set[str] = set()
    for table in DOCUMENTED:
        resource = PARENTS.get(table, table)
        state = resources.get(resource, {})
        state = state if resource == table else state.get(table, {})
        known = known_columns(stored.get(table), state)
        everywhere |= known
        if resource in tables:
            # the export's columns are known once they were read
            if table != "email_events":
                check_names(privacy.of(table), known)
            if not full_refresh:
                check_sign(privacy.of(table), stored.get(table), state)
    if "email_events" not in tables:
        privacy.check_everywhere(everywhere)


@with_config(sections=("sources", SECTION))
def configured_privacy(
    hash_columns: list[str] | None = None,
    drop_columns: list[str] | None = None,
    pii_salt: dlt.TSecretStrValue | None = None,
    privacy: str | None = None,
) -> Privacy:
    """The settings, where the source looks for them."""
    return Privacy(hash_columns, drop_columns, pii_salt, privacy)
