"""Paths, links, archives and dates of the files of an export. All data is invented."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

import dlt
import pyarrow as pa
import pytest
from examples import few
from pyarrow import parquet

from ometria_source import ometria_source
from ometria_source.exceptions import InvalidSettingError
from ometria_source.export.bucket import bucket_listing, list_files, look_again
from ometria_source.export.retry import RetryBudget
from ometria_source.simulator import write_events
from ometria_source.tables.email_events import reading

ODD_NAMES = ["a b", "ü", "1+1", "#7", "50%", "what?", "dt=2026-11-01", "%20", "[x]", "a&b", "~", "semi;colon", "'q'"]


def rows(*names: str) -> list[dict[str, str | None]]:
    return [{"event_id": name, "event_type": "open"} for name in names]


def ids(warehouse) -> set[str]:
    return {row["event_id"] for row in warehouse.rows("email_events")}


def break_file(path: Path) -> None:
    """Many good rows, then one with a cell too many."""
    good = "".join(f"bad{number},open\n" for number in range(100))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"event_id,event_type\n{good}bad,open,someone@shop.test\n")


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("part", ["bucket", "folder", "file"])
def test_file_is_looked_up_as_it_is_opened(tmp_path, name, part):
    """The second look finds the file by the path that it was opened by."""
    bucket = tmp_path / (name if part == "bucket" else "bucket")
    path = bucket / (name if part == "folder" else "folder") / f"{name if part == 'file' else 'file'}.csv"
    path.parent.mkdir(parents=True)
    path.write_text("id\n1\n")
    (file,) = list_files(bucket_listing(bucket.as_uri(), None, "**", "ometria"), RetryBudget(0))
    assert file["relative_path"] == path.relative_to(bucket).as_posix()
    path.write_text("id\n1\n2\n")
    now, _ = look_again(file)
    assert now["size_in_bytes"] == 7
    path.unlink()
    assert look_again(file) is None


def test_damaged_file_in_an_odd_folder(bucket, small_tables, run, load, warehouse):
    """A damaged file fails the table in a folder of any name; nothing is loaded, and the next run heals."""
    write_events(bucket / "a.csv", rows("a"))
    damaged = bucket / "dt=2026-11-01" / "50% ü+#?.csv"
    break_file(damaged)
    result = run()
    assert result.status == 1
    assert "line 102" in result.out
    assert "deleted" not in result.out
    assert "email_events" not in warehouse.tables()
    write_events(damaged, rows("b"))
    load()
    assert ids(warehouse) == {"a", "b"}


def test_file_that_a_second_look_does_not_find(bucket, small_tables, run, warehouse, monkeypatch):
    """A store that cannot give the facts of a damaged file does not make it a deleted one."""
    break_file(bucket / "a.csv")

    def info(self, path, **_):
        raise FileNotFoundError(path)

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.info", info)
    result = run()
    assert result.status == 1
    assert "line 102" in result.out
    assert "email_events" not in warehouse.tables()


def test_damaged_file_that_is_deleted_meanwhile(bucket, small_tables, run, warehouse, monkeypatch):
    """Rows of a damaged file are not loaded because the file is gone by the time of the second look."""
    break_file(bucket / "a.csv")
    read_tables = reading.read_tables

    def then_deleted(*arguments, **options):
        try:
            yield from read_tables(*arguments, **options)
        finally:
            (bucket / "a.csv").unlink(missing_ok=True)

    monkeypatch.setattr(reading, "read_tables", then_deleted)
    assert run().status == 1
    assert "email_events" not in warehouse.tables()


@pytest.mark.parametrize("kind", few(["out", "nothing", "circle", "name"]))
def test_what_the_listing_refuses(bucket, tmp_path, run, load, warehouse, monkeypatch, kind):
    """A link that cannot be followed, or a name that is not UTF-8, is one bad file: named, refused or skipped."""
    write_events(bucket / "a.csv", rows("a"))
    if kind == "name":
        (bucket / os.fsdecode(b"caf\xe9.csv")).write_text("event_id\nx\n")
        shown = "caf\\xe9.csv"
    else:
        outside = tmp_path / "outside.csv"
        write_events(outside, rows("x"))
        target = {"out": outside, "nothing": "missing.csv", "circle": "link.csv"}[kind]
        (bucket / "link.csv").symlink_to(target)
        shown = "link.csv"
    failed = run()
    assert failed.status == 1
    assert shown in failed.out
    assert "email_events" not in warehouse.tables()
    checked = run("--check", "--tables", "email_events")
    assert (checked.status, shown in checked.out) == (1, True)

    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", "skip")
    skipped = load()
    assert f"skipped {shown}" in skipped.out
    assert ids(warehouse) == {"a"}
    assert "ok bucket: 1 files" in run("--check", "--tables", "email_events").out
    described = run("--describe")
    assert described.status == 1
    assert shown in described.out
    load("--tables", "email_event_files")
    assert [row["file_path"] for row in warehouse.rows("email_event_files")] == ["a.csv"]


def test_link_that_the_glob_does_not_stand_for(bucket, load, warehouse, monkeypatch):
    """It is named, and fails nothing."""
    monkeypatch.setenv("SOURCES__OMETRIA__FILE_GLOB", "*.csv")
    write_events(bucket / "a.csv", rows("a"))
    (bucket / "old").symlink_to("missing")
    assert "old is a link to nothing" in load().out
    assert ids(warehouse) == {"a"}


def test_file_dated_before_1970(bucket, load, warehouse):
    """A first load reads it, and the next run does not read it again."""
    old = datetime(1965, 3, 4, tzinfo=timezone.utc)
    write_events(bucket / "old.csv", rows("old"), old)
    write_events(bucket / "new.csv", rows("new"))
    load()
    assert ids(warehouse) == {"old", "new"}
    assert "files read" not in load().out


@pytest.mark.parametrize("folder", ["run_id=7", "a/dt=2026/b"])
def test_working_folder_that_duckdb_would_read_columns_from(
    bucket, run, load, warehouse, monkeypatch, tmp_path, folder
):
    """Such a folder is refused before anything is read, in the program and in code; another one works."""
    write_events(bucket / "a.csv", rows("a"))
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / folder))
    refused = run()
    assert refused.status == 2
    assert "DLT_DATA_DIR" in refused.err
    pipeline = dlt.pipeline("in_code", destination="duckdb", dataset_name="events", pipelines_dir=tmp_path / folder)
    with pytest.raises(Exception, match="Nothing was read") as failure:
        pipeline.run(ometria_source().with_resources("email_events"), loader_file_format="parquet")
    assert isinstance(failure.value.__cause__.__cause__ or failure.value.__cause__, InvalidSettingError)
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "plain"))
    load()
    assert ids(warehouse) == {"a"}


@pytest.mark.parametrize("key", [None, '["event_id"]'])
@pytest.mark.parametrize("types", few(['{"event_id": "text", "count": "bigint"}', None]))
def test_backfill_window_without_files(bucket, load, warehouse, monkeypatch, key, types):
    """It leaves an empty table with its columns, as every other table does."""
    for name, value in (("EMAIL_EVENTS_KEY", key), ("EMAIL_EVENTS_COLUMNS", types)):
        if value is not None:
            monkeypatch.setenv(f"SOURCES__OMETRIA__{name}", value)
    write_events(bucket / "a.csv", rows("a"))
    load("--start-date", "2001-01-01", "--end-date", "2001-02-01", "--tables", "email_events")
    assert warehouse.rows("email_events") == []
    assert {"event_key", "_file_path", "_file_modified_at", "_row_number"} <= warehouse.types("email_events").keys()
    load("--tables", "email_events")
    assert ids(warehouse) == {"a"}


def test_parquet_without_columns(bucket, load, warehouse):
    """Such a file holds nothing: no row is made of it, and the others are loaded."""
    parquet.write_table(pa.table({}), bucket / "none.parquet")
    write_events(bucket / "a.csv", rows("a"))
    load("--tables", "email_events")
    assert ids(warehouse) == {"a"}
    assert len(warehouse.rows("email_events")) == 1
