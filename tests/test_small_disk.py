"""A disk that is full or read-only is named, and once there is room the next run loads all. All data is invented.

Only the program sees the disk: it has a mount namespace of its own, for which Linux asks for no privileges.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest
import truth
from machine import PROGRAM

from ometria_source.simulator import SimulatedAccount

# Runs a program on a disk of this size, then once more with room, and copies what it left.
ON_A_SMALL_DISK = """
disk=$1 options=$2 kept=$3; shift 3
mount -t tmpfs -o "mode=700,$options" none "$disk"
case $options in *ro*) ;; *) mkdir "$disk/dlt" ;; esac
"$@" --report before.json
mount -o remount,rw,size=64m none "$disk"
"$@" --report after.json
cp -r "$disk/." "$kept"
"""

FULL = "The disk is full. Make room"
READ_ONLY = "is read-only"


@pytest.fixture
def account() -> SimulatedAccount:
    """The profiles fit into no disk of these tests, together with what else a run writes."""
    return SimulatedAccount.invent(300, now=datetime.now(timezone.utc) - timedelta(hours=1))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs Linux's mount namespaces")
@pytest.mark.parametrize(
    ("holds", "options", "said"),
    [
        pytest.param("dlt", "size=200k", FULL, id="full working folder"),
        pytest.param("database", "size=1m", FULL, id="full database"),
        pytest.param("dlt", "ro", READ_ONLY, id="read-only working folder"),
        pytest.param("database", "ro", READ_ONLY, id="read-only database"),
    ],
)
def test_a_disk_that_is_full_or_read_only_is_named_and_the_next_run_loads_everything(
    account, ometria, warehouse, workspace, tmp_path, monkeypatch, holds, options, said
):
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    kept.mkdir()
    if holds == "dlt":
        monkeypatch.setenv("DLT_DATA_DIR", str(disk / "dlt"))
    else:
        monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(disk / warehouse.path.name))
    program = [sys.executable, str(PROGRAM), "--tables", "profiles,lists,unsubscribes"]
    arguments = ["sh", str(disk), options, str(kept), *program]
    result = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    before = json.loads((workspace / "before.json").read_text(encoding="utf-8"))
    after = json.loads((workspace / "after.json").read_text(encoding="utf-8"))
    assert (before["exit_status"], after["exit_status"]) == (1, 0), result
    assert said in result.stdout + result.stderr
    assert said in json.dumps(before)
    assert "Traceback" not in result.stdout + result.stderr
    if holds == "database":
        shutil.copy(kept / warehouse.path.name, warehouse.path)
    truth.assert_profiles(warehouse, account)
    truth.assert_lists(warehouse, account)
    truth.assert_unsubscribes(warehouse, account)
