"""Store what a released version leaves behind: working folder, database, and the simulated account that it loaded.

    python tests/previous_version/store.py

Run it in a checkout of that version, installed with `pip install -e .`, before the next one changes anything: it writes
`<version>-<commit>.tar.xz` beside this file, from which `test_upgrade.py` continues. All data is invented.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import ometria_source
from ometria_source.simulator import SimulatedAccount, SimulatedOmetria

FOLDER = Path(__file__).parent
CHECKOUT = FOLDER.parents[1]

# What stands in the stored files for the folder in which the version ran.
WORKSPACE = "{workspace}"

NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)

SALT = "an invented salt, long enough for any version"

# Each is a run with these settings, into a workspace of its own.
SCENARIOS: dict[str, dict[str, str]] = {
    "plain": {},
    "hashed": {
        "HASH_COLUMNS": '["*.email", "profiles.phone_number", "email_events.subject"]',
        "DROP_COLUMNS": '["profiles.date_of_birth"]',
        "PII_SALT": SALT,
    },
    "strict": {"PRIVACY": "strict", "PII_SALT": SALT},
}

TABLES = "profiles,lists,member_lists,unsubscribes,email_events,orders"


def make_account() -> SimulatedAccount:
    """An account in which fields clash, so that columns get a number behind their names."""
    account = SimulatedAccount.invent(profiles=30, seed=7, now=NOW)
    ids = list(account.profiles)
    account.update_profile(ids[0], customerId="another customer id", newField="x", **{"new-field": "y"})
    account.events = account.events[:250]
    return account


def write_export(account: SimulatedAccount, folder: Path) -> None:
    """Two files, one of which has a column that the table has by itself."""
    account.write_export(folder)
    clash = folder / "clash.csv"
    clash.write_text("event_key,event_id,userId,user_id\nmine,e-1,a,b\n", encoding="utf-8")
    at = (NOW - timedelta(hours=2)).timestamp()
    os.utime(clash, (at, at))


def as_json(account: SimulatedAccount) -> dict[str, Any]:
    """All that the tests need of an account, whatever the next version's simulator invents."""
    return {
        "now": account.now.isoformat(),
        "profiles": [account.profiles.stored(identifier) for identifier in account.profiles.ids()],
        "lists": account.lists,
        "members": account.members,
        "unsubscribes": account.unsubscribes,
        "events": account.events,
    }


def run_scenario(name: str, folder: Path) -> None:
    """Load the account with one scenario's settings, and leave in `folder` what the version left."""
    account = make_account()
    write_export(account, folder / "export")
    (folder / "account.json").write_text(json.dumps(as_json(account)), encoding="utf-8")
    # the shop is invented from the account when it is first asked for
    with SimulatedOmetria(account) as server:
        settings = {
            "API_KEY": server.api_key,
            "BASE_URL": server.base_url,
            "BUCKET_URL": (folder / "export").as_uri(),
            "REQUESTS_PER_SECOND": "1000",
            **SCENARIOS[name],
        }
        environment = {
            **os.environ,
            **{f"SOURCES__OMETRIA__{key}": value for key, value in settings.items()},
            "DLT_DATA_DIR": str(folder / "dlt"),
            "RUNTIME__DLTHUB_TELEMETRY": "false",
        }
        command = [sys.executable, str(CHECKOUT / "pipelines" / "ometria_pipeline.py"), "--tables", TABLES]
        # two runs, so that the state is that of a pipeline in use
        for _ in range(2):
            subprocess.run(command, cwd=folder, env=environment, check=True)
    pipeline = folder / "dlt" / "pipelines" / "ometria_pipeline"
    # it names the folder, in a pickle; the next run writes its own
    (pipeline / "trace.pickle").unlink()
    shutil.rmtree(pipeline / ".lock", ignore_errors=True)
    for path in folder.rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(str(folder), WORKSPACE), encoding="utf-8")


def main() -> None:
    """Store all scenarios in one archive."""
    if not Path(ometria_source.__file__).is_relative_to(CHECKOUT):
        raise SystemExit("Another checkout is installed: run `pip install -e .` in this one.")
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=CHECKOUT, text=True).strip()
    target = FOLDER / f"{ometria_source.__version__}-{commit}.tar.xz"
    if list(FOLDER.glob(f"{ometria_source.__version__}-*")):
        raise SystemExit(f"What {ometria_source.__version__} left is stored: raise the version first.")
    with tempfile.TemporaryDirectory() as parent:
        for name in SCENARIOS:
            folder = Path(parent) / name
            folder.mkdir()
            run_scenario(name, folder)
        # in one stream: the files of a working folder repeat each other
        with tarfile.open(target, "w:xz", preset=9) as archive:
            archive.add(parent, arcname=".")
    print(f"{target.name}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
