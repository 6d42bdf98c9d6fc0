"""The pipeline's working folder: one run at a time, and only with state that belongs to what the destination holds.

dlt keeps a pipeline's state (watermarks, cursors, schema) in a local folder and, with the data, at the destination. The
local copy is dropped, and dlt restores the destination's, when it belongs to another place than the one named now, when
it cannot be read, or when it may describe rows that were never loaded. Packages that are pending are dropped with it:
their state was not stored either, so the next run to that place reads the same again. (A `dlt pipeline … drop` that was
broken off is undone like this.)
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dlt
from dlt.common.configuration import with_config
from dlt.common.destination.client import WithStateSync
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.common.pipeline import TPipelineState, get_dlt_pipelines_dir
from dlt.pipeline.configuration import PipelineConfiguration
from dlt.pipeline.pipeline import Pipeline
from dlt.pipeline.state_sync import load_pipeline_state_from_destination
from filelock import FileLock, Timeout

from ometria_source.exceptions import RunInProgressError
from ometria_source.runner.destinations import check_dataset, create_pipeline
from ometria_source.runner.packages import are_whole, pending_packages, states_around

log = logging.getLogger(__name__)

# Where the local state keeps the place that it belongs to: destination, dataset, current folder (which has DuckDB's
# file), location. dlt does not store this key at the destination.
PLACE = "ometria_place"

ELSEWHERE = "The local state belongs to another destination, dataset or current folder"
UNKNOWN = "The local state, made by another program, does not say to which destination it belongs"
UNREADABLE = "The local state cannot be read"
UNFOUNDED = "The local state, or a pending package, does not follow from what the destination holds"


@with_config(spec=PipelineConfiguration, sections=("pipelines",), section_arg_name="pipeline_name")
def pipeline_folder(pipeline_name: str, pipelines_dir: str | None = None) -> Path:
    """The working folder of a pipeline.

    Args:
        pipeline_name: Its name.
        pipelines_dir: dlt's setting of this name, which dlt resolves; None: dlt's default.
    """
    return Path(pipelines_dir or get_dlt_pipelines_dir()) / pipeline_name


@contextmanager
def working_folder(pipeline_name: str) -> Iterator[None]:
    """Hold the pipeline's working folder; the system lets go of it when the process dies.

    Args:
        pipeline_name: Whose folder.

    Raises:
        RunInProgressError: Another run holds it.
    """
    folder = pipeline_folder(pipeline_name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f"{pipeline_name}.lock"), blocking=False)
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
        destination: Name of a dlt destination, which dlt knows.
        dataset: Name of the dataset.

    Raises:
        InvalidSettingError: The destination cannot hold this dataset.
    """
    check_dataset(pipeline_name, destination, dataset)
    here = str(Path(dlt.current.run_context().local_dir).absolute())
    place = [destination, dataset, here]
    known = _known_place(pipeline_name)
    if known[: len(place)] != place:
        _forget(pipeline_name, ELSEWHERE if known else UNKNOWN)
    pipeline = create_pipeline(pipeline_name, destination, dataset)
    location = str(pipeline.destination_client().config)
    if known[: len(place)] == place and known != [*place, location]:
        _forget(pipeline_name, ELSEWHERE)
        pipeline = create_pipeline(pipeline_name, destination, dataset)
    pipeline.set_local_state_val(PLACE, [*place, location])
    return pipeline


def drop_unfounded_state(pipeline: dlt.Pipeline) -> None:
    """Drop local state, and packages, that do not go on from the state at the destination.

    Args:
        pipeline: As `open_pipeline` gave it.
    """
    if _is_founded(pipeline):
        return
    place = pipeline.get_local_state_val(PLACE)
    _forget(pipeline.pipeline_name, UNFOUNDED)
    pipeline.drop()
    pipeline.set_local_state_val(PLACE, place)


def _known_place(pipeline_name: str) -> list[str]:
    """The place that the local state belongs to; empty where there is no state, or none that says so.

    State that cannot be read, as after a power failure, is dropped.
    """
    folder = pipeline_folder(pipeline_name)
    path = folder / Pipeline.STATE_FILE
    if not path.exists():
        return []
    try:
        state, *_ = [json.loads(file.read_text(encoding="utf-8")) for file in (path, *folder.glob("schemas/*.json"))]
        return list(state["_local"].get(PLACE, []))
    except (ValueError, TypeError, LookupError, AttributeError):
        _forget(pipeline_name, UNREADABLE)
        return []


def _is_founded(pipeline: dlt.Pipeline) -> bool:
    """Whether the local state, or the first of the packages that are pending, follows from the destination's state."""
    with pipeline.destination_client() as client:
        if not isinstance(client, WithStateSync) or not pipeline.config.restore_from_destination:
            # no state is kept there, by which to judge this one
            return are_whole(pipeline)
        stored = _stored_state(pipeline.pipeline_name, client)
    packages = pending_packages(pipeline)
    if not packages:
        return pipeline.state["_state_version"] <= (stored["_state_version"] if stored else 0)
    around = states_around(packages[0])
    if around is None or not are_whole(pipeline):
        return False
    before, after = around
    if stored is None:
        return bool(before["_state_version"] == 0)
    return stored["_version_hash"] in (before["_version_hash"], after)


def _stored_state(pipeline_name: str, client: WithStateSync) -> TPipelineState | None:
    """The state at the destination; None where there is none."""
    try:
        return load_pipeline_state_from_destination(pipeline_name, client)
    except DestinationUndefinedEntity:
        return None


def _forget(pipeline_name: str, reason: str) -> None:
    folder = pipeline_folder(pipeline_name)
    if folder.exists():
        log.warning("%s. It is dropped; the destination's is taken, and what that does not cover is read again", reason)
        # first of all: state that outlives its packages would describe rows that were never loaded
        (folder / Pipeline.STATE_FILE).unlink(missing_ok=True)
        shutil.rmtree(folder)
