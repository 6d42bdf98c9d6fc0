"""A machine for the tests of crash safety: a place where the program runs, and is killed, on a changing account."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from conftest import Warehouse
from warm_python import warm_python

from ometria_source.simulator import SimulatedAccount, SimulatedOmetria

PROGRAM = Path(__file__).parents[1] / "pipelines" / "ometria_pipeline.py"
DLT = Path(sys.executable).parent / "dlt"
KILLED_PROGRAM = Path(__file__).parent / "killed_program.py"

# The same account for every test: what was loaded of it once is copied.
NOW = datetime.now(timezone.utc) - timedelta(hours=2)


@dataclass
class Machine:
    """A machine on which the program runs: its working folder, its database, and the export.

    Its folder has the same path in every test of a process, because the local state knows the path of the database.
    """

    folder: Path
    ometria: SimulatedOmetria

    @property
    def account(self) -> SimulatedAccount:
        return self.ometria.account

    @property
    def pipeline(self) -> Path:
        return self.folder / "dlt" / "pipelines" / "ometria_pipeline"

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(self.folder / "workspace" / "ometria_pipeline.duckdb")

    def become(self, copy: Path | None) -> None:
        """Be new, or as it was when a copy was made; the account has not changed since."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if copy is None:
            (self.folder / "workspace").mkdir(parents=True)
        else:
            shutil.copytree(copy, self.folder)
        os.chdir(self.folder / "workspace")
        self.ometria.account = SimulatedAccount.invent(now=NOW)
        self.account.write_export(self.folder / "export")

    def copy(self, name: str) -> Path:
        copy = self.folder.parent / name
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder, copy)
        return copy

    def change(self) -> None:
        """Let everything happen that can happen to an account; another time it happens to other people."""
        account, export = self.account, self.folder / "export"
        account.advance(timedelta(minutes=5))
        people, lists = list(account.profiles), list(account.lists)
        account.update_profile(people[20], name="Changed Name")
        account.erase_profile(people[10])
        account.erase_profile(people[-1])
        account.join(lists[0], account.add_profile(name="Newa Comer"))
        account.join(lists[1], people[30])
        account.leave(lists[0], account.members[lists[0]][0])
        account.empty_list(lists[2])
        account.delete_list(lists[3])
        account.add_list("A new list", members=people[40:45])
        account.unsubscribe(people[50])
        account.unsubscribe(people[51], at=account.now - timedelta(hours=30))
        account.add_events(8)
        account.write_export(export)
        account.add_events(3, at=account.now - timedelta(days=3))
        account.write_export(export, modified_at=account.now - timedelta(hours=30))

    def run(self, *command: object, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*warm_python(), *map(str, command)],
            cwd=self.folder / "workspace",
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=False,
        )

    def load(self, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the real program, which must succeed."""
        result = self.run(PROGRAM, **settings)
        assert result.returncode == 0, (result.stdout, result.stderr)
        assert "Traceback" not in result.stderr
        return result

    def kill(self, phase: str, number: int, *flags: str, program: Path = PROGRAM, **settings: str) -> None:
        """Run a program that is killed at the n-th moment of a phase."""
        result = self.run(KILLED_PROGRAM, phase, number, program, *flags, **settings)
        assert result.returncode == -signal.SIGKILL, (phase, number, result.stdout, result.stderr)

    def moments(self, *flags: str, **settings: str) -> dict[str, int]:
        """Run the program to its end, and count the moments of each phase."""
        result = self.run(KILLED_PROGRAM, "-", 0, PROGRAM, *flags, **settings)
        assert result.returncode == 0, (result.stdout, result.stderr)
        counted: dict[str, int] = json.loads(result.stderr.splitlines()[-1])
        return counted
