"""What it costs to keep personal data out of `email_events`: rows a second with and without the privacy settings.

The same invented csv.gz files are loaded into DuckDB as they are, with the addresses hashed, and with
`privacy = "strict"`, each in a process of its own and in turn.

Exit status 1: a load left another number of rows than there are, or an address in its database.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import dlt
import duckdb
from event_files import write_files

from ometria_source import ometria_source

# dlt's settings that come with the project.
SETTINGS = Path(__file__).parents[1] / ".dlt"

SALT = "an invented salt"
WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "hash email": {"hash_columns": ["email_events.email"], "pii_salt": SALT},
    "strict": {"privacy": "strict", "pii_salt": SALT},
}
KEYS = {"declared": ["event_id"], "hash": None}
TABLE = "email_events"
HEADER = ("key", "privacy", "seconds", "rows/s", "cost")
FORMAT = "{:<8}  {:<10}  {:>7}  {:>8}  {:>6}  {}"


def load(way: str, key: str, folder: str) -> tuple[float, int, int]:
    """Load files in the current folder.

    Args:
        way: One of `WAYS`.
        key: One of `KEYS`.
        folder: Where the files are.

    Returns:
        Seconds from before the listing to after the merge, rows, and rows that hold an address.
    """
    pipeline = dlt.pipeline(
        TABLE,
        destination=dlt.destinations.duckdb(f"{TABLE}.duckdb"),
        dataset_name="ometria",
        pipelines_dir=str(Path.cwd() / "pipelines"),
    )
    source = ometria_source(bucket_url=folder, file_glob="**/*.csv*", email_events_key=KEYS[key], **WAYS[way])
    began = time.monotonic()
    pipeline.run(source.with_resources(TABLE), loader_file_format="parquet")
    seconds = time.monotonic() - began
    with duckdb.connect(f"{TABLE}.duckdb", read_only=True) as database:
        rows = database.table(f"ometria.{TABLE}")
        return seconds, rows.count("*").fetchall()[0][0], rows.filter("email LIKE '%@%'").count("*").fetchall()[0][0]


def measure(way: str, key: str, folder: Path) -> tuple[float, int, int]:
    """`load` in a process and a folder of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--load", way, key, str(folder)]
    with tempfile.TemporaryDirectory() as workspace:
        shutil.copytree(SETTINGS, Path(workspace) / SETTINGS.name, ignore=shutil.ignore_patterns("secrets.toml"))
        result = subprocess.run(  # noqa: S603  this benchmark's own program
            command, cwd=workspace, capture_output=True, text=True, check=False
        )
    if result.returncode:
        raise SystemExit(f"{way} failed:\n{result.stderr}")
    seconds, rows, with_address = json.loads(result.stdout.splitlines()[-1])
    return seconds, rows, with_address


def main(arguments: list[str]) -> int:
    """Run the benchmark.

    Args:
        arguments: The flags.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="in all files (default 1000000)")
    parser.add_argument("--files", type=int, default=20, help="how many files (default 20)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, of which the median counts (default 3)")
    parser.add_argument("--load", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.load:
        # dlt reports how it is used, over the network: a benchmark sends nothing
        os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
        print(json.dumps(load(*chosen.load)))
        return 0
    is_right = True
    with tempfile.TemporaryDirectory() as folder:
        distinct = write_files(Path(folder), chosen.rows, chosen.files)
        print(f"{chosen.rows:,} invented rows, {distinct:,} of them different, in {chosen.files} files")
        print(FORMAT.format(*HEADER, ""))
        for key in KEYS:
            # in turn, because a machine that others use too is faster in one minute than in the next
            runs = [{way: measure(way, key, Path(folder)) for way in WAYS} for _ in range(chosen.repeats)]
            plain = median(run["as it is"][0] for run in runs)
            for way, settings in WAYS.items():
                seconds = median(run[way][0] for run in runs)
                faults = {run[way][1:] for run in runs} - {(distinct, 0 if settings else distinct)}
                is_right &= not faults
                cost = f"{1 - plain / seconds:.0%}" if settings else ""
                cells = (f"{seconds:.1f}", f"{chosen.rows / seconds:,.0f}", cost)
                print(FORMAT.format(key, way, *cells, f"rows, rows with an address: {faults}" if faults else ""))
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
