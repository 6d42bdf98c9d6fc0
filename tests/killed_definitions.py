"""`pipelines/dagster_definitions.py`, whose workers are each killed once, at a moment that `KILLED_AT` names.

A worker is known by the process that started it, which starts the next one after it.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import dagster
from killed_program import Driver

import ometria_source

DEFINITIONS = Path(__file__).parents[1] / "pipelines" / "dagster_definitions.py"

_retry_policy, _load = dagster.RetryPolicy, ometria_source.load


def _killed_once(*arguments, **options):
    killed = Path(os.environ["DAGSTER_HOME"]) / f"killed_{os.getppid()}"
    if not killed.exists():
        killed.touch()
        phase, number = os.environ["KILLED_AT"].split()
        Driver(phase, int(number), tuple(os.environ["WATCHED_FOLDERS"].split(os.pathsep))).install()
    return _load(*arguments, **options)


ometria_source.load = _killed_once
# a test does not wait for minutes
dagster.RetryPolicy = lambda max_retries, **_: _retry_policy(max_retries=max_retries)

spec = importlib.util.spec_from_file_location("dagster_definitions", DEFINITIONS)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
defs = module.defs
