"""The export: which files are read, what their rows become, and what is remembered."""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta, timezone

import dlt
import pytest
import truth
from dlt.pipeline.exceptions import PipelineStepFailed
from examples import few

from ometria_source import ometria_source
from ometria_source.export import jsonl as jsonl_reader
from ometria_source.export import parallel
from ometria_source.simulator import write_events
from ometria_source.tables.email_events import reading as event_export
from ometria_source.tables.email_events import reading as event_reading

NOW = datetime.now(timezone.utc).replace(microsecond=0)


def event(number: int, **cells: str | None) -> dict[str, str | None]:
    return {"event_id": f"e{number}", "event_type": "open", "profile_id": "007", **cells}


def ids(warehouse) -> list[str]:
    return sorted(row["event_id"] for row in warehouse.rows("email_events"))


def test_older_files_survive_when_the_newest_is_read_first(bucket, load, warehouse, monkeypatch):
    """The cursor must not move within a run."""
    monkeypatch.setattr(parallel, "MOST_READERS", 1)
    write_events(bucket / "a.csv", [event(1)], NOW)
    for number in range(2, 12):
        write_events(bucket / f"b{number}.csv", [event(number)], NOW - timedelta(days=3 * number))
    load()
    assert len(ids(warehouse)) == 11


@pytest.mark.parametrize("limit", few([1, 0, 2, 1000]))
def test_a_run_with_a_limit_keeps_no_row_from_the_next_one(bucket, load, warehouse, limit):
    for number in range(3):
        # other columns each, so that they come in tables of their own
        write_events(bucket / f"{number}.csv", [event(number, **{f"c{number}": "x"})], NOW - timedelta(days=9 * number))
    pipeline = dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria")
    pipeline.run(ometria_source().with_resources("email_events").add_limit(limit), loader_file_format="parquet")
    load()
    assert ids(warehouse) == ["e0", "e1", "e2"]


def test_a_limit_leaves_no_trace_in_the_state(bucket, load, warehouse):
    write_events(bucket / "old.csv", [event(1)], NOW - timedelta(days=30))
    write_events(bucket / "new.csv", [event(2)], NOW)
    pipeline = dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria")
    source = ometria_source(start_date=NOW - timedelta(days=1)).with_resources("email_events")
    pipeline.run(source.add_limit(1000), loader_file_format="parquet")
    load()
    assert ids(warehouse) == ["e1", "e2"]


def test_a_reader_of_a_failed_run_leaves_the_next_run_of_the_same_source_alone(bucket, warehouse, monkeypatch):
    write_events(bucket / "good.csv", [event(1)], NOW)
    (bucket / "bad.csv").write_text("event_id,event_type\ne2\n")
    monkeypatch.setattr(parallel, "LAST_SECONDS", 0.0)
    first_has_failed, first_has_concluded = threading.Event(), threading.Event()
    look_again = event_reading.look_again

    def slow(file, *arguments):
        if file["relative_path"] == "good.csv" and not first_has_failed.is_set():
            first_has_failed.wait(30)
            first_has_concluded.set()
        return look_again(file, *arguments)

    monkeypatch.setattr(event_reading, "look_again", slow)
    source = ometria_source().with_resources("email_events")
    pipeline = dlt.pipeline("ometria_pipeline", destination="duckdb", dataset_name="ometria")
    with pytest.raises(PipelineStepFailed):
        pipeline.run(source)
    write_events(bucket / "bad.csv", [event(2)], NOW)
    list_files = event_export.list_files

    def list_late(*arguments):
        first_has_failed.set()
        assert first_has_concluded.wait(30)
        for thread in threading.enumerate():
            if thread.name.startswith("ometria-export"):
                thread.join(30)
        return list_files(*arguments)

    monkeypatch.setattr(event_export, "list_files", list_late)
    pipeline.run(source, loader_file_format="parquet")
    assert ids(warehouse) == ["e1", "e2"]


def test_every_format_loads_the_same_rows_with_the_same_keys(account, bucket, load, warehouse):
    write_events(bucket / "reference.csv", account.events[:300], NOW)
    load()
    keys = {row["event_key"] for row in warehouse.rows("email_events")}
    assert len(keys) == 300

    names = ["a.csv", "a.csv.gz", "a.tsv", "a.tsv.gz", "a.jsonl", "a.jsonl.gz", "a.parquet"]
    for name in names:
        write_events(bucket / name, account.events[:300], NOW)
    assert f"{len(names)} files read" in load().out
    others = {row["_file_path"] for row in warehouse.rows("email_events") if row["event_key"] not in keys}
    assert others == set()
    assert {row["event_key"] for row in warehouse.rows("email_events")} == keys


