"""The benchmarks run and print their figures. What the figures are is for a quiet machine to say, not for a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run_benchmark(name: str, *flags: str) -> str:
    command = [sys.executable, str(BENCHMARKS / name), *flags]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def figures(out: str) -> dict[str, dict[str, str]]:
    """The lines of the table of `api_pace.py` by reader; columns are two spaces apart."""
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in out.splitlines()]
    header = next(cells for cells in lines if cells[:1] == ["latency"])
    return {cells[1]: dict(zip(header, cells, strict=False)) for cells in lines if cells[:1] == ["0.05 s"]}


def test_ours_loses_nothing_where_the_others_lose_rows():
    flags = "--pages 12 --other-pages 8 --requests-per-deletion 5 --latencies 0.05 --jitter 0"
    found = figures(run_benchmark("api_pace.py", *flags.split()))
    assert set(found) == {"ometria_source", "loop with sleep(0.3)", "dlt OffsetPaginator"}
    assert [reader for reader, cells in found.items() if cells["lost"] == "0"] == ["ometria_source"]


def test_the_million_profiles_are_counted_and_weighed():
    out = run_benchmark("million_profiles.py", "--profiles", "3000")
    for name in ("after 300 rows", "after 3,000 rows", "growth", "extraction", "normalize", "load"):
        assert name in out
    assert out.splitlines()[-1].split()[-1] == "3,000"


def test_every_loader_of_the_export_leaves_the_same_rows():
    flags = "--rows 5000 --files 3 --repeats 1 --tiny-files 20"
    out = run_benchmark("export_speed.py", *flags.split(), "--places", "folder")
    out += run_benchmark("export_speed.py", *flags.split(), "--places", "s3", "--only-ours")
    lines = [line.split() for line in out.splitlines()]
    found = {tuple(cells[:3]) for cells in lines if cells[:1] in (["folder"], ["s3"])}
    loaders = ("ometria_source", "read_csv", "read_csv_duckdb", "DuckDB")
    keys = ("declared", "hash")
    assert found == {
        *(("folder", key, name) for key in keys for name in loaders),
        *(("s3", key, "ometria_source") for key in keys),
    }
    assert "instead of" not in out
    assert "20 files of one row" in out


def test_the_cost_of_privacy_is_printed_for_each_way():
    out = run_benchmark("privacy_cost.py", "--rows", "2000", "--files", "2", "--repeats", "1")
    lines = [line.split() for line in out.splitlines()]
    found = {tuple(cells[:2]) for cells in lines if cells[:1] in (["declared"], ["hash"])}
    assert found == {(key, way) for key in ("declared", "hash") for way in ("as", "hash", "strict")}
    assert "with an address" not in out
