"""Bad files: every format and compression, in every position, below plain and odd paths, with `fail` and with `skip`.

The damage comes behind many good rows, of which none may be loaded. All data is invented.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import product
from pathlib import Path

import dlt
import pyarrow as pa
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed
from export.export_files import as_delimited, as_jsonl, as_parquet, gzipped, zipped, zstandard

from ometria_source import ometria_source
from ometria_source.exceptions import UnreadableFileError
from ometria_source.export import jsonl as jsonl_reader
from ometria_source.export import parquet as parquet_reader
from ometria_source.export.bucket import bucket_listing
from ometria_source.export.csv import CsvDialect
from ometria_source.export.retry import RetryBudget
from ometria_source.privacy.rules import TablePrivacy
from ometria_source.tables.email_events.reading import Export, FileReader
from ometria_source.tables.email_events.rows import EventRows

NOW = datetime.now(timezone.utc).replace(microsecond=0)
COLUMNS = ["event_id", "event_type"]
ROWS = 60

FORMATS = ["csv", "tsv", "jsonl", "parquet"]
PACK = {"": bytes, ".gz": gzipped, ".zst": zstandard, ".zip": zipped}
KINDS = [f"{form}{packing}" for form, packing in product(FORMATS, PACK)]

# Part of the name of a folder and of the file in it; all but the first are written with `%` in a URL.
PATHS = ["plain", "a space", "ü", "a+b", "a#b", "50%", "%20", "a?b", "dt=2026-11-01", "ü b+c#d%e?f=g"]

# Tried in every run of the tests, the others in the long one.
QUICK = ["plain", "dt=2026-11-01", PATHS[-1]]

# Which of the files of a folder is bad, by name and by time.
POSITIONS = {"first": 0, "last": 2, "only": 0}


def content(kind: str, name: str, *, is_bad: bool) -> bytes:
    """A file with rows of its own; a bad one is damaged behind them."""
    form, _, packing = kind.partition(".")
    rows = [[f"{name}-{number}", "open"] for number in range(ROWS)]
    if form == "parquet":
        columns = {column: pa.array(cells) for column, cells in zip(COLUMNS, zip(*rows, strict=True), strict=True)}
        data = as_parquet(pa.table(columns), row_group_size=10, compression="none", use_dictionary=False)
        if is_bad:
            # in the last row group
            end = data.rindex(f"{name}-{ROWS - 1}".encode())
            start = data.rindex(f"{name}-{ROWS - 11}".encode()) + len(f"{name}-{ROWS - 11}")
            data = data[:start] + bytes(end - start) + data[end:]
    elif form == "jsonl":
        data = as_jsonl(COLUMNS, rows) + (b'{"event_id": \n' if is_bad else b"")
    else:
        delimiter = "," if form == "csv" else "\t"
        data = as_delimited(COLUMNS, rows, delimiter, "\n") + (delimiter.join("abc").encode() if is_bad else b"")
    return PACK[f".{packing}" if packing else ""](data)


def with_damaged_packing(kind: str, name: str) -> bytes:
    """A file whose rows are good, but not the end of what they are packed in."""
    data = content(kind, name, is_bad=False)
    if not kind.endswith(".zip"):
        return data[: -len(data) // 20]
    # a checksum of a zip stands at its end, too
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (member,) = archive.infolist()
    checksum = member.CRC.to_bytes(4, "little")
    return data.replace(checksum, (member.CRC ^ 1).to_bytes(4, "little"))


def put(path: Path, data: bytes, modified_at: datetime = NOW) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (modified_at.timestamp(), modified_at.timestamp()))


@pytest.fixture(autouse=True)
def small_files(small_tables, monkeypatch):
    """A file of a few rows is read in several parts, whatever its format."""
    monkeypatch.setattr(jsonl_reader, "BATCH_LINES", 10)
    monkeypatch.setattr(parquet_reader, "BATCH_ROWS", 10)


class Reader:
    """Reads the files of a folder one by one, as a run does."""

    def __init__(self, folder: Path, on_bad_file: str) -> None:
        listing = bucket_listing(folder.as_uri(), None, "**", "sources")
        self._export = Export(
            listing,
            RetryBudget(0),
            file_glob="**",
            file_format=None,
            dialect=CsvDialect(),
            on_bad_file=on_bad_file,
            key=None,
            columns={},
        )
        contract = {"tables": "evolve", "columns": "evolve", "data_type": "evolve"}
        rows = EventRows(None, {}, dlt.Schema("events"), contract, TablePrivacy("email_events", "email_events"))
        self.counts: dict[str, int] = {}
        self.notes: list[str] = []
        self._reader = FileReader(self._export, rows, self._count, self.notes.append)

    def _count(self, what: str, number: int) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def rows(self) -> Iterator[tuple[str, int | str]]:
        """Each file's path, and the number of its rows or why it cannot be read."""
        for file in self._export.files("email_events"):
            reading = self._reader.read(file)
            try:
                yield file["relative_path"], sum(len(table) for table in reading)
            except UnreadableFileError as error:
                yield file["relative_path"], error.path


