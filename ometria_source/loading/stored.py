"""Compare what the destination holds with the local schema and state, and bring both together.

dlt stores a package's schema before its rows, and a full refresh drops the table before that. So a package that was
aborted, or killed, leaves a schema at the destination that is newer than the local one, as another load into the same
dataset does. A fresh working folder would restore it. Here the local schema takes over the columns that it lacks and is
stored again, and a table that a full refresh has dropped loses its state.

State that describes rows which are not there would keep them from ever being read again: so a table without rows is
read anew, whatever its state is.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import dlt
from dlt.common.destination.client import WithStateSync
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.common.schema import Schema
from dlt.common.schema.typing import TColumnSchema, TTableSchema, TTableSchemaColumns
from dlt.common.schema.utils import has_table_seen_data
from dlt.destinations.exceptions import DatabaseException
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.pipeline.exceptions import PipelineStepFailed
from dlt.pipeline.helpers import pipeline_drop

from ometria_source.exceptions import ChangedDestinationError, TakenColumnError
from ometria_source.loading.dataset_lock import dataset_lock
from ometria_source.loading.errors import cause_of, was_interrupted
from ometria_source.loading.packages import columns_before, tables_of
from ometria_source.naming import FIELD_HINT
from ometria_source.source import SECTION
from ometria_source.tables import NESTED

log = logging.getLogger(__name__)


def settle(pipeline: dlt.Pipeline, dropped: Collection[str] = (), gone: Collection[str] = ()) -> None:
    """Make the local schema and the destination's newest the same, and void the state of tables that were dropped.

    Args:
        pipeline: Without pending packages; its working folder is held by this process.
        dropped: Tables that full refreshes were to drop whose packages are not loaded now. Where the destination has
            another schema than the local one, each table is suspected.
        gone: Those of them that were dropped: what is there now is a part of the new rows.
    """
    if not pipeline.default_schema_name:
        return
    local = pipeline.default_schema
    with pipeline.destination_client() as client:
        if not isinstance(client, WithStateSync) or not client.is_storage_initialized():
            return
        is_local = _is_newest(client, local)
        suspects = [name for name in resource_states(pipeline) if name in dropped or not is_local]
        lost = sorted(name for name in suspects if name in gone or _is_lost(client, local, name))
        if not lost and not is_local:
            _take_over(_missing(client, local, dropped), local)
            pipeline.schemas.save_schema(local)
            is_local = _is_newest(client, local)
    if lost:
        log.warning("A full refresh of %s was not finished; the next load reads all of it", ", ".join(lost))
        for name in lost:
            _forget(pipeline, name)
    elif not is_local:
        with dataset_lock(pipeline):
            _store_schema(pipeline, dropped)


def _forget(pipeline: dlt.Pipeline, resource: str) -> None:
    """Drop a resource with its tables, its state and what is stored of its schema; the state at least."""
    try:
        pipeline_drop(pipeline, resources=[resource])()
    except PipelineStepFailed as error:
        if was_interrupted(error):
            raise
        log.info("%s cannot be dropped (%s)", resource, cause_of(error))
        pipeline_drop(pipeline, resources=[resource], state_only=True)()


def _is_newest(client: WithStateSync, schema: Schema) -> bool:
    # dlt makes the table of schemas again where it was dropped by hand
    with suppress(DestinationUndefinedEntity):
        stored = client.get_stored_schema(schema.name)
        return stored is not None and stored.version_hash == schema.version_hash
    return False


def _store_schema(pipeline: dlt.Pipeline, dropped: Collection[str]) -> None:
    """Store the local schema, with what other loads have added meanwhile."""
    local = pipeline.default_schema
    client: Any
    with pipeline.destination_client() as client:
        _take_over(_missing(client, local, dropped), local)
        pipeline.schemas.save_schema(local)
        if not _is_newest(client, local):
            with suppress(DestinationUndefinedEntity):
                # dlt itself stores no schema again that it has stored before
                client._update_schema_in_storage(local)


def take_over_columns(pipeline: dlt.Pipeline, client: Any, package: Path, dropped: Collection[str]) -> None:
    """Take over the columns that other processes have loaded since this one has read the schema.

    Args:
        pipeline: Its working folder is held by this process.
        client: Of the destination, open.
        package: The folder of a package that is normalised and not loaded.
        dropped: Tables that it drops.

    Raises:
        TakenColumnError: A column that the package adds is another field's there, or of another type.
    """
    local = pipeline.default_schema
    loaded = loaded_schema(client, local.name)
    if loaded is None or loaded.version_hash == local.version_hash:
        return
    before = columns_before(package)
    for name in tables_of(package) & loaded.tables.keys() - set(dropped):
        theirs = loaded.tables[name]["columns"]
        for column in local.tables[name]["columns"].keys() & theirs.keys() - before.get(name, {}).keys():
            if _meaning(local.tables[name]["columns"][column]) != _meaning(theirs[column]):
                raise TakenColumnError(name)
    if missing := _missing(client, local, dropped):
        storage = pipeline._get_load_storage().normalized_packages
        schema = storage.load_schema(package.name)
        for known in (schema, local):
            _take_over(missing, known)
        storage.save_schema(package.name, schema)
        pipeline.schemas.save_schema(local)


def loaded_schema(client: Any, name: str) -> Schema | None:
    """The schema of the package that was loaded last; None: there is none, or the destination cannot be asked.

    That of a package that was refused is stored too, and may name columns that were never made.

    Args:
        client: Of the destination, open.
        name: Of the schema.
    """
    if not isinstance(client, SqlJobClientBase):
        return None

    def column(name: str) -> str:
        return client.sql_client.escape_column_name(client.schema.naming.normalize_path(name))

    loads = client.sql_client.make_qualified_table_name(client.schema.loads_table_name)
    # dlt quotes the names
    query = (
        f"SELECT {column('schema_version_hash')} FROM {loads} WHERE {column('schema_name')} = %s "  # noqa: S608
        f"AND {column('status')} = 0 ORDER BY {column('inserted_at')} DESC, {column('load_id')} DESC"
    )
    try:
        rows = client.sql_client.execute_sql(query, name)
        stored = client.get_stored_schema_by_hash(rows[0][0]) if rows else None
    except DestinationUndefinedEntity:
        return None
    return Schema.from_dict(json.loads(stored.schema)) if stored else None


def _meaning(column: TColumnSchema) -> tuple[object, ...]:
    """What two loads must agree on about a column that both add."""
    return tuple(column.get(hint) for hint in ("data_type", "variant", FIELD_HINT))


def _missing(client: Any, local: Schema, dropped: Collection[str]) -> list[TTableSchema]:
    """The tables and columns that the local schema lacks, that another load has loaded, and that are there."""
    loaded = loaded_schema(client, local.name)
    if loaded is None:
        return []
    missing: dict[str, set[str]] = {}
    for name in loaded.tables.keys() - set(dropped):
        known = local.tables[name]["columns"] if name in local.tables else {}
        if columns := loaded.tables[name]["columns"].keys() - known.keys():
            missing[name] = columns
    there = dict(client.get_storage_tables(missing)) if missing else {}
    tables: list[TTableSchema] = []
    for name, columns in missing.items():
        table = loaded.tables[name]
        if found := {column: table["columns"][column] for column in columns if column in there[name]}:
            tables.append({**({"name": name} if name in local.tables else table), "columns": found})
    return tables


def _take_over(tables: Iterable[TTableSchema], schema: Schema) -> None:
    for table in tables:
        schema.update_table(deepcopy(table), normalize_identifiers=False)


def _is_lost(client: Any, schema: Schema, table: str) -> bool:
    """Whether a table was loaded of which nothing is there."""
    if not _is_loaded(schema, table) or not isinstance(client, SqlJobClientBase):
        return False
    ((_, columns),) = client.get_storage_tables([table])
    return not columns or not _has_rows(client, table)


def _is_loaded(schema: Schema, table: str) -> bool:
    return table in schema.tables and has_table_seen_data(schema.tables[table])


def _has_rows(client: SqlJobClientBase, table: str) -> bool:
    """Whether a table has rows, or may have some that this user must not read; to load it will show."""
    top, limit = client.sql_client._limit_clause_sql(1)
    # dlt quotes the name
    query = f"SELECT {top} 1 FROM {client.sql_client.make_qualified_table_name(table)} {limit}"  # noqa: S608
    try:
        return bool(client.sql_client.execute_sql(query))
    except DatabaseException as error:
        log.info("%s cannot be read (%s)", table, cause_of(error))
        return True


def resource_states(pipeline: dlt.Pipeline) -> Mapping[str, dict[str, Any]]:
    """The state of each resource of the source."""
    sources: dict[str, Any] = dict(pipeline.state.get("sources", {}))
    states: dict[str, dict[str, Any]] = sources.get(SECTION, {}).get("resources", {})
    return states


def inspect_tables(
    pipeline: dlt.Pipeline, tables: Iterable[str]
) -> tuple[set[str], Mapping[str, ChangedDestinationError]]:
    """Look for tables that do not hold what schema and state say.

    Args:
        pipeline: With the destination's state and schema.
        tables: Names of resources.

    Returns:
        Those to read anew, because there is no row that their state could describe; and those that miss a table or a
        column that was loaded, as after a change by hand.
    """
    schema = pipeline.default_schema if pipeline.default_schema_name else Schema(SECTION)
    states = resource_states(pipeline)
    void = {name for name in tables if states.get(name) and name not in schema.tables}
    changed: dict[str, ChangedDestinationError] = {}
    members = {
        name: [member for member in (name, *NESTED.get(name, ())) if _is_loaded(schema, member)] for name in tables
    }
    wanted = [member for names in members.values() for member in names]
    if not wanted:
        return void, changed
    with pipeline.destination_client() as client:
        if not isinstance(client, SqlJobClientBase):
            return void, changed
        there = dict(client.get_storage_tables(wanted))
        if _drop_unmade(client, schema, there):
            pipeline.schemas.save_schema(schema)
        for name, names in members.items():
            if error := _missing_there(client, schema, name, names, there):
                changed[name] = error
            elif name in names and states.get(name) and not _has_rows(client, name):
                void.add(name)
    return void, changed


def _drop_unmade(client: SqlJobClientBase, schema: Schema, there: Mapping[str, Any]) -> bool:
    """Drop the columns from a schema that are not there and that no package was loaded with; whether there are some.

    A full refresh that is killed before it drops its table leaves such a schema, which a lost folder gets back.
    """
    missing = {name: _absent(client, schema, name, columns) for name, columns in there.items() if columns}
    loaded = loaded_schema(client, schema.name) if any(missing.values()) else None
    if loaded is None:
        return False
    unmade = [
        (name, column)
        for name, columns in missing.items()
        for column in columns
        if column not in loaded.tables.get(name, {}).get("columns", {})
    ]
    for name, column in unmade:
        del schema.tables[name]["columns"][column]
    return bool(unmade)


def _absent(client: SqlJobClientBase, schema: Schema, table: str, there: TTableSchemaColumns) -> list[str]:
    """The columns of a table that are not at the destination."""
    is_exact = client.capabilities.generates_case_sensitive_identifiers()
    return [str(column["name"]) for column in schema.get_new_table_columns(table, there, is_exact)]


def _missing_there(
    client: SqlJobClientBase, schema: Schema, name: str, members: Collection[str], there: Mapping[str, Any]
) -> ChangedDestinationError | None:
    if tables := [member for member in members if not there[member]]:
        return ChangedDestinationError(name, tables, columns=False)
    columns = [column for member in members for column in _absent(client, schema, member, there[member])]
    return ChangedDestinationError(name, columns, columns=True) if columns else None
