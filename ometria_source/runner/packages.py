"""What a process that was killed left of its load packages.

dlt moves packages by renaming them, so that each is whole or absent. What it does in two steps is finished here.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import dlt
from dlt.common.storages import LoadStorage, NormalizeStorage, PackageStorage


def has_packages(pipeline: dlt.Pipeline) -> bool:
    """Whether there are packages to finish, of which an abort that was broken off is one."""
    return bool(pipeline.list_extracted_load_packages() or pipeline.list_normalized_load_packages())


def mend_packages(pipeline: dlt.Pipeline) -> None:
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
    # dlt stores an extracted package, then its schema, without which a new table would lose its key and columns
    for name in pipeline.list_extracted_load_packages():
        schema = pipeline.get_load_package_info(name).schema
        known = pipeline.schemas.load_schema(schema.name) if pipeline.schemas.has_schema(schema.name) else None
        if known is None or known.stored_version < schema.stored_version:
            pipeline.schemas.save_schema(schema)
