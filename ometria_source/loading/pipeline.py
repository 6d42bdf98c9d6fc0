"""The pipeline's working folder: one run at a time, and only with state that belongs to what the destination holds.

dlt keeps a pipeline's state (watermarks, cursors, schema) in a local folder and, with the data, at the destination. The
local copy is dropped, and dlt restores the destination's, when it belongs to another pipeline target than the one named
now, when it cannot be read, or when it may describe rows that were never loaded. Packages that are pending are dropped
with it: their state was not stored either, so the next run to that target reads the same again. (An interrupted `dlt
pipeline … drop` is undone like this.)

A new target is opened first: where it does not answer, the folder stays as it is.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import dlt
from dlt.common.configuration import with_config
from dlt.common.destination.client import WithStateSync
from dlt.common.pipeline import get_dlt_pipelines_dir
from dlt.pipeline.configuration import PipelineConfiguration
from dlt.pipeline.pipeline import Pipeline
from filelock import FileLock, Timeout

from ometria_source.exceptions import InvalidSettingError, RunInProgressError
from ometria_source.loading.destinations import check_dataset, connect, create_pipeline, stored_state
from ometria_source.loading.packages import are_whole, pending_packages, states_around
from ometria_source.loading.shared_machine import check_owner, make_private
from ometria_source.loading.stored import loaded_schema
from ometria_source.sync.destination import TARGET, check_working_folder, target_of

log = logging.getLogger(__name__)

# A folder of this name must lie beside the others.
NAME = re.compile(r"[A-Za-z][\w.-]*", re.ASCII)

# What dlt keeps in a working folder (dlt 1.31).
DLT_NAMES = {"state.json", "trace.pickle", "schemas", "extract", "normalize", "load"}

ELSEWHERE = "The local state belongs to another destination, dataset or current folder"
UNKNOWN = "The local state, made by another program, does not say to which destination it belongs"
UNREADABLE = "The local state cannot be read"
CHANGED = "Another load has given a column to another field"
INCONSISTENT = "The local state, or a pending package, does not follow from what the destination holds"


def pipeline_folder(pipeline_name: str, pipelines_dir: str | None = None) -> Path:
    """The working folder of a pipeline.

    Args:
        pipeline_name: Its name.
        pipelines_dir: The folder of all working folders; None: dlt's setting of this name, else dlt's default.

    Raises:
        InvalidSettingError: The name cannot be that of a folder.
    """
    if not NAME.fullmatch(pipeline_name):
        raise InvalidSettingError(
            "pipeline_name", "must be made of letters, digits, `_`, `-` and `.`, and begin with none but a letter."
        )
    return Path(pipelines_dir or _configured_dir(pipeline_name) or get_dlt_pipelines_dir()) / pipeline_name


@with_config(spec=PipelineConfiguration, sections=("pipelines",), section_arg_name="pipeline_name")
def _configured_dir(pipeline_name: str, pipelines_dir: str | None = None) -> str | None:  # noqa: ARG001  dlt reads it
    return pipelines_dir


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a pipeline's working folder; the system lets go of it when the process dies.

    Args:
        folder: As `pipeline_folder` gives it.

    Raises:
        RunInProgressError: Another run holds it.
        ForeignFileError: It is another user's.
        InvalidSettingError: It holds something else than dlt's files, which dlt would delete.
    """
    check_owner(folder)
    _check_contents(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InvalidSettingError("pipelines_dir", "leads to a file: name a folder.") from None
    lock = FileLock(folder.with_name(f"{folder.name}.lock"), blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise RunInProgressError(folder.name) from None
    try:
        yield
    finally:
        lock.release()


def _check_contents(folder: Path) -> None:
    """Refuse a folder with other files than dlt's: where dlt finds no state, it deletes all that is there."""
    if folder.exists() and not (folder / Pipeline.STATE_FILE).exists():
        others = sorted({path.name for path in folder.iterdir()} - DLT_NAMES) if folder.is_dir() else [folder.name]
        if others:
            raise InvalidSettingError(
                "pipelines_dir",
                f"leads to `{folder}`, which has files in it that are not dlt's. Name another folder, or another "
                "`pipeline_name`.",
            )


def open_pipeline(folder: Path, destination: str, dataset: str) -> dlt.Pipeline:
    """The pipeline, with local state only of the named target.

    Args:
        folder: Its working folder.
        destination: Name of a dlt destination, which dlt knows.
        dataset: Name of the dataset.

    Raises:
        InvalidSettingError: The destination cannot hold this dataset.
        Exception: As the destination's driver, where the local state belongs to another target and this one does not
            answer.
    """
    check_dataset(folder.name, destination, dataset)
    known = _known_target(folder)
    # in a folder of its own: dlt writes the new target into the state as soon as it opens a pipeline
    with TemporaryDirectory() as elsewhere:
        probe = create_pipeline(folder.name, destination, dataset, pipelines_dir=elsewhere)
        target = target_of(probe)
        if known != target and folder.exists():
            connect(probe)
            _forget(folder, ELSEWHERE if known else UNKNOWN)
    pipeline = create_pipeline(folder.name, destination, dataset, pipelines_dir=str(folder.parent))
    check_working_folder(pipeline)
    make_private(folder)
    pipeline.set_local_state_val(TARGET, target)
    return pipeline


def drop_inconsistent_state(pipeline: dlt.Pipeline) -> None:
    """Drop local state, and packages, that do not go on from the state at the destination.

    Args:
        pipeline: As `open_pipeline` gave it.
    """
    if not _is_consistent(pipeline):
        _drop_local_state(pipeline, INCONSISTENT)


def restore_from_destination(pipeline: dlt.Pipeline) -> None:
    """Take the destination's state and schema for the local ones.

    Args:
        pipeline: As `open_pipeline` gave it; packages that are pending are dropped.
    """
    name = pipeline.default_schema_name
    _drop_local_state(pipeline, CHANGED)
    pipeline.sync_destination()
    if name and not pipeline.default_schema_name:
        # dlt looks for a schema where a pipeline of this name has left state
        with pipeline.destination_client() as client:
            schema = loaded_schema(client, name)
        if schema is not None:
            pipeline._inject_schema(schema)


def _drop_local_state(pipeline: dlt.Pipeline, reason: str) -> None:
    target = pipeline.get_local_state_val(TARGET)
    _forget(Path(pipeline.working_dir), reason)
    pipeline.drop()
    make_private(Path(pipeline.working_dir))
    pipeline.set_local_state_val(TARGET, target)


def _known_target(folder: Path) -> list[str]:
    """The target that the local state belongs to; empty where there is no state, or none that says so.

    State that cannot be read, as after a power failure, is dropped.
    """
    path = folder / Pipeline.STATE_FILE
    if not path.exists():
        return []
    try:
        state, *_ = [json.loads(file.read_text(encoding="utf-8")) for file in (path, *folder.glob("schemas/*.json"))]
        return list(state["_local"].get(TARGET, []))
    except (ValueError, TypeError, LookupError, AttributeError):
        _forget(folder, UNREADABLE)
        return []


def _is_consistent(pipeline: dlt.Pipeline) -> bool:
    """Whether the local state, or the first of the packages that are pending, follows from the destination's state."""
    with pipeline.destination_client() as client:
        if not isinstance(client, WithStateSync) or not pipeline.config.restore_from_destination:
            # no state is kept there, by which to judge this one
            return are_whole(pipeline)
        stored = stored_state(client, pipeline.pipeline_name)
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


def _forget(folder: Path, reason: str) -> None:
    if folder.exists():
        log.warning("%s. It is dropped; the destination's is taken, and what that does not cover is read again", reason)
        # first of all: state that outlives its packages would describe rows that were never loaded
        (folder / Pipeline.STATE_FILE).unlink(missing_ok=True)
        shutil.rmtree(folder)