def test_a_load_from_a_notebook_logs_no_warning(account, bucket, monkeypatch):
    """dlt would warn for each table whose Arrow schema contradicts the columns as they are declared."""
    for number, name in enumerate(("a.csv", "b.jsonl", "c.parquet")):
        write_events(bucket / name, account.events[number * 50 : number * 50 + 50], NOW)
    warnings: list[str] = []
    monkeypatch.setattr(logging.getLogger("dlt"), "handle", lambda record: warnings.append(record.getMessage()))
    pipeline = dlt.pipeline("notebook", destination="duckdb", dataset_name="ometria")
    pipeline.run(ometria_source().with_resources("email_events"))
    assert not warnings


def test_each_row_tells_its_file_and_place(bucket, load, warehouse):
    write_events(bucket / "open" / "a.csv", [event(1), event(2)], NOW - timedelta(hours=5))
    load()
    rows = sorted(warehouse.rows("email_events"), key=lambda row: row["_row_number"])
    assert [(row["_file_path"], row["_row_number"], row["event_id"]) for row in rows] == [
        ("open/a.csv", 1, "e1"),
        ("open/a.csv", 2, "e2"),
    ]
    assert {row["_file_modified_at"] for row in rows} == {NOW - timedelta(hours=5)}


def test_late_same_second_and_rewritten_files_are_read_and_unchanged_ones_are_not(bucket, load, warehouse):
    write_events(bucket / "a.csv", [event(1)], NOW)
    load()
    write_events(bucket / "late.csv", [event(2)], NOW - timedelta(days=1))
    write_events(bucket / "same_second.csv", [event(3)], NOW)
    write_events(bucket / "a.csv", [event(1), event(4)], NOW)
    result = load()
    assert ids(warehouse) == ["e1", "e2", "e3", "e4"]
    assert "3 files read" in result.out

    assert "3 known files not read again" in load().out


def test_a_file_older_than_the_lag_is_left_alone_and_counted_and_a_backfill_reads_it(bucket, load, warehouse):
    write_events(bucket / "a.csv", [event(1)], NOW)
    load()
    too_late = NOW - timedelta(days=5)
    write_events(bucket / "too_late.csv", [event(2)], too_late)
    assert "1 files older than the window left alone" in load().out
    assert ids(warehouse) == ["e1"]

    start, end = (too_late - timedelta(hours=1)).isoformat(), (too_late + timedelta(hours=1)).isoformat()
    load("--start-date", start, "--end-date", end)
    assert ids(warehouse) == ["e1", "e2"]
    # the backfill moved neither cursor nor manifest
    assert "1 known files not read again" in load().out


