"""The simulated export: files of e-mail events.

Ometria publishes neither the names nor the columns of its export: those here are a GUESS, made so that the cells are as
awkward as real ones may be. A note beside the files says so.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ometria_source.simulator.mailings import EVENT_COLUMNS, Event

ABOUT_FILE = "_ABOUT_THIS_EXPORT.txt"
ABOUT = """This folder simulates Ometria's self-serve data export. All data in it is invented.

Ometria does not publish the names, the format or the columns of its export: those here are a guess. Do not build on
them.
Files whose names begin with "_", like this one, are not read.
"""


def write_about(folder: Path) -> None:
    """Write the note that says what the folder is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ABOUT_FILE).write_text(ABOUT, encoding="utf-8")


def write_events(path: Path, events: Sequence[Event], modified_at: datetime | None = None) -> Path:
    """Write one file of events.

    Args:
        path: Its ending says the format: csv, tsv, jsonl or parquet, and whether it is compressed (.gz).
        events: Cells by column; the columns are those of the events, in their order.
        modified_at: The file's modification time; None: the real present.

    Returns:
        `path`.
    """
    columns = list(dict.fromkeys(name for event in events for name in event)) or list(EVENT_COLUMNS)
    is_compressed = path.suffix == ".gz"
    kind = path.suffixes[-2 if is_compressed else -1]
    content = {".csv": _csv, ".tsv": _tsv, ".jsonl": _jsonl, ".parquet": _parquet}[kind](columns, events)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0) if is_compressed else content)
    if modified_at is not None:
        os.utime(path, (modified_at.timestamp(), modified_at.timestamp()))
    return path


def _csv(columns: Sequence[str], events: Sequence[Event]) -> bytes:
    return _separated(columns, events, ",")


def _tsv(columns: Sequence[str], events: Sequence[Event]) -> bytes:
    return _separated(columns, events, "\t")


def _separated(columns: Sequence[str], events: Sequence[Event], delimiter: str) -> bytes:
    """A header and a row for each event; null is nothing at all, empty text is a pair of quotes."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerow(columns)
    for event in events:
        cells = (event.get(name) for name in columns)
        text.write(delimiter.join("" if cell is None else _quoted(cell, delimiter) for cell in cells) + "\n")
    return text.getvalue().encode()


def _quoted(cell: str, delimiter: str) -> str:
    if cell and not any(mark in cell for mark in (delimiter, '"', "\n", "\r")):
        return cell
    return '"' + cell.replace('"', '""') + '"'


def _jsonl(columns: Sequence[str], events: Sequence[Event]) -> bytes:
    rows = ({name: event.get(name) for name in columns} for event in events)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _parquet(columns: Sequence[str], events: Sequence[Event]) -> bytes:
    table = pa.table({name: pa.array([event.get(name) for event in events], pa.string()) for name in columns})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()
