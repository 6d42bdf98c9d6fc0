"""What a run keeps from other users of its machine, and from dlt's vendor.

The working folder has rows that are on their way, which no other user may read. dlt reads settings from a folder that,
for a user without a home, is the same for all users of the machine: what another user puts there could send the API key
to another server.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dlt
from dlt.common import known_env
from dlt.common.configuration.specs.runtime_configuration import RuntimeConfiguration
from dlt.common.runtime.run_context import global_dir
from dlt.common.runtime.telemetry import is_telemetry_started, start_telemetry, stop_telemetry

from ometria_source.exceptions import ForeignFileError, InvalidSettingError

# The files from which dlt reads settings, in its own folder and in that of the project.
SETTINGS_FILES = ("config.toml", "secrets.toml")

PRIVATE = 0o700
OTHERS = 0o077

DATA_FOLDER = known_env.DLT_DATA_DIR

# dlt's own folder is below it, where it is set.
GLOBAL_FOLDER = "XDG_DATA_HOME"

TELEMETRY = "runtime.dlthub_telemetry"


def check_settings_folder() -> None:
    """Refuse to read settings that another user of the machine could have written; nothing is read by then.

    Raises:
        InvalidSettingError: They are in the folder for temporary files.
        ForeignFileError: They are in files, or a folder, of another user.
    """
    folder = Path(global_dir())
    is_temporary = folder.parent == Path(tempfile.gettempdir())
    if is_temporary and DATA_FOLDER not in os.environ:
        raise InvalidSettingError(
            DATA_FOLDER,
            "is not set, and this user has no home folder that can be written: dlt would keep its data, and look for "
            f"settings, in `{folder}`, where each user of this machine may write. Set it to a folder of this user.",
        )
    if is_temporary:
        check_owner(folder, f"Set `{GLOBAL_FOLDER}` to a folder of this user.")
    for place in (folder, Path(dlt.current.run_context().settings_dir)):
        for name in SETTINGS_FILES:
            check_owner(place / name, "Make it this user's own, or remove it.")


def check_owner(path: Path, advice: str = f"Set `{DATA_FOLDER}` to a folder of this user.") -> None:
    """Refuse a file or folder of another user than this one and root.

    Args:
        path: It need not exist.
        advice: What to do.

    Raises:
        ForeignFileError: It is another user's.
    """
    # Windows has no such numbers
    if hasattr(os, "geteuid") and path.exists() and path.stat().st_uid not in (os.geteuid(), 0):
        raise ForeignFileError(str(path), advice)


def make_private(folder: Path) -> None:
    """Let only this user enter a folder.

    Args:
        folder: Of this user.
    """
    if hasattr(os, "geteuid") and folder.stat().st_uid == os.geteuid():
        folder.chmod(PRIVATE)


@contextmanager
def private_files() -> Iterator[None]:
    """Let only this user read the files that this process makes, until the block ends."""
    before = os.umask(OTHERS)
    # it may already deny more
    os.umask(before | OTHERS)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def telemetry_off_by_default() -> Iterator[None]:
    """Keep dlt from reporting over the network how it is used, until the block ends, unless it is configured."""
    _Telemetry.enter()
    try:
        yield
    finally:
        _Telemetry.leave()


class _Telemetry:
    """Turns it off for the first of the loads of this process that run at a time, and on again after the last."""

    _lock = threading.Lock()
    _loads = 0
    _turned_off: RuntimeConfiguration | None = None

    @classmethod
    def enter(cls) -> None:
        with cls._lock:
            cls._loads += 1
            if dlt.config.get(TELEMETRY) is None and is_telemetry_started():
                cls._turned_off = dlt.current.run_context().runtime_config
                cls._restart(cls._turned_off, is_on=False)

    @classmethod
    def leave(cls) -> None:
        with cls._lock:
            cls._loads -= 1
            if cls._turned_off is not None and not cls._loads:
                cls._restart(cls._turned_off, is_on=True)
                cls._turned_off = None

    @staticmethod
    def _restart(configuration: RuntimeConfiguration, *, is_on: bool) -> None:
        stop_telemetry()
        configuration.dlthub_telemetry = is_on
        start_telemetry(configuration)