@pytest.mark.parametrize(
    "part", [part if part in QUICK else pytest.param(part, marks=pytest.mark.slow) for part in PATHS]
)
@pytest.mark.parametrize("damage", ["rows", "packing"])
def test_a_bad_file_is_found_whatever_it_is_called(bucket, part, damage):
    """`fail` names it, `skip` gives none of its rows; when it is mended all are read."""
    kinds = {f"{part}/{kind.replace('.', '_')}/{part}.{kind}": kind for kind in KINDS}
    if damage == "packing":
        kinds = {path: kind for path, kind in kinds.items() if "." in kind}
    for path, kind in kinds.items():
        put(bucket / path, content(kind, "x", is_bad=True) if damage == "rows" else with_damaged_packing(kind, "x"))

    for path, problem in Reader(bucket, "fail").rows():
        # of a file in a zip it is the path within, too
        assert isinstance(problem, str), path
        assert problem.startswith(path)
    skipping = Reader(bucket, "skip")
    assert dict(skipping.rows()) == dict.fromkeys(kinds, 0)
    assert skipping.counts == {"files_unreadable": len(kinds)}

    for path, kind in kinds.items():
        put(bucket / path, content(kind, "x", is_bad=False))
    for on_bad_file in ("fail", "skip"):
        assert dict(Reader(bucket, on_bad_file).rows()) == dict.fromkeys(kinds, ROWS)


def folder_files(folder: str, part: str, kind: str, position: str) -> list[tuple[str, str, datetime, bool]]:
    """The files of a folder: path, name of the rows, time, and whether it is the bad one."""
    names = ["x"] if position == "only" else ["x", "y", "z"]
    return [
        (
            f"{folder}/{name} {part}.{kind}",
            f"{folder}-{name}",
            NOW + timedelta(seconds=number),
            number == POSITIONS[position],
        )
        for number, name in enumerate(names)
    ]


def ids(warehouse) -> set[str]:
    """The events that were loaded; a table without any need not be there."""
    has_table = warehouse.path.exists() and "email_events" in warehouse.tables()
    return {row["event_id"] for row in warehouse.rows("email_events")} if has_table else set()


def events(names) -> set[str]:
    return {f"{name}-{number}" for name in names for number in range(ROWS)}


@pytest.mark.slow
@pytest.mark.parametrize(("position", "root"), [("first", "plain"), ("last", PATHS[-1]), ("only", PATHS[-1])])
def test_skip_loads_all_other_files_and_the_next_run_the_mended_ones(
    tmp_path, load, warehouse, monkeypatch, position, root
):
    """One run has every format and compression below every path, each with its bad file."""
    bucket = tmp_path / root
    monkeypatch.setenv("SOURCES__OMETRIA__BUCKET_URL", bucket.as_uri())
    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", "skip")
    good, bad = set(), {}
    for number, (part, kind) in enumerate(product(PATHS, KINDS)):
        for path, name, modified_at, is_bad in folder_files(f"{number:03} {part}", part, kind, position):
            put(bucket / path, content(kind, name, is_bad=is_bad), modified_at)
            if is_bad:
                bad[path] = (kind, name)
            else:
                good.add(name)

    result = load()
    assert f"{len(bad)} unreadable files skipped" in result.out
    assert ids(warehouse) == events(good)

    for path, (kind, name) in bad.items():
        put(bucket / path, content(kind, name, is_bad=False), NOW)
    assert f"{len(bad)} files read" in load().out
    assert ids(warehouse) == events(good | {name for _, name in bad.values()})


# Each format and compression once, each position, and each path; the readers were tried with all of them above.
RUNS = [(kind, list(POSITIONS)[number % 3], PATHS[number % len(PATHS)]) for number, kind in enumerate(KINDS)]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "position", "part"), RUNS)
def test_fail_loads_no_event_and_the_next_run_all(bucket, run, load, warehouse, kind, position, part):
    """It names the bad file."""
    files = folder_files(part, part, kind, position)
    for path, name, modified_at, is_bad in files:
        put(bucket / path, content(kind, name, is_bad=is_bad), modified_at)
    ((bad, bad_name),) = [(path, name) for path, name, _, is_bad in files if is_bad]

    result = run()
    assert result.status == 1
    assert bad in result.out
    assert not ids(warehouse)

    put(bucket / bad, content(kind, bad_name, is_bad=False))
    assert f"{len(files)} file" in load().out
    assert ids(warehouse) == events(name for _, name, _, _ in files)


@pytest.mark.slow
@pytest.mark.parametrize("position", POSITIONS)
def test_fail_ends_every_extract(tmp_path, position):
    """Each format and compression below each path: the extract fails, with the path, and hands on no package."""
    pipeline = dlt.pipeline("bad_files", pipelines_dir=str(tmp_path / "work"), destination="duckdb")
    for number, (part, kind) in enumerate(product(PATHS, KINDS)):
        bucket = tmp_path / f"{number:03} {part}"
        files = folder_files(part, part, kind, position)
        for path, name, modified_at, is_bad in files:
            put(bucket / path, content(kind, name, is_bad=is_bad), modified_at)
        (bad,) = (path for path, _, _, is_bad in files if is_bad)
        with pytest.raises(PipelineStepFailed) as failure:
            pipeline.extract(ometria_source(bucket_url=bucket.as_uri()).with_resources("email_events"))
        assert bad in str(failure.value), (kind, part)
        assert not pipeline.has_pending_data


def test_a_bad_file_below_an_odd_path_fails_the_run(bucket, run, warehouse):
    """As `test_fail_loads_no_event_and_the_next_run_all`, once."""
    put(bucket / "dt=2026-11-01/a b.csv", content("csv", "bad", is_bad=True))
    put(bucket / "good.csv", content("csv", "good", is_bad=False))
    result = run()
    assert result.status == 1
    assert f"dt=2026-11-01/a b.csv, line {ROWS + 2}" in result.out
    assert not ids(warehouse)
