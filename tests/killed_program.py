"""Run a program of this project, and kill it at the n-th moment of a phase.

    python killed_program.py PHASE NUMBER PROGRAM [the program's flags]

What is real: the process, its threads, its files, its connections and its database, and the end: SIGKILL, which no code
of the process sees. What is driven: which moment it comes at, so that a seed finds it again.

A moment is what the program is about to do to the outside: open, make, rename or remove a file below one of the
`WATCHED_FOLDERS`, or send a request (Python's audit events), or run a statement of SQL or commit (two moments each,
before and after). The phases are `open` and `restore` before anything is read, dlt's `extract`, `normalize` and `load`,
then `report`; `abort` is dlt's command of that name. Two more lie across these. `moved`: the moment that follows the
n-th move of a whole package. `commit`: DuckDB has written n bytes of its log, so that it is in the midst of a
transaction's commit; a thread watches the file's size. Where the destination is not DuckDB, `SQL_CLIENT` names dlt's
class that talks to it.

`KILLED_BY` names another signal than SIGKILL, which the program can hear.

With the number 0 nothing is killed, and the number of moments of each phase is printed as the last line of stderr.
"""

from __future__ import annotations

import json
import os
import pkgutil
import runpy
import signal
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import dlt

SQL_CLIENT = "dlt.destinations.impl.duckdb.sql_client:DuckDbSqlClient"
FILE_EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.truncate", "shutil.rmtree"}
PACKAGE_FOLDERS = {"extracted", "normalized", "loaded"}

# The outermost of these is the phase: an abort of packages calls `load`.
STEPS = {
    "sync_destination": "restore",
    "extract": "extract",
    "normalize": "normalize",
    "load": "load",
    "abort_packages": "abort",
}


class Driver:
    """Counts moments, and kills this process at the one that was asked for."""

    def __init__(self, phase: str, number: int, folders: tuple[str, ...]) -> None:
        self.phase, self.number, self.folders = phase, number, folders
        self.now_in = "open"
        self.moments = Counter({"commit": 0})
        self._package_was_moved = False

    def install(self) -> None:
        sys.addaudithook(self._heard)
        for name, phase in STEPS.items():
            setattr(dlt.Pipeline, name, self._step(getattr(dlt.Pipeline, name), phase))
        client_class = pkgutil.resolve_name(os.environ.get("SQL_CLIENT", SQL_CLIENT))
        execute, commit = client_class.execute_query, client_class.commit_transaction

        @contextmanager
        def execute_query(client, *arguments, **options):
            self._moment()
            with execute(client, *arguments, **options) as cursor:
                self._moment()
                yield cursor

        def commit_transaction(client):
            self._moment()
            commit(client)
            self._moment()

        client_class.execute_query = execute_query
        client_class.commit_transaction = commit_transaction
        if self.phase == "commit" or not self.number:
            threading.Thread(target=self._watch_log, daemon=True).start()

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "http.client.send":
            self._moment()
        elif event in FILE_EVENTS and isinstance(path := arguments[0], str):
            # a path that is not absolute is within a folder that is being removed
            if path.startswith(self.folders) or not path.startswith("/"):
                self._moment()
            if event == "os.rename" and Path(str(arguments[1])).parent.name in PACKAGE_FOLDERS:
                self._package_was_moved = True

    def _step(self, step, phase: str):
        def in_phase(*arguments, **options):
            if self.now_in in STEPS.values():
                return step(*arguments, **options)
            self.now_in = phase
            try:
                return step(*arguments, **options)
            finally:
                self.now_in = "report"

        return in_phase

    def _moment(self) -> None:
        self._count(self.now_in)
        if self._package_was_moved:
            self._package_was_moved = False
            self._count("moved")

    def _count(self, phase: str, number: int = 1) -> None:
        self.moments[phase] += number
        if phase == self.phase and 0 < self.number <= self.moments[phase]:
            self.number = 0
            os.kill(os.getpid(), signal.Signals[os.environ.get("KILLED_BY", "SIGKILL")])

    def _watch_log(self) -> None:
        log, size = Path("ometria_pipeline.duckdb.wal"), 0
        while True:
            try:
                now = log.stat().st_size
            except FileNotFoundError:
                now = 0
            if now > size:
                self._count("commit", now - size)
            size = now


def main() -> None:
    phase, number, *sys.argv = sys.argv[1:]
    driver = Driver(phase, int(number), tuple(os.environ["WATCHED_FOLDERS"].split(os.pathsep)))
    driver.install()
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        print(json.dumps(driver.moments), file=sys.stderr)


if __name__ == "__main__":
    main()
