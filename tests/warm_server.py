"""Fork a process for each program that a relay asks for.

    python warm_server.py LISTENER

LISTENER is the number of an open socket. The server ends when its standard input does.

For each connection there is a supervisor, whose child is the program: it passes signals on, reports the exit status,
and kills the program when the relay was killed. The program sees a process that has done nothing but import. Imports
may leave no thread: a fork has none of them, and a fork that waits for one waits for ever, or aborts the process.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import time
from pathlib import Path

import duckdb
import fast_dlt

# What a load and dlt's commands import, sooner or later.
MODULES = [
    "dlt.destinations.impl.duckdb.duck",
    "dlt.destinations.impl.postgres.postgres",
    "ometria_source.cli.demo",
    "ometria_source.cli.program",
    "pyarrow.csv",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "s3fs",
]


def main() -> None:
    for name in MODULES:
        importlib.import_module(name)
    fast_dlt.install()
    # which has a thread
    duckdb.default_connection().close()
    # what is never collected is never written to, and stays shared with the programs
    gc.collect()
    gc.freeze()
    # supervisors are not waited for
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(fileno=int(sys.argv[1]))
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if listener not in ready:
            return
        relay, _ = listener.accept()
        if not os.fork():
            listener.close()
            break
        relay.close()
    supervise(relay)


def supervise(relay: socket.socket) -> None:
    """Run the program that a relay asks for; returns in the program, as its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, descriptors, _, _ = socket.recv_fds(relay, 4, 3)
    with relay.makefile("rb") as stream:
        arguments, folder, environment = json.loads(stream.read(int.from_bytes(length, "big")))
    if not (program := os.fork()):
        relay.close()
        run(arguments, folder, environment, descriptors)
        return
    for number in (0, 1, 2, *descriptors):
        os.close(number)
    end = os.pidfd_open(program)
    while end not in select.select([end, relay], [], [])[0]:
        # a relay that was killed takes its program with it
        for number in relay.recv(16) or [signal.SIGKILL]:
            os.kill(program, number)
    status = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    try:
        relay.send(str(status).encode())
    finally:
        os._exit(0)


def run(arguments: list[str], folder: str, environment: dict[str, str], descriptors: list[int]) -> None:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # which of them is a terminal is found out anew
    streams = [open(number, mode, closefd=False) for number, mode in enumerate("rww")]  # noqa: SIM115  for good
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__ = streams
    sys.stderr.reconfigure(errors="backslashreplace", line_buffering=True)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    duckdb.set_default_connection(duckdb.connect())
    sys.argv = arguments
    modules = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:1] = [str(Path(arguments[0]).parent), *(path for path in modules if path not in sys.path)]
    runpy.run_path(arguments[0], run_name="__main__")


main()
