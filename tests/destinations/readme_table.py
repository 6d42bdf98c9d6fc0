"""Write the table of destinations in README.md from what the tests of destinations saw.

    python tests/destinations/readme_table.py results.json README.md [--check]

With `--check` nothing is written: it fails when the table is not that of the results, or when a scenario did not pass.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGIN = "<!-- destinations: written by tests/destinations/readme_table.py -->\n"
END = "<!-- end of destinations -->\n"

SCENARIOS = ("first_load", "no_op", "changes", "deletes", "late_file", "schema_change", "crash_and_rerun")

SNAPSHOTS = ("profiles", "lists", "member_lists")
LOGS = ("unsubscribes", "email_events")


@dataclass(frozen=True)
class Row:
    """What is written by hand about a destination.

    Attributes:
        key: Its name in the results.
        title: As in dlt's documentation.
        flag: What `--destination` takes, with what else it needs.
        settings: Below `destination.<name>`, or where it says.
        package: What to install.
        how: What ran; empty where nothing did.
    """

    key: str
    title: str
    flag: str
    settings: str
    package: str
    how: str = ""


ROWS = (
    Row("duckdb", "DuckDB", "duckdb", "none", "nothing", "itself"),
    Row("postgres", "PostgreSQL", "postgres", "`credentials`", "ometria-source[postgres]", "a server of its own"),
    Row("sqlalchemy", "SQLite", "sqlalchemy", '`credentials = "sqlite:///…"`', "dlt[sqlalchemy]", "itself"),
    Row(
        "snowflake",
        "Snowflake",
        "snowflake",
        "[its own](docs/destinations.md#snowflake)",
        "ometria-source[snowflake]",
        "an emulator",
    ),
    Row("delta", "Delta Lake", "filesystem --table-format delta", "`bucket_url`", "dlt[deltalake]", "local files"),
    Row(
        "iceberg",
        "Iceberg",
        "filesystem --table-format iceberg",
        "`bucket_url`, and `iceberg_catalog`",
        "dlt[pyiceberg]",
        "local files, a catalogue in SQLite",
    ),
    Row("bigquery", "BigQuery", "bigquery", "`credentials`", "dlt[bigquery]"),
    Row("databricks", "Databricks", "databricks", "`credentials`", "dlt[databricks]"),
    Row("redshift", "Redshift", "redshift", "`credentials`", "dlt[redshift]"),
    Row("motherduck", "MotherDuck", "motherduck", "`credentials`", "dlt[motherduck]"),
    Row("ducklake", "DuckLake", "ducklake", "`credentials`", "dlt[ducklake]"),
    Row("clickhouse", "ClickHouse", "clickhouse", "`credentials`", "dlt[clickhouse]"),
    Row("dremio", "Dremio", "dremio", "`credentials`", "dlt[dremio]"),
    Row("mssql", "SQL Server", "mssql", "`credentials`", "dlt[mssql]"),
    Row("synapse", "Synapse", "synapse", "`credentials`", "dlt[synapse]"),
    Row("fabric", "Fabric", "fabric", "`credentials`", "dlt[fabric]"),
)


def table(results: dict[str, Any]) -> str:
    """The table of these results."""
    lines = [
        "| destination | `--destination` | what is known | snapshots | logs | settings | install |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        seen = results.get(row.key, {"outcomes": {}, "strategies": {}})
        cells = (
            row.title,
            f"`{row.flag}`",
            _known(row, seen["outcomes"]),
            _strategy(seen["strategies"], SNAPSHOTS),
            _strategy(seen["strategies"], LOGS),
            row.settings,
            row.package if row.package == "nothing" else f"`{row.package}`",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _known(row: Row, outcomes: dict[str, str]) -> str:
    passed = {name for name, outcome in outcomes.items() if outcome == "passed"}
    if row.how and passed >= set(SCENARIOS):
        return f"proven here: {row.how}"
    if not row.how and "resolves" in passed:
        return "resolves offline"
    return "untested"


def _strategy(strategies: dict[str, str | None], tables: tuple[str, ...]) -> str:
    used = {strategies[name] for name in tables if name in strategies}
    return ", ".join(f"`{name}`" for name in sorted(map(str, used))) or "refused"


def failures(results: dict[str, Any]) -> list[str]:
    """What did not pass, or did not run."""
    found = {
        (row.title, scenario): results.get(row.key, {}).get("outcomes", {}).get(scenario, "did not run")
        for row in ROWS
        for scenario in (SCENARIOS if row.how else ("resolves",))
    }
    return [f"{title}, {scenario}: {outcome}" for (title, scenario), outcome in found.items() if outcome != "passed"]


def main() -> int:
    """Write or check; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("readme", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    results = json.loads(options.results.read_text(encoding="utf-8"))
    readme = options.readme.read_text(encoding="utf-8")
    before, _, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        print(f"{options.readme} lacks the lines between which the table belongs.", file=sys.stderr)
        return 1
    current = f"{before}{BEGIN}{table(results)}{END}{after}"
    if not options.check:
        options.readme.write_text(current, encoding="utf-8")
        return 0
    problems = failures(results)
    if current != readme:
        problems.append(f"The table in {options.readme} is not that of the results: write it with this script.")
    print("\n".join(problems), file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
