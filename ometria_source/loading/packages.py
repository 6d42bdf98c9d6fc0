"""Load packages in the working folder: pending ones, interrupted steps, what a package will change, and what is left.

dlt moves a package by renaming it, so that it is there whole or not at all; only of one that it deletes can a part be
left. What dlt does in two steps, and a killed process did not finish, is finished here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dlt
from dlt.common.schema.typing import TTableSchemaColumns
from dlt.common.storages import LoadStorage, NormalizeStorage, PackageStorage

from ometria_source.loading.errors import redacted

# Where the local state keeps how many files each extracted package has.
EXTRACTED = "ometria_extracted"

# The folders of a package that have its jobs.
JOB_FOLDERS = (
    PackageStorage.NEW_JOBS_FOLDER,
    PackageStorage.STARTED_JOBS_FOLDER,
    PackageStorage.FAILED_JOBS_FOLDER,
    PackageStorage.COMPLETED_JOBS_FOLDER,
)

# How dlt names the files of a package that have the error of a job.
ERROR_SUFFIX = ".exception"


@contextmanager
def cleaned_packages(pipeline: dlt.Pipeline) -> Iterator[None]:
    """Take the rows of packages that are loaded or discarded, and values in errors, out of the working folder.

    dlt keeps them for ever. They go before and after a run: the one before may have been killed.

    Args:
        pipeline: Nothing else may be using its working folder.
    """
    _clean_packages(pipeline)
    try:
        yield
    finally:
        _clean_packages(pipeline)


def _clean_packages(pipeline: dlt.Pipeline) -> None:
    folder = Path(pipeline.working_dir)
    for path in folder.rglob(f"*{ERROR_SUFFIX}"):
        text = path.read_text(encoding="utf-8")
        if (rest := redacted(text)) != text:
            # at once or not at all: dlt reads the file when it goes on with the package
            new = folder / f"{path.name}.redacted"
            new.write_text(rest, encoding="utf-8")
            new.replace(path)
    ended = folder / "load" / LoadStorage.LOADED_FOLDER
    for jobs in JOB_FOLDERS:
        for path in ended.glob(f"*/{jobs}/*"):
            if path.suffix != ERROR_SUFFIX:
                path.unlink()


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


def columns_before(package: Path) -> dict[str, TTableSchemaColumns]:
    """The columns of each table as a package found them.

    Args:
        package: Its folder.
    """
    columns: dict[str, TTableSchemaColumns] = {}
    for path in (package / PackageStorage.RESTORE_SCHEMAS_FOLDER).glob("*.json"):
        tables = json.loads(path.read_text(encoding="utf-8"))["tables"]
        columns |= {name: table["columns"] for name, table in tables.items()}
    return columns


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


def tables_of(package: Path) -> set[str]:
    """The tables that a pending package brings rows for, dlt's own left out, or that it drops.

    Args:
        package: Its folder.
    """
    # dlt names a job `<table>.<id>.<retries>.<format>`
    jobs = {path.name.split(".")[0] for folder in JOB_FOLDERS for path in (package / folder).glob("*")}
    return {name for name in jobs if not name.startswith("_dlt")} | dropped_by(package)


def dropped_by(package: Path) -> set[str]:
    """The tables that a pending package drops before it loads, as in a full refresh.

    Args:
        package: Its folder.
    """
    try:
        return {str(table["name"]) for table in _state(package).get("dropped_tables", ())}
    except (LookupError, TypeError):
        return set()


def has_dropped(package: Path) -> set[str]:
    """The tables that a pending package has dropped already.

    Args:
        package: Its folder.
    """
    return set(map(str, _state(package).get("applied_dropped_tables", ())))


def _state(package: Path) -> dict[str, Any]:
    """The state of a package; empty where it cannot be read."""
    try:
        return dict(json.loads((package / PackageStorage.LOAD_PACKAGE_STATE_FILE_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
