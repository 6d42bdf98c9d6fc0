"""dlt's own command line on a pipeline of ours: the real command, as a user types it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import shop_truth
import truth
from warm_python import warm_python

pytestmark = pytest.mark.slow

DLT = Path(sys.executable).parent / "dlt"


@pytest.fixture
def dlt_command(workspace) -> Callable[..., str]:
    """Run `dlt pipeline ometria_pipeline …` in the current folder."""

    def run(*words: str) -> str:
        command = [*warm_python(), str(DLT), "-y", "pipeline", "ometria_pipeline", *words]
        result = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


def test_info_trace_and_the_diagram_of_the_relations(ometria, export, load, dlt_command):
    load()
    assert "ometria_pipeline" in dlt_command("info")
    trace = dlt_command("trace")
    assert "email_events" in trace
    diagram = dlt_command("schema", "--format", "mermaid")
    assert "erDiagram" in diagram
    relations = [line.split(":")[0].split() for line in diagram.splitlines() if "--" in line]
    pairs = {(words[0], words[-1]) for words in relations}
    assert {("member_lists", "lists"), ("member_lists", "profiles"), ("unsubscribes", "profiles")} <= pairs


@pytest.mark.parametrize("table", ["unsubscribes", "email_events", "profiles", "lists", "member_lists"])
def test_a_dropped_table_is_reloaded_whole_by_the_next_run(
    account, ometria, export, load, warehouse, dlt_command, table
):
    load()
    dlt_command("drop", table)
    assert table not in warehouse.tables()
    load()
    truth.assert_equal(warehouse, account)


def test_a_table_is_dropped_with_those_that_come_with_it(account, ometria, load, warehouse, dlt_command):
    tables = {"orders", "order_line_items", "order_line_item_options"}
    load("--tables", "orders")
    diagram = dlt_command("schema", "--format", "mermaid")
    assert tables <= {word for line in diagram.splitlines() for word in line.split()}
    dlt_command("drop", "orders")
    assert not tables & warehouse.tables()
    load("--tables", "orders")
    shop_truth.assert_tables(warehouse, account, tables)
