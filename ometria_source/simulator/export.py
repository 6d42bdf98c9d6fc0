"""Writes the simulated account's export of e-mail events.

Ometria publishes neither the names of the export's files nor their columns (reference: export). Both are a GUESS here:
gzipped CSV, one folder a day of event time, the columns of `EVENT_COLUMNS`. The data is invented.
"""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ometria_source.simulator.mailings import EVENT_COLUMNS

ABOUT_NAME = "_ABOUT_THIS_EXPORT.txt"
ABOUT = f"""This export is simulated and all of its data is invented: no person, address or campaign in it exists.

Ometria publishes neither the names of its export's files nor their columns, so both are a guess here:
  email_events/dt=YYYY-MM-DD/email_events_NNNN.csv.gz    one folder a day of event time, one number a delivery
  {", ".join(EVENT_COLUMNS)}

Names that begin with "_", like this one, are skipped by the reader.
"""

Row = Mapping[str, "str | None"]


def write_events(path: str | os.PathLike[str], events: Iterable[Row], modified_at: datetime | None = None) -> Path:
    """Write events to one file, in the format that its name ends with.

    The columns are `EVENT_COLUMNS`, a guess, unless the events have others: then theirs, in order of first appearance.
    In csv and tsv None is nothing between the delimiters, and an empty text is a pair of quotes.

    Args:
        path: Ends with csv, tsv, jsonl or parquet, the first three with or without `.gz`. Folders are made.
        events: May be empty: then the file is a header without rows (an empty file in jsonl).
        modified_at: The file's modification time; None: the real time of writing.

    Returns:
        The path.

    Raises:
        ValueError: The name ends with something else.
    """
    path = Path(path)
    rows = list(events)
    suffixes = path.suffixes
    zipped = suffixes[-1:] == [".gz"]
    kind = "".join(suffixes[-2:-1] if zipped else suffixes[-1:])
    columns = _columns(rows)
    if kind == ".parquet" and not zipped:
        data = _parquet(rows, columns)
    elif kind == ".jsonl":
        data = "".join(json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows).encode()
    elif kind in (".csv", ".tsv"):
        data = "".join(_delimited(rows, columns, "," if kind == ".csv" else "\t")).encode()
    else:
        raise ValueError(f"No format is known for a file named `{path.name}`: use csv, tsv, jsonl (.gz) or parquet.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0) if zipped else data)
    if modified_at is not None:
        os.utime(path, (modified_at.timestamp(), modified_at.timestamp()))
    return path


def write_about(folder: Path) -> None:
    """Put the text beside the export that says what it is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ABOUT_NAME).write_text(ABOUT, encoding="utf-8")


def _columns(rows: Sequence[Row]) -> Sequence[str]:
    found = dict.fromkeys(key for row in rows for key in row)
    return EVENT_COLUMNS if found.keys() <= set(EVENT_COLUMNS) else tuple(found)


def _delimited(rows: Iterable[Row], columns: Sequence[str], delimiter: str) -> Iterator[str]:
    special = (delimiter, '"', "\n", "\r")

    def cell(text: str | None) -> str:
        if text is None:
            return ""
        if not text or any(mark in text for mark in special):
            return '"' + text.replace('"', '""') + '"'
        return text

    yield delimiter.join(map(cell, columns)) + "\n"
    for row in rows:
        yield delimiter.join([cell(row.get(column)) for column in columns]) + "\n"


def _parquet(rows: Sequence[Row], columns: Sequence[str]) -> bytes:
    arrays = [pa.array([row.get(column) for row in rows], pa.string()) for column in columns]
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays, names=list(columns)), buffer)
    return buffer.getvalue()
