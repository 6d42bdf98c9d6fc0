"""Destinations that nobody can start here: key, way of merging and types resolve, and that is all that is known."""

from __future__ import annotations

import pytest
import sqlglot
from dlt.common.destination import Destination

from destinations.places import merge_strategies
from ometria_source import ometria_source
from ometria_source.cli.options import TABLES

# not slow, but one run has to see all that README.md says of destinations
pytestmark = pytest.mark.slow

# Those of dlt's that merge by SQL; none needs its driver for this. The others are those of test_scenarios.py, and
# those that the program refuses.
NAMES = [
    "bigquery",
    "clickhouse",
    "databricks",
    "dremio",
    "ducklake",
    "fabric",
    "motherduck",
    "mssql",
    "redshift",
    "synapse",
]


@pytest.mark.parametrize("name", NAMES)
def test_resolves(name, request):
    request.node.user_properties.append(("destination", name))
    capabilities = Destination.from_reference(name).capabilities()
    strategies = merge_strategies(capabilities)
    request.node.user_properties.append(("strategies", strategies))
    assert set(strategies.values()) == {"delete-insert"}

    mapper = capabilities.get_type_mapper()
    for table_name in TABLES:
        table = ometria_source().resources[table_name].compute_table_schema()
        columns = table["columns"].values()
        key = [column["name"] for column in columns if column.get("primary_key")]
        assert key
        for column in columns:
            if "data_type" in column:
                assert mapper.to_destination_type(column, table)
        for clause in (table.get("x-merge-source-filter"), table.get("x-merge-destination-scope")):
            if clause:
                query = f"SELECT 1 FROM t WHERE {clause.format(staging_table='staging')}"
                assert sqlglot.parse_one(query, dialect=capabilities.sqlglot_dialect)
