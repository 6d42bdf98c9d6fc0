"""The pipeline's working folder: one run at a time, and never with the state of another destination or dataset.

dlt keeps a pipeline's state (watermarks, cursors, schema) in a local folder and, with the data, at the destination. The
local copy belongs to the place that the last run loaded into. When that is not the place named now, the copy is dropped
and dlt restores the right one. A package that was still pending there is dropped with it: its state was not stored
either, so the next run to that place reads the same again.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dlt
from dlt.common.destination.exceptions import UnknownDestinationModule
from dlt.common.pipeline import get_dlt_pipelines_dir
from filelock import FileLock, Timeout

from ometria_source.exceptions import InvalidSettingError, RunInProgressError

log = logging.getLogger(__name__)

# Where the local state keeps the place that it belongs to: destination, dataset, current folder (which has DuckDB's
# file), location. dlt does not store this key at the destination.
PLACE = "ometria_place"


@contextmanager
def working_folder(pipeline_name: str) -> Iterator[None]:
    """Hold the pipeline's working folder; the system lets go of it when the process dies.

    Args:
        pipeline_name: Whose folder.

    Raises:
        RunInProgressError: Another run holds it.
    """
    folder = Path(get_dlt_pipelines_dir())
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{pipeline_name}.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise RunInProgressError(pipeline_name) from None
    try:
        yield
    finally:
        lock.release()


def open_pipeline(pipeline_name: str, destination: str, dataset: str) -> dlt.Pipeline:
    """The pipeline, with local state only of the named place.

    Args:
        pipeline_name: Its name.
        destination: Name of a dlt destination.
        dataset: Name of the dataset.

    Raises:
        InvalidSettingError: dlt knows no such destination, or it cannot hold this dataset.
    """
    if destination == "duckdb" and dataset == pipeline_name:
        # DuckDB names a database after its file: with both alike, every query would be ambiguous
        raise InvalidSettingError("--dataset", f"cannot be `{dataset}`, which is the name of the DuckDB database.")
    here = str(Path(dlt.current.run_context().local_dir).absolute())
    place = [destination, dataset, here]
    known = _known_place(pipeline_name)
    if known[: len(place)] != place:
        _forget(pipeline_name)
    pipeline = _create_pipeline(pipeline_name, destination, dataset)
    location = str(pipeline.destination_client().config)
    if known[: len(place)] == place and known != [*place, location]:
        _forget(pipeline_name)
        pipeline = _create_pipeline(pipeline_name, destination, dataset)
    pipeline.set_local_state_val(PLACE, [*place, location])
    return pipeline


def _create_pipeline(pipeline_name: str, destination: str, dataset: str) -> dlt.Pipeline:
    try:
        pipeline = dlt.pipeline(pipeline_name, destination=destination, dataset_name=dataset)
        pipeline.destination.capabilities()
    except UnknownDestinationModule:
        raise InvalidSettingError(
            "--destination", f"`{destination}` is not known to dlt; name one such as duckdb, snowflake or postgres."
        ) from None
    return pipeline


def _known_place(pipeline_name: str) -> list[str]:
    """The place that the local state belongs to; empty where there is no state, or none that says so."""
    path = Path(get_dlt_pipelines_dir()) / pipeline_name / "state.json"
    state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    place: list[str] = state.get("_local", {}).get(PLACE, [])
    return place


def _forget(pipeline_name: str) -> None:
    folder = Path(get_dlt_pipelines_dir()) / pipeline_name
    if folder.exists():
        log.warning("The local state belongs to another destination or dataset; it is restored from the one named now")
        shutil.rmtree(folder)
