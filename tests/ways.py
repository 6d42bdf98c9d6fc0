"""Both ways of a careful load, by the program and by `load()`, and what a destination may do to one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dlt
import duckdb
import pytest
from conftest import Run, Warehouse
from dlt.common.destination.exceptions import DestinationTerminalException
from dlt.destinations.impl.duckdb.duck import DuckDbClient

from ometria_source import ConfigurationError, LoadInterruptedError, load


@dataclass
class Way:
    """One of both ways to load tables. A call returns the error of each that failed, and of all of them as "run"."""

    name: str
    run: Callable[..., Run]
    monkeypatch: pytest.MonkeyPatch

    def __call__(
        self,
        tables: str,
        *,
        full_refresh: bool = False,
        destination: str = "duckdb",
        dataset: str = "ometria",
        **settings: Any,
    ) -> dict[str, str]:
        if self.name == "program":
            flags = ["--destination", destination, "--dataset", dataset, *(["--full-refresh"] if full_refresh else [])]
            return self._by_program(tables, flags, settings)
        options = {"full_refresh": full_refresh, "destination": destination, "dataset": dataset}
        return self._by_load(tables, options, settings)

    def _by_program(self, tables: str, flags: list[str], settings: dict[str, Any]) -> dict[str, str]:
        with self.monkeypatch.context() as patch_settings:
            for name, value in settings.items():
                text = value if isinstance(value, str) else str(value).replace("'", '"')
                patch_settings.setenv(f"SOURCES__OMETRIA__{name.upper()}", text)
            result = self.run("--tables", tables, *flags)
        lines = result.out.splitlines()
        errors = {
            name: line for name in tables.split(",") for line in lines if line.startswith(f"{name} was not loaded.")
        }
        if result.status and not errors:
            errors["run"] = result.err or lines[-1]
        assert bool(result.status) == bool(errors), result
        return errors

    def _by_load(self, tables: str, options: dict[str, Any], settings: dict[str, Any]) -> dict[str, str]:
        try:
            report = load(tables.split(","), **options, **settings)
        except ConfigurationError as error:
            return {"run": str(error)}
        except LoadInterruptedError as interrupted:
            return {"run": str(interrupted.report.error)}
        errors = {name: table.error for name, table in report.tables.items() if table.error}
        if report.error:
            errors["run"] = report.error
        assert report.ok == (not errors)
        return errors


# the program is a thin layer over the function
@pytest.fixture(params=["load", pytest.param("program", marks=pytest.mark.slow)])
def go(request: pytest.FixtureRequest, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> Way:
    """Load tables, by each way in turn."""
    return Way(request.param, run, monkeypatch)


def at_destination(warehouse: Warehouse, *statements: str) -> None:
    """Change a DuckDB destination by hand."""
    with duckdb.connect(str(warehouse.path)) as connection:
        for statement in statements:
            connection.execute(statement)


@contextmanager
def refusing(step: str, table: str) -> Iterator[None]:
    """A destination that refuses one step of the load of a table."""
    real = getattr(DuckDbClient, step)

    def refuse(client: Any, *arguments: Any, **options: Any) -> Any:
        if any(table in str(argument) for argument in (*arguments, *options.values())):
            raise DestinationTerminalException("no")
        return real(client, *arguments, **options)

    with patch.object(DuckDbClient, step, refuse):
        yield


def assert_restored_schema_is_local(tmp_path: Path) -> None:
    """What a fresh working folder gets is what the present one has."""
    local = dlt.attach("ometria_pipeline")
    fresh = dlt.pipeline(
        "ometria_pipeline", destination="duckdb", dataset_name="ometria", pipelines_dir=str(tmp_path / "fresh")
    )
    fresh.sync_destination()
    assert fresh.default_schema.stored_version_hash == local.default_schema.stored_version_hash
    assert fresh.state["_version_hash"] == local.state["_version_hash"]