def test_a_backfill_with_a_declared_key_warns_of_newer_files(bucket, load, warehouse, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__EMAIL_EVENTS_KEY", '["event_id"]')
    write_events(bucket / "a.csv", [event(1)], NOW)
    write_events(bucket / "old.csv", [event(2)], NOW - timedelta(days=30))
    window = ("--start-date", (NOW - timedelta(days=31)).isoformat(), "--end-date")
    assert "1 files are newer than this backfill" in load(*window, (NOW - timedelta(days=29)).isoformat()).out
    assert "newer than this backfill" not in load(*window, (NOW + timedelta(seconds=1)).isoformat()).out


def test_a_modification_time_in_the_future_never_becomes_the_cursor(bucket, load, warehouse):
    write_events(bucket / "future.csv", [event(1)], NOW + timedelta(days=400))
    write_events(bucket / "a.csv", [event(2)], NOW - timedelta(days=1))
    load()
    write_events(bucket / "b.csv", [event(3)], NOW)
    load()
    assert ids(warehouse) == ["e1", "e2", "e3"]


def test_a_start_date_leaves_older_files_out_of_the_first_load(bucket, load, warehouse):
    write_events(bucket / "old.csv", [event(1)], NOW - timedelta(days=30))
    write_events(bucket / "new.csv", [event(2)], NOW)
    load("--start-date", (NOW - timedelta(days=10)).isoformat())
    assert ids(warehouse) == ["e2"]


def test_hidden_files_and_folder_markers_are_skipped_and_counted(bucket, load, warehouse):
    write_events(bucket / "a.csv", [event(1)], NOW)
    (bucket / "_SUCCESS").write_text("")
    (bucket / ".part.csv").write_text("half,a")
    (bucket / "_temporary").mkdir()
    (bucket / "_temporary" / "x.csv").write_text("half,a")
    # a local listing leaves out what begins with a dot by itself
    assert "2 files skipped" in load().out
    assert ids(warehouse) == ["e1"]


def test_with_a_declared_key_the_newest_file_wins(bucket, load, warehouse, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__EMAIL_EVENTS_KEY", '["event_id"]')
    write_events(bucket / "a.csv", [event(1, event_type="new")], NOW)
    write_events(bucket / "b.csv", [event(1, event_type="old")], NOW - timedelta(days=1))
    load()
    assert [row["event_type"] for row in warehouse.rows("email_events")] == ["new"]


@pytest.mark.parametrize("declared", few([True, False]))
def test_a_late_file_does_not_overwrite_newer_rows_of_a_declared_key(bucket, load, warehouse, monkeypatch, declared):
    """Newer files that were read before are read again with it. Rows of one content hash cannot differ."""
    if declared:
        monkeypatch.setenv("SOURCES__OMETRIA__EMAIL_EVENTS_KEY", '["event_id"]')
    write_events(bucket / "older.csv", [event(1, event_type="oldest"), event(2)], NOW - timedelta(hours=5))
    write_events(bucket / "newest.csv", [event(1, event_type="newest")], NOW)
    load()
    write_events(bucket / "late.csv", [event(1, event_type="late"), event(3)], NOW - timedelta(hours=3))
    result = load()

    if declared:
        assert "2 files read" in result.out
        assert "1 of them known ones that are newer than a late one" in result.out
        assert "1 known files not read again" in result.out
        types = {row["event_id"]: row["event_type"] for row in warehouse.rows("email_events")}
        assert types == {"e1": "newest", "e2": "open", "e3": "open"}
    else:
        assert "1 files read" in result.out
        assert "2 known files not read again" in result.out
        assert len(warehouse.rows("email_events")) == 5
    assert "3 known files not read again" in load().out


def test_the_first_load_of_many_old_files_leaves_little_state(bucket, load, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__FILE_LAG_DAYS", "1")
    for number in range(60):
        write_events(bucket / f"{number}.csv", [event(number)], NOW - timedelta(days=number))
    load()
    state = dlt.attach("ometria_pipeline").state["sources"]["ometria"]["resources"]["email_events"]
    assert sum(map(len, state["manifest"].values())) == 2
    second = load()
    assert "2 known files not read again" in second.out
    assert "58 files older than the window left alone" in second.out


def test_an_export_whose_newest_files_are_empty_is_not_read_again(bucket, load):
    """A file without rows moves no cursor, so those before it stay inside of the lag."""
    write_events(bucket / "a.csv", [event(1)], NOW - timedelta(days=30))
    write_events(bucket / "empty.csv", [], NOW)
    load()
    assert "2 known files not read again" in load().out


def test_a_file_without_a_declared_key_column_is_an_error_that_names_it(bucket, run, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__EMAIL_EVENTS_KEY", '["send_key"]')
    write_events(bucket / "a.csv", [event(1)], NOW)
    result = run()
    assert result.status == 1
    assert "a.csv" in result.out
    assert "send_key" in result.out


def test_a_part_of_a_jsonl_file_may_lack_a_column_of_the_key(bucket, load, warehouse, monkeypatch):
    """Where opens have no link and clicks do, a block of opens has no such column."""
    monkeypatch.setenv("SOURCES__OMETRIA__EMAIL_EVENTS_KEY", '["event_id", "link"]')
    monkeypatch.setattr(jsonl_reader, "BATCH_LINES", 10)
    opens = "".join(f'{{"event_id": "e{number}"}}\n' for number in range(50))
    (bucket / "a.jsonl").write_text(opens + '{"event_id": "e1", "link": "/x"}\n' + opens)
    load()
    assert sorted(ids(warehouse)) == sorted([*(f"e{number}" for number in range(50)), "e1"])


def test_a_row_without_any_cell_of_the_declared_key_is_an_error_that_gives_its_row(bucket, load, run, monkeypatch):
    """All such rows would share one key, and only one of them be loaded."""
    monkeypatch.setenv("SOURCES__OMETRIA__EMAIL_EVENTS_KEY", '["send_id", "target_url"]')
    write_events(bucket / "a.csv", [event(1, send_id="s1"), event(2, target_url="/x")], NOW)
    load()
    write_events(bucket / "b.csv", [event(3, send_id="s3"), event(4)], NOW)
    result = run()
    assert result.status == 1
    assert "b.csv: row 2 is empty in all columns of `email_events_key`" in result.out


def test_declared_types_are_cast_and_a_missing_declared_column_is_null(bucket, load, warehouse, monkeypatch):
    monkeypatch.setenv("SOURCES__OMETRIA__EMAIL_EVENTS_COLUMNS", '{"at": "timestamp", "clicks": "bigint"}')
    write_events(bucket / "a.csv", [event(1, at="2024-02-03 04:05:06+00")], NOW)
    load()
    (row,) = warehouse.rows("email_events")
    assert row["at"] == truth.utc("2024-02-03T04:05:06Z")
    assert row["clicks"] is None
    assert warehouse.types("email_events")["clicks"] == "BIGINT"


def test_columns_that_come_and_go_and_change_order_are_loaded_by_name(bucket, load, warehouse):
    write_events(bucket / "a.csv", [{"event_id": "1", "b": "x"}], NOW)
    write_events(bucket / "b.csv", [{"c": "y", "event_id": "2"}], NOW)
    load()
    write_events(bucket / "d.csv", [{"D e": "z", "b": "w", "event_id": "3"}], NOW)
    result = load()
    found = {row["event_id"]: (row["b"], row["c"], row["d_e"]) for row in warehouse.rows("email_events")}
    assert found == {"1": ("x", None, None), "2": (None, "y", None), "3": ("w", None, "z")}
    assert "new columns: d_e" in result.out


@pytest.mark.slow
def test_a_new_column_is_added_where_other_tables_are_loaded_too(account, ometria, bucket, load, warehouse):
    """dlt would take the schema of the last package for the one that it has just brought up for the first."""
    write_events(bucket / "a.csv", [event(1)], NOW)
    load()
    write_events(bucket / "b.csv", [event(2, link="/x")], NOW)
    assert "new columns: link" in load().out
    assert ids(warehouse) == ["e1", "e2"]


def test_a_column_that_changes_type_gets_a_variant_and_blocks_nothing(bucket, load, warehouse):
    (bucket / "a.jsonl").write_text('{"event_id": "1", "count": 7}\n')
    load()
    (bucket / "b.jsonl").write_text('{"event_id": "2", "count": "many"}\n{"event_id": "3", "count": {"a": 1}}\n')
    load()
    found = {row["event_id"]: (row["count"], row.get("count__v_text")) for row in warehouse.rows("email_events")}
    assert found == {"1": (7, None), "2": (None, "many"), "3": (None, '{"a":1}')}


def test_columns_named_like_ours_are_kept_under_another_name(bucket, load, warehouse):
    write_events(bucket / "a.csv", [event(1, event_key="theirs", _row_number="9")], NOW)
    load()
    (row,) = warehouse.rows("email_events")
    assert (row["event_key_3f923286"], row["_row_number_a88ea6d8"], row["_row_number"]) == ("theirs", "9", 1)


def test_a_column_named_like_ours_overwrites_none_that_has_its_other_name(bucket, load, warehouse):
    (bucket / "a.csv").write_text("event_key,event_key_2,event_id\nmine,other,e1\n")
    load()
    (row,) = warehouse.rows("email_events")
    assert (row["event_key_2"], row["event_key_3f923286"], row["event_id"]) == ("other", "mine", "e1")


def test_a_bucket_that_runs_empty_is_a_loud_warning_but_no_error(bucket, load, warehouse):
    path = write_events(bucket / "a.csv", [event(1)], NOW)
    load()
    path.unlink()
    assert "no file of the export matches" in load().out
    assert ids(warehouse) == ["e1"]


def test_the_inventory_lists_every_file(bucket, load, warehouse):
    write_events(bucket / "a.csv", [event(1)], NOW)
    write_events(bucket / "x" / "b.csv", [event(2)], NOW)
    load("--tables", "email_event_files")
    rows = warehouse.rows("email_event_files")
    assert {row["file_path"] for row in rows} == {"a.csv", "x/b.csv"}
    assert warehouse.tables() == {"email_event_files"}
