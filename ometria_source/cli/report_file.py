"""`--report`: a file with the figures of a run, as JSON."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

from ometria_source.cli.signals import ends_at_once
from ometria_source.exceptions import InvalidSettingError


def check_report_path(typed: str) -> Path:
    """Find out that a report can be written, before anything is read.

    Args:
        typed: The file.

    Raises:
        InvalidSettingError: It cannot be written.
    """
    path = Path(typed)
    try:
        if path.is_dir():
            raise IsADirectoryError
        if not _is_regular(path):
            if not os.access(path, os.W_OK):
                raise PermissionError
            return path
        # what a link leads to is written, the link stays
        path = path.resolve()
        # a file of its own, so that an old report stays until there is a new one
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InvalidSettingError(
            "--report", f"names a file that cannot be written ({type(error).__name__}): name one in a folder of yours."
        ) from None
    return path


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a report, in the place of an older one.

    Args:
        content: The report.
        path: Where `check_report_path` found that it can be written.

    Raises:
        OSError: It can no more, or its disk is full.
    """
    # half a surrogate pair is no UTF-8, and what is written for it is JSON
    text = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
    if not _is_regular(path):
        # a pipe may have no reader
        with ends_at_once():
            path.write_bytes(text)
        return
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with new.open("xb") as file:
            file.write(text)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _is_regular(path: Path) -> bool:
    """Whether it is, or will be, a file, and no pipe or device."""
    return path.is_file() or not path.exists()
