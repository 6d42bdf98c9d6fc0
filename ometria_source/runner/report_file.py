"""The figures of a run as a file, for jobs that decide by them what to do next."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ometria_source.exceptions import InvalidSettingError
from ometria_source.runner.report import RunReport, TableReport
from ometria_source.tables.metrics import REQUESTS, RETRIES, ROWS_READ, SECONDS_WAITED


def check_place(place: str) -> Path:
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
        path: Where `check_place` found that it can be written.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    if not _is_regular(path):
        path.write_text(text, encoding="utf-8")
        return
    folder, start = path.parent, f".{path.name}."
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix=start, delete=False, encoding="utf-8") as new:
        new.write(text)
    # whoever may read other new files may read it
    mask = os.umask(0)
    os.umask(mask)
    Path(new.name).chmod(0o666 & ~mask)
    Path(new.name).replace(path)


def _is_regular(path: Path) -> bool:
    """Whether it is, or will be, a file, and no pipe or device."""
    return path.is_file() or not path.exists()


def as_json(report: RunReport) -> dict[str, Any]:
    """What a report says, without a name, an address or a value of anybody."""
    return {
        "exit_status": report.exit_status,
        "destination": report.destination,
        "dataset": report.dataset,
        "seconds": round(report.seconds, 3),
        "requests": sum(table.metrics.get(REQUESTS, 0) for table in report.tables),
        "retries": sum(table.metrics.get(RETRIES, 0) for table in report.tables),
        "error": report.error,
        "tables": {table.name: _table(report, table) for table in report.tables},
    }


def _table(report: RunReport, table: TableReport) -> dict[str, Any]:
    return {
        "status": report.status(table).lower(),
        "rows_read": table.metrics.get(ROWS_READ, 0),
        "rows": table.rows,
        "nested": table.nested,
        "requests": table.metrics.get(REQUESTS, 0),
        "retries": table.metrics.get(RETRIES, 0),
        "seconds": round(table.seconds, 3),
        "seconds_waited": round(table.metrics.get(SECONDS_WAITED, 0), 3),
        "newest": table.newest.isoformat() if table.newest else None,
        "lag_seconds": round((report.ended - table.newest).total_seconds()) if table.newest else None,
        "new_columns": [*table.new_columns, *table.variants],
        "files": {name: number for name, number in table.metrics.items() if name.startswith("files_")},
        "notes": table.notes,
        "error": table.error or table.left_out,
    }
