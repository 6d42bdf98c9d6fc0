"""How much of the account's rate a complete load of everything uses, from its first request to its last.

The program loads `--tables all` of an invented account into DuckDB, set to the limit that the server allows. Printed
are requests, seconds and the share of the limit, of all tables together and of each.

Exit status 1: the load failed, or its share is not counted, because a request was refused.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path

from large_account import API_KEY, LargeAccount, Sizes

ROOT = Path(__file__).parents[1]
FORMAT = "{:<24}  {:>8}  {:>8}  {:>7}  {:>5}"


def share(times: list[float], allowed: int) -> float:
    """Requests a second between the first and the last, over what is allowed."""
    return (len(times) - 1) / (times[-1] - times[0]) / allowed


def main(arguments: list[str]) -> int:
    """Run the benchmark.

    Args:
        arguments: The flags.

    Returns:
        The exit status.
    """
    sizes = Sizes()
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    for name, size in vars(sizes).items():
        parser.add_argument(f"--{name}", type=int, default=size, help=f"default: {size}")
    parser.add_argument("--allowed", type=int, default=4, help="requests a second (default 4)")
    parser.add_argument("--latency", type=float, default=0.3, help="seconds (default 0.3)")
    chosen = parser.parse_args(arguments)
    sizes = Sizes(**{name: getattr(chosen, name) for name in vars(sizes)})
    with LargeAccount(sizes, chosen.allowed, chosen.latency) as account, tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / ".dlt", Path(folder) / ".dlt", ignore=shutil.ignore_patterns("secrets.toml"))
        settings = {
            "SOURCES__OMETRIA__BASE_URL": account.base_url,
            "SOURCES__OMETRIA__API_KEY": API_KEY,
            "SOURCES__OMETRIA__REQUESTS_PER_SECOND": str(chosen.allowed),
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "DLT_DATA_DIR": str(Path(folder) / "dlt"),
        }
        began = time.monotonic()
        result = subprocess.run(  # noqa: S603  this project's own program
            [sys.executable, str(ROOT / "pipelines" / "ometria_pipeline.py"), "--tables", "all"],
            cwd=folder,
            env={**os.environ, **settings},
            check=False,
        )
        seconds = time.monotonic() - began
        arrivals = account.arrivals()
    refused = sum(status == 429 for _, status, _ in arrivals)
    print(FORMAT.format("path", "requests", "seconds", "share", "429s"))
    for path, group in groupby(arrivals, key=lambda arrival: "/" + arrival[2].split("/")[1]):
        times = [at for at, _, _ in group]
        if len(times) > 10:
            cells = (f"{len(times):,}", f"{times[-1] - times[0]:.0f}", f"{share(times, chosen.allowed):.1%}", "")
            print(FORMAT.format(path, *cells))
    times = [at for at, _, _ in arrivals]
    cells = (f"{len(times):,}", f"{times[-1] - times[0]:.0f}", f"{share(times, chosen.allowed):.1%}", str(refused))
    print(FORMAT.format("all", *cells))
    print(f"With the merge into DuckDB: {seconds:.0f} s")
    return 1 if result.returncode or refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
