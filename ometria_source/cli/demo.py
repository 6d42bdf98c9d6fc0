"""`--demo`: load a simulated account, change it, load it again, and ask the tables three questions.

Everything happens on this machine: the account is a server on loopback and a folder of files, and its data is invented.
Pipeline, database and state bear names of their own, so that they never meet an account's.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb

from ometria_source.cli.console import show
from ometria_source.loading import LoadReport, load
from ometria_source.loading.pipeline import held, pipeline_folder
from ometria_source.loading.plan import TABLES
from ometria_source.simulator import SimulatedAccount, SimulatedOmetria

DEMO_PIPELINE_NAME = "ometria_demo"

# The simulated account has no other users who would need the rate, and a demo should be short.
REQUESTS_PER_SECOND = 50.0

# What passes in the account between the two loads.
PAUSE = timedelta(hours=1)

# The same account every time, with a history that ends today.
SEED = 1

QUERIES = {
    "Growth by list: members, and how many of them are new since 30 days": """
SELECT l.title AS list, l.type, count(m.profile_id) AS members,
       count(*) FILTER (WHERE p.dates__acquired > now() - INTERVAL 30 DAY) AS new_since_30_days
FROM ometria.lists AS l
LEFT JOIN ometria.member_lists AS m USING (list_id)
LEFT JOIN ometria.profiles AS p USING (profile_id)
GROUP BY ALL ORDER BY members DESC, list""",
    "Opens and clicks by campaign (the export's column names are a guess of the simulation)": """
SELECT campaign_title AS campaign,
       count(DISTINCT send_id) FILTER (WHERE event_type = 'send') AS sent,
       count(DISTINCT send_id) FILTER (WHERE event_type = 'open') AS opened,
       count(DISTINCT send_id) FILTER (WHERE event_type = 'click') AS clicked
FROM ometria.email_events
GROUP BY ALL ORDER BY sent DESC, campaign""",
    "Unsubscribes by reason": """
SELECT coalesce(reason, '(none given)') AS reason, count(*) AS unsubscribes, max("timestamp")::DATE AS latest
FROM ometria.unsubscribes
GROUP BY ALL ORDER BY unsubscribes DESC, reason""",
}


def run_demo() -> int:
    """Run the demo.

    Returns:
        The exit status of the worse of its two loads.
    """
    # dlt reports how it is used, over the network; a demo that promises none sends nothing
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
    # an hour ago, so that the hour by which the account moves on does not lie in the future
    account = SimulatedAccount.invent(seed=SEED, now=datetime.now(timezone.utc) - PAUSE)
    show("This is a simulated Ometria account. All people, e-mails and campaigns in it are invented.")
    _forget_earlier_demo()
    with SimulatedOmetria(account) as ometria, _empty_folder() as folder:
        export = Path(folder)
        account.write_export(export)

        show("\n1. Everything is loaded:\n")
        first = _load(ometria, export)

        show("\n2. The account changes: " + _change(account, export) + ".")
        show("   It is loaded again, and only what changed is read:\n")
        second = _load(ometria, export)
    _answer_questions()
    show(f"\nThe tables are in {DEMO_PIPELINE_NAME}.duckdb. To load your own account, see README.md.")
    return max(first.exit_status, second.exit_status)


def _empty_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="simulated_ometria_export_")


def _forget_earlier_demo() -> None:
    """Begin anew: each demo's account is invented from today's date on."""
    folder = pipeline_folder(DEMO_PIPELINE_NAME)
    with held(folder):
        shutil.rmtree(folder, ignore_errors=True)
        for ending in ("", ".wal"):
            Path(f"{DEMO_PIPELINE_NAME}.duckdb{ending}").unlink(missing_ok=True)


def _load(ometria: SimulatedOmetria, export: Path) -> LoadReport:
    """Load the simulated account; every setting that could lead elsewhere is given."""
    report = load(
        TABLES,
        pipeline_name=DEMO_PIPELINE_NAME,
        progress="bar" if sys.stderr.isatty() else "log",
        api_key=ometria.api_key,
        base_url=ometria.base_url,
        requests_per_second=REQUESTS_PER_SECOND,
        start_date=None,
        end_date=None,
        full_scan_days=1,
        member_lists_from="auto",
        bucket_url=export.as_uri(),
        credentials=None,
        file_glob="**",
        file_format=None,
        csv_delimiter=None,
        csv_encoding=None,
        email_events_key=None,
        email_events_columns=None,
        on_bad_file="fail",
        allow_deletes=False,
        hash_columns=None,
        drop_columns=None,
        keep_columns=None,
        pii_salt=None,
        privacy=None,
        table_format=None,
        schema_contract="evolve",
        spread_properties=None,
        deletes="hard",
        history=None,
    )
    show("\n".join(report.lines()))
    return report


def _change(account: SimulatedAccount, export: Path) -> str:
    """Change the account, and say how."""
    ids = list(account.profiles)
    lists = list(account.lists)
    account.advance(PAUSE)
    account.update_profile(ids[1], lifecycle_status="active")
    newcomer = account.add_profile(name="Newa Comer", firstname="Newa", lastname="Comer")
    account.join(lists[0], newcomer)
    account.empty_list(lists[1])
    account.unsubscribe(ids[2], reason="Too many e-mails")
    account.add_events(25)
    account.write_export(export)
    return "a profile is updated, one joins a list, a list is emptied, somebody unsubscribes, a file of events arrives"


def _answer_questions() -> None:
    with duckdb.connect(f"{DEMO_PIPELINE_NAME}.duckdb", read_only=True) as database:
        for title, query in QUERIES.items():
            show(f"\n{title}:\n{query}\n")
            show(str(database.sql(query)))
