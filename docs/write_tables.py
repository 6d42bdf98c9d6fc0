"""Write docs/tables.md from the code: tables, keys, columns, relations.

    python docs/write_tables.py [--check]

With `--check` nothing is written: it fails when the file is not what the code says.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from dlt.common.schema.typing import TTableSchema
from dlt.extract.items import TableNameMeta
from written import write_or_check

from ometria_source import ometria_source
from ometria_source.cli.options import TABLES
from ometria_source.tables import DOCUMENTED, PARENTS

PLACE = Path(__file__).with_name("tables.md")

BEGINNING = """# Tables

<!-- written by docs/write_tables.py from the code; checked by tests/test_docs.py -->

The columns that are documented, or known from other integrations; where one is not from Ometria's own documentation,
its description says from where. Each exists also where an account never fills it. Fields that an account has besides
become columns too, and every table has dlt's `_dlt_load_id` and `_dlt_id`. Types are dlt's: `text`, `bigint`, `double`,
`bool`, `timestamp` (UTC), `date`, `json`.

The first five are loaded by default. The others are loaded when they are named: `--tables orders,contacts`, or
`--tables all`.
"""


def _lines() -> Iterator[str]:
    schemas = {name: _schema(name) for name in DOCUMENTED}
    yield BEGINNING
    yield "## Relations\n"
    yield "```mermaid\nerDiagram"
    for name, schema in schemas.items():
        for reference in schema.get("references") or ():
            columns = ", ".join(reference["columns"])
            yield f'    {reference["referenced_table"]} ||--o{{ {name} : "{columns}"'
    yield "```"
    for name, schema in schemas.items():
        yield f"\n## `{name}`\n"
        yield _what(name)
        keys = [f"`{column}`" for column, hints in schema["columns"].items() if hints.get("primary_key")]
        yield f"Key: {', '.join(keys)}.\n"
        yield "| column | type | |\n|---|---|---|"
        for column, hints in DOCUMENTED[name].items():
            yield f"| `{column}` | {hints['data_type']} | {hints['description']} |"


def _what(name: str) -> str:
    """What a module says of its table, in its first sentence."""
    if name in PARENTS:
        return f"Comes with [`{PARENTS[name]}`](#{PARENTS[name]}), and cannot be selected by itself.\n"
    first = str(import_module(f"ometria_source.tables.{name}").__doc__).splitlines()[0].rstrip(".")
    meaning = first.partition(": ")[2]
    when = "Loaded by default." if name in TABLES else f"Loaded with `--tables {name}`."
    return f"{meaning[0].upper()}{meaning[1:]}. {when}\n"


def _schema(name: str) -> TTableSchema:
    parent = PARENTS.get(name, name)
    return ometria_source().resources[parent].compute_table_schema(meta=TableNameMeta(name) if parent != name else None)


if __name__ == "__main__":
    sys.exit(write_or_check(__file__, str(__doc__), PLACE, lambda _: "\n".join(_lines()) + "\n"))
