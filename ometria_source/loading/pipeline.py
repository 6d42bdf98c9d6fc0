"""The pipeline's working folder: one run at a time, and only with state that belongs to what the destination holds.

dlt keeps a pipeline's state (watermarks, cursors, schema) in a local folder and, with the data, at the destination. The
local copy is dropped, and dlt restores the destination's, when it belongs to another pipeline target than the one named
now, when it cannot be read, or when it may describe rows that were never loaded. Packages that are pending are dropped
with it: their state was not stored either, so the next run to that target reads the same again. (An interrupted `dlt
pipeline … drop` is undone like this.)

dlt moves a package by renaming it, so that it is there whole or not at all; only of one that it deletes can a part be
left. What dlt does in two steps, and a killed process did not finish, is finished here.
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
from dlt.common.configuration import with_config
from dlt.common.destination.client import WithStateSync
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.common.pipeline import TPipelineState, get_dlt_pipelines_dir
from dlt.common.storages import LoadStorage, NormalizeStorage, PackageStorage
from dlt.pipeline.configuration import PipelineConfiguration
from dlt.pipeline.pipeline import Pipeline
from dlt.pipeline.state_sync import load_pipeline_state_from_destination
from filelock import FileLock, Timeout

from ometria_source.exceptions import RunInProgressError
from ometria_source.loading.destinations import check_dataset, create_pipeline
from ometria_source.sync.destination import check_working_folder

log = logging.getLogger(__name__)

# Where the local state keeps how many files each extracted package has.
EXTRACTED = "ometria_extracted"

# Where the local state keeps the place that it belongs to: destination, dataset, current folder (which has DuckDB's
# file), location. dlt does not store this key at the destination.
TARGET = "ometria_place"

ELSEWHERE = "The local state belongs to another destination, dataset or current folder"
UNKNOWN = "The local state, made by another program, does not say to which destination it belongs"
UNREADABLE = "The local state cannot be read"
INCONSISTENT = "The local state, or a pending package, does not follow from what the destination holds"


def pending_packages(pipeline: dlt.Pipeline) -> list[Path]:
    """The folders of the packages to finish, in the order of their loading; an abort that was broken off is one."""
    folder = Path(pipeline.working_dir) / "load" / LoadStorage.NORMALIZED_FOLDER
    return [folder / name for name in pipeline.list_normalized_load_packages()] + _extracted_packages(pipeline)


def _extracted_packages(pipeline: dlt.Pipeline) -> list[Path]:
    folder = Path(pipeline.working_dir) / "normalize" / NormalizeStorage.EXTRACTED_FOLDER
    return [folder / name for name in pipeline.list_extracted_load_packages()]


def record_extracted(pipeline: dlt.Pipeline) -> None:
    """Note how many files each extracted package has: `abort-packages`, when killed, can leave one that lacks some."""
    pipeline.set_local_state_val(EXTRACTED, {path.name: _count_jobs(path) for path in _extracted_packages(pipeline)})


def are_whole(pipeline: dlt.Pipeline) -> bool:
    """Whether no extracted package lacks a file, as far as its files were noted."""
    local: dict[str, Any] = dict(pipeline.state["_local"])
    noted: dict[str, int] = local.get(EXTRACTED, {})
    return all(_is_whole(path, noted.get(path.name)) for path in _extracted_packages(pipeline))


def _is_whole(package: Path, jobs: int | None) -> bool:
    return (package / PackageStorage.SCHEMA_FILE_NAME).exists() and jobs in (None, _count_jobs(package))


def _count_jobs(package: Path) -> int:
    return len(list((package / PackageStorage.NEW_JOBS_FOLDER).glob("*")))


def states_around(package: Path) -> tuple[dict[str, Any], str] | None:
    """The pipeline's state as a package found it, and the version (dlt's hash) of the state that it brings.

    Args:
        package: Its folder.

    Returns:
        Both; None: it is not whole.
    """
    found = package / PackageStorage.RESTORE_FOLDER / PackageStorage.RESTORE_STATE_FILE_NAME
    try:
        before = json.loads(found.read_text(encoding="utf-8"))
        own = json.loads((package / PackageStorage.LOAD_PACKAGE_STATE_FILE_NAME).read_text(encoding="utf-8"))
        # it brings none where the state did not change
        return before, own.get("pipeline_state", {}).get("version_hash", before["_version_hash"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def repair_packages(pipeline: dlt.Pipeline) -> None:
    """Finish the steps in which a process that was killed left the packages.

    Args:
        pipeline: Nothing else may be using its working folder.
    """
    folder = Path(pipeline.working_dir)
    normalize, load = folder / "normalize", folder / "load"
    extracted, normalized = normalize / NormalizeStorage.EXTRACTED_FOLDER, load / LoadStorage.NORMALIZED_FOLDER
    # where packages are put together before they are moved to their place whole; they hold rows of the account
    unfinished = [path for path in normalize.glob("*") if path.is_dir() and path != extracted]
    unfinished += (load / LoadStorage.NEW_PACKAGES_FOLDER).glob("*")
    # dlt stores a normalised package, then deletes what it was made from: the second would fail to be stored again
    unfinished += [extracted / name for name in pipeline.list_normalized_load_packages()]
    for path in unfinished:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    # dlt marks a package as loaded, then moves it: to load it again would be refused
    for name in pipeline.list_normalized_load_packages():
        if (normalized / name / PackageStorage.PACKAGE_COMPLETED_FILE_NAME).exists():
            (normalized / name).rename(load / LoadStorage.LOADED_FOLDER / name)


def store_schemas(pipeline: dlt.Pipeline) -> None:
    """Store the schemas of extracted packages where they are newer: dlt stores a package, then its schema.

    Without it a new table would lose its key and columns.

    Args:
        pipeline: As for `repair_packages`; its packages are whole.
    """
    for name in pipeline.list_extracted_load_packages():
        schema = pipeline.get_load_package_info(name).schema
        known = pipeline.schemas.load_schema(schema.name) if pipeline.schemas.has_schema(schema.name) else None
        if known is None or known.stored_version < schema.stored_version:
            pipeline.schemas.save_schema(schema)


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
    target = [destination, dataset, here]
    known = _known_target(pipeline_name)
    if known[: len(target)] != target:
        _forget(pipeline_name, ELSEWHERE if known else UNKNOWN)
    pipeline = create_pipeline(pipeline_name, destination, dataset)
    check_working_folder(pipeline)
    location = str(pipeline.destination_client().config)
    if known[: len(target)] == target and known != [*target, location]:
        _forget(pipeline_name, ELSEWHERE)
        pipeline = create_pipeline(pipeline_name, destination, dataset)
    pipeline.set_local_state_val(TARGET, [*target, location])
    return pipeline


def drop_inconsistent_state(pipeline: dlt.Pipeline) -> None:
    """Drop local state, and packages, that do not go on from the state at the destination.

    Args:
        pipeline: As `open_pipeline` gave it.
    """
    if _is_consistent(pipeline):
        return
    target = pipeline.get_local_state_val(TARGET)
    _forget(pipeline.pipeline_name, INCONSISTENT)
    pipeline.drop()
    pipeline.set_local_state_val(TARGET, target)


def _known_target(pipeline_name: str) -> list[str]:
    """The place that the local state belongs to; empty where there is no state, or none that says so.

    State that cannot be read, as after a power failure, is dropped.
    """
    folder = pipeline_folder(pipeline_name)
    path = folder / Pipeline.STATE_FILE
    if not path.exists():
        return []
    try:
        state, *_ = [json.loads(file.read_text(encoding="utf-8")) for file in (path, *folder.glob("schemas/*.json"))]
        return list(state["_local"].get(TARGET, []))
    except (ValueError, TypeError, LookupError, AttributeError):
        _forget(pipeline_name, UNREADABLE)
        return []


def _is_consistent(pipeline: dlt.Pipeline) -> bool:
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
