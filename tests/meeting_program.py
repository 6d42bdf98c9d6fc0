"""Run a program of this project, which meets others like it where processes that share a dataset can fail each other.

    python meeting_program.py PORT PROGRAM [the program's flags]

There are two such places in dlt: between its look for the dataset and its making of it, and between its look for the
tables and their making. At each, for the first time, the process tells whoever listens on PORT that it has come, and
goes on when it gets an answer. Loads into PostgreSQL lock the dataset, and would not meet; here they have no lock, as
at other destinations.
"""

from __future__ import annotations

import runpy
import socket
import sys
from contextlib import nullcontext

from dlt.destinations.job_client_impl import SqlJobClientBase

from ometria_source.loading import destinations


def meet_after(name: str, port: int) -> None:
    method, met = getattr(SqlJobClientBase, name), []

    def look_then_meet(client, *arguments, **options):
        seen = method(client, *arguments, **options)
        if not met:
            met.append(name)
            # of a generator: what it found by now
            seen = seen if isinstance(seen, bool) else list(seen)
            with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
                line.sendall(name.encode() + b"\n")
                assert line.recv(1)
        return seen

    setattr(SqlJobClientBase, name, look_then_meet)


def main() -> None:
    port, *sys.argv = sys.argv[1:]
    for name in ("is_storage_initialized", "get_storage_tables"):
        meet_after(name, int(port))
    destinations.dataset_lock = lambda _: nullcontext()
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
