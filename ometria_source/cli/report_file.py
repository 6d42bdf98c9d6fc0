"""`--report`: a file with the figures of a run, as JSON."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

from ometria_source.exceptions import InvalidSettingError


def check_report_path(place: str) -> Path:
    """Find out that a report can be written, before anything is read.

    Args:
        place: The file, as typed.

    Raises:
        InvalidSettingError: It cannot be written.
    """
    path = Path(place)
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
    """
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    if not _is_regular(path):
        path.write_text(text, encoding="utf-8")
        return
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with new.open("x", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def _is_regular(path: Path) -> bool:
    """Whether it is, or will be, a file, and no pipe or device."""
    return path.is_file() or not path.exists()
