"""Memory and time of loading a million profiles into DuckDB, with the source itself and the limit of the rate raised.

The peak is that of the loading process alone: the simulated account has a process of its own. Extraction must not need
memory for each row that it has read: the peak after the last row is compared with that after 100,000 rows.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import dlt
from served import ServedAccount

from ometria_source import ometria_source
from ometria_source.simulator import Behaviour

# The first reading of the peak, in rows: buffers of fixed size are full by then. A tenth of a smaller account.
FIRST_MARK = 100_000

# ru_maxrss is in KiB, on macOS in bytes.
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024

MIB = 1024 * 1024


def peak() -> int:
    """The largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT


class RowCounter:
    """A step of the resource that lets every row pass, and prints the peak at some of them.

    Args:
        marks: Numbers of rows.

    Attributes:
        rows: Rows that have passed.
        peaks: The peak in bytes by mark.
    """

    def __init__(self, *marks: int) -> None:
        self.rows = 0
        self.peaks: dict[int, int] = {}
        self._marks = frozenset(marks)

    def __call__(self, row: object) -> object:
        """Count a row."""
        self.rows += 1
        if self.rows in self._marks:
            self.peaks[self.rows] = peak()
            print(f"{f'after {self.rows:,} rows':<24} {peak() / MIB:9.1f} MiB peak", flush=True)
        return row


def load(served: ServedAccount, profiles: int, rate: float, folder: Path) -> None:
    """Load the table `profiles` as the program does, and print what it took.

    Args:
        served: Where to read.
        profiles: How many there are.
        rate: Requests a second.
        folder: For the database and dlt's working folder.
    """
    pipeline = dlt.pipeline(
        "million_profiles",
        destination=dlt.destinations.duckdb(str(folder / "million_profiles.duckdb")),
        dataset_name="ometria",
        pipelines_dir=str(folder / "pipelines"),
    )
    source = ometria_source(
        api_key=dlt.TSecretStrValue(served.api_key), base_url=served.base_url, requests_per_second=rate
    ).with_resources("profiles")
    first = min(FIRST_MARK, max(1, profiles // 10))
    counter = RowCounter(first, profiles)
    source.resources["profiles"].add_map(counter)
    print(f"{'before':<24} {peak() / MIB:9.1f} MiB peak", flush=True)
    began = time.monotonic()
    pipeline.extract(source, loader_file_format="parquet")
    seconds = time.monotonic() - began
    growth = (counter.peaks[profiles] - counter.peaks[first]) / (profiles - first)
    print(f"{'growth':<24} {growth:9.1f} bytes per row")
    print(f"{'extraction':<24} {seconds:9.1f} s, {peak() / MIB:.1f} MiB peak", flush=True)
    for name, step in (("normalize", pipeline.normalize), ("load", pipeline.load)):
        began = time.monotonic()
        step()
        print(f"{name:<24} {time.monotonic() - began:9.1f} s, {peak() / MIB:.1f} MiB peak", flush=True)
    with pipeline.sql_client() as client:
        rows_now = client.execute_sql("SELECT count(*) FROM profiles") or [(0,)]
    print(f"{'rows in the table':<24} {rows_now[0][0]:9,}")


def main(arguments: list[str]) -> int:
    """Run the benchmark.

    Args:
        arguments: The flags.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--profiles", type=int, default=1_000_000, help="how many to load (default 1000000)")
    parser.add_argument("--rate", type=float, default=1000.0, help="requests a second (default 1000)")
    chosen = parser.parse_args(arguments)
    # dlt reports how it is used, over the network: a benchmark sends nothing
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    print(f"{chosen.profiles:,} invented profiles; at most {chosen.rate:g} requests a second", flush=True)
    with tempfile.TemporaryDirectory() as folder, ServedAccount(chosen.profiles, Behaviour()) as served:
        load(served, chosen.profiles, chosen.rate, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
