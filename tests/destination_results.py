"""What the tests of destinations saw, as JSON in the file that `DESTINATION_RESULTS` names; nothing without it.

A plugin of pytest: where several processes run the tests, it is the one that hears of all results that writes the file.
For each destination: how each table was merged, and the outcome of each scenario, with the reason of a skip.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

RESULTS = "DESTINATION_RESULTS"

_seen: dict[str, dict[str, Any]] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    noted = dict(report.user_properties)
    if "destination" not in noted or (report.when != "call" and report.passed):
        return
    seen = _seen.setdefault(noted["destination"], {"outcomes": {}, "strategies": {}})
    scenario = report.nodeid.rpartition("::test_")[2].partition("[")[0]
    seen["outcomes"][scenario] = f"skipped: {report.longrepr[2]}" if report.skipped else report.outcome
    seen["strategies"] |= noted.get("strategies", {})


def pytest_sessionfinish(session: pytest.Session) -> None:
    if RESULTS in os.environ and not hasattr(session.config, "workerinput"):
        Path(os.environ[RESULTS]).write_text(json.dumps(_seen, indent=2, sort_keys=True) + "\n", encoding="utf-8")
