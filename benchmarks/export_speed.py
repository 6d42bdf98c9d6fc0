"""How fast the files of an export are loaded, beside what a user would write instead.

`email_events` of this project, dlt's stock `read_csv` and `read_csv_duckdb`, and DuckDB without dlt load the same
invented csv.gz files into DuckDB and merge them: from a folder and from an S3 server on loopback, with a declared key
and with a hash over all cells. Each run is a process of its own, and the loaders take turns. Then this project
alone meets many tiny files for a second time: with nothing new, a run must be short.

Exit status 1: a loader left another number of rows than there are.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median

from event_files import write_files, write_tiny_files
from event_loaders import LOADERS, Figures, Place

# the S3 server is the one of the tests
sys.path.append(str(Path(__file__).parents[1] / "tests"))
from s3_servers import BUCKET, OWNER, REGION, client, seaweedfs

OURS = "ometria_source"

# dlt's settings that come with the project; all of dlt's loaders get them.
SETTINGS = Path(__file__).parents[1] / ".dlt"
PLACES = ("folder", "s3")
KEYS = ("declared", "hash")
MIB = 1 << 20

HEADER = ("place", "key", "loader", "seconds", "rows/s", "ratio", "cpu s", "MiB reading", "MiB", "again", "")
FORMAT = "{:<6}  {:<8}  {:<15}  {:>7}  {:>8}  {:>6}  {:>6}  {:>11}  {:>6}  {:>6}  {}"


def run_loader(name: str, place: Place, has_key: bool) -> Figures:
    """Run one of the loaders in a process and a folder of its own.

    Args:
        name: One of `LOADERS`.
        place: Where the files are.
        has_key: Whether the key is declared.
    """
    program = Path(__file__).with_name("event_loaders.py")
    command = [sys.executable, str(program), name, json.dumps(asdict(place)), json.dumps(has_key)]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(SETTINGS, Path(folder) / SETTINGS.name, ignore=shutil.ignore_patterns("secrets.toml"))
        result = subprocess.run(  # noqa: S603  this benchmark's own program
            command, cwd=folder, capture_output=True, text=True, check=False
        )
    if result.returncode:
        raise SystemExit(f"{name} failed:\n{result.stderr}")
    return Figures(**json.loads(result.stdout.splitlines()[-1]))


def typical(runs: list[Figures]) -> Figures:
    """The run with the median time."""
    middle = median(sorted(run.seconds for run in runs)[: len(runs) - (len(runs) + 1) % 2])
    return next(run for run in runs if run.seconds == middle)


def compare(label: str, place: Place, key: str, rows: int, distinct: int, repeats: int) -> bool:
    """Run all loaders on the same files, and print a line for each; whether each left the right number of rows.

    Args:
        label: Of the place.
        place: Where the files are.
        key: One of `KEYS`.
        rows: In the files.
        distinct: How many of them differ.
        repeats: Runs of each loader but `read_csv`, which takes so long that a single one says enough.
    """
    runs: dict[str, list[Figures]] = {name: [] for name in LOADERS}
    # in turn, because a machine that others use too is faster in one minute than in the next
    for number in range(repeats):
        for name in LOADERS:
            if number == 0 or name != "read_csv":
                runs[name].append(run_loader(name, place, key == "declared"))
    found = {name: typical(figures) for name, figures in runs.items()}
    for name, figures in found.items():
        is_right = figures.rows == distinct
        reading = "" if figures.peak_reading is None else f"{figures.peak_reading / MIB:,.0f}"
        again = "" if figures.again is None else f"{figures.again:.2f}"
        cells = (
            f"{figures.seconds:.1f}",
            f"{rows / figures.seconds:,.0f}",
            "" if name == OURS else f"{figures.seconds / found[OURS].seconds:.2f}",
            f"{figures.processor_seconds:.1f}",
            reading,
            f"{figures.peak / MIB:,.0f}",
            again,
            "" if is_right else f"{figures.rows:,} rows instead of {distinct:,}",
        )
        print(FORMAT.format(label, key, name, *cells), flush=True)
    return all(figures.rows == distinct for figures in found.values())


@contextmanager
def bucket_of(folder: Path) -> Iterator[Place]:
    """An S3 server on loopback that holds the files of a folder."""
    with tempfile.TemporaryDirectory() as data, seaweedfs(Path(data)) as endpoint:
        store = client(endpoint)
        for path in sorted(folder.iterdir()):
            store.upload_file(str(path), BUCKET, f"export/{path.name}")
        yield Place(f"s3://{BUCKET}/export", endpoint, OWNER.access_key, OWNER.secret_key, REGION)


def compare_places(folder: Path, places: list[str], keys: list[str], rows: int, distinct: int, repeats: int) -> bool:
    """Compare at each place and with each key; whether all numbers of rows are right."""
    print(FORMAT.format(*HEADER), flush=True)
    all_right = True
    for label in places:
        for key in keys:
            if label == "folder":
                all_right &= compare(label, Place(str(folder)), key, rows, distinct, repeats)
                continue
            # a server of its own for each, so that none finds it warm
            with bucket_of(folder) as place:
                all_right &= compare(label, place, key, rows, distinct, repeats)
    return all_right


def meet_again(files: int, folder: Path) -> bool:
    """Load many tiny files twice, and print how long the second run took; whether all rows are there.

    Args:
        files: How many.
        folder: Where to write them.
    """
    write_tiny_files(folder, files)
    figures = run_loader(OURS, Place(str(folder)), True)
    print(f"{files:,} files of one row: first run {figures.seconds:.1f} s, second {figures.again:.2f} s", flush=True)
    return figures.rows == files


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
    parser.add_argument("--repeats", type=int, default=3, help="runs of each but read_csv, of which the median counts")
    parser.add_argument("--places", nargs="+", choices=PLACES, default=list(PLACES))
    parser.add_argument("--keys", nargs="+", choices=KEYS, default=list(KEYS))
    parser.add_argument("--only-ours", action="store_true", help="leave the comparison with the others out")
    parser.add_argument("--tiny-files", nargs="*", type=int, default=[1_000, 10_000], help="numbers of files met again")
    chosen = parser.parse_args(arguments)
    if chosen.only_ours:
        for name in set(LOADERS) - {OURS}:
            del LOADERS[name]
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder) / "events"
        distinct = write_files(events, chosen.rows, chosen.files)
        size = sum(path.stat().st_size for path in events.iterdir()) / MIB
        print(f"{chosen.rows:,} invented rows, {distinct:,} of them different, in {chosen.files} files, {size:.0f} MiB")
        is_right = compare_places(events, chosen.places, chosen.keys, chosen.rows, distinct, chosen.repeats)
        for number in chosen.tiny_files:
            is_right &= meet_again(number, Path(folder) / str(number))
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
