"""The pipeline's working folder: one run at a time, and only with state that belongs to what the destination holds.

dlt keeps a pipeline's state (watermarks, cursors, schema) in a local folder and, with the data, at the destination. The
local copy is dropped, and dlt restores the destination's, when it belongs to another place than the one named now, when
it cannot be read, or when it describes rows that are in no package and were never loaded. A package that is still
pending there is dropped with it: its state was not stored either, so the next run to that place reads the same again.
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
from dlt.common.storages import LoadStorage, PackageStorage
from dlt.pipeline.pipeline import Pipeline
from filelock import FileLock, Timeout

from ometria_source.exceptions import InvalidSettingError, RunInProgressError
from ometria_source.runner.packages import has_packages

log = logging.getLogger(__name__)

# Where the local state keeps the place that it belongs to: destination, dataset, current folder (which has DuckDB's
# file), location. dlt does not store this key at the destination.
PLACE = "ometria_place"

# Where it keeps the version of the state that was loaded last, beside the place.
LOADED = "ometria_loaded"

ELSEWHERE = "The local state belongs to another destination or dataset"


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
        _forget(pipeline_name, ELSEWHERE)
    pipeline = _create_pipeline(pipeline_name, destination, dataset)
    location = str(pipeline.destination_client().config)
    if known[: len(place)] == place and known != [*place, location]:
        _forget(pipeline_name, ELSEWHERE)
        pipeline = _create_pipeline(pipeline_name, destination, dataset)
    elif _is_ahead(pipeline):
        _forget(pipeline_name, "The local state may describe rows that were never loaded")
        pipeline = _create_pipeline(pipeline_name, destination, dataset)
    pipeline.set_local_state_val(PLACE, [*place, location])
    return pipeline


def restore_state(pipeline: dlt.Pipeline) -> None:
    """Take the destination's state and schema where they are newer; begin anew where its dataset is gone.

    Args:
        pipeline: As `open_pipeline` gave it.
    """
    local: dict[str, Any] = dict(pipeline.state["_local"])
    pipeline.sync_destination()
    # for a dataset that is gone, dlt wipes the whole folder
    if PLACE in local:
        pipeline.set_local_state_val(PLACE, local[PLACE])


def mark_loaded(pipeline: dlt.Pipeline) -> None:
    """Note that the local state describes nothing but what is loaded."""
    pipeline.set_local_state_val(LOADED, pipeline.state.get("_version_hash"))


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
    """The place that the local state belongs to; empty where there is no state, or none that says so.

    State that cannot be read, as after a power failure, is dropped.
    """
    folder = Path(get_dlt_pipelines_dir()) / pipeline_name
    path = folder / Pipeline.STATE_FILE
    if not path.exists():
        return []
    try:
        state, *_ = [json.loads(file.read_text(encoding="utf-8")) for file in (path, *folder.glob("schemas/*.json"))]
        return list(state["_local"].get(PLACE, []))
    except (ValueError, TypeError, LookupError, AttributeError):
        _forget(pipeline_name, "The local state cannot be read")
        return []


def _is_ahead(pipeline: dlt.Pipeline) -> bool:
    """Whether the local state is neither what was loaded last nor on its way in packages."""
    normalized = Path(pipeline.working_dir) / "load" / LoadStorage.NORMALIZED_FOLDER
    markers = normalized.glob(f"*/{PackageStorage.PACKAGE_COMPLETED_FILE_NAME}")
    if any(marker.read_text(encoding="utf-8") == "aborted" for marker in markers):
        return True
    loaded = pipeline.state["_local"].get(LOADED)
    return loaded is not None and loaded != pipeline.state.get("_version_hash") and not has_packages(pipeline)


def _forget(pipeline_name: str, reason: str) -> None:
    folder = Path(get_dlt_pipelines_dir()) / pipeline_name
    if folder.exists():
        log.warning("%s; it is restored from the destination", reason)
        # first of all: state that outlives its packages would describe rows that were never loaded
        (folder / Pipeline.STATE_FILE).unlink(missing_ok=True)
        shutil.rmtree(folder)
