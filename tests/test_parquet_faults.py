"""Parquet files that once blocked every later run, or arrived altered: end to end."""

from __future__ import annotations

import struct
import uuid
from datetime import datetime

import pyarrow as pa
from pyarrow import parquet

NOT_UTF8 = pa.StringArray.from_buffers(2, pa.py_buffer(struct.pack("<3i", 0, 1, 3)), pa.py_buffer(b"a\xff\xfe"))


def write(path, **columns):
    parquet.write_table(pa.table({"event_id": ["e1", "e2"], **columns}), path)


def test_text_that_is_not_utf8_fails_one_run_and_the_mended_file_loads(bucket, run, load, warehouse):
    """No package that can never be loaded is left behind."""
    write(bucket / "good.parquet", label=["x", "y"])
    write(bucket / "bad.parquet", label=NOT_UTF8)
    result = run()
    assert result.status == 1
    assert "bad.parquet: column `label` is declared as text, but holds bytes that are not UTF-8" in result.out
    assert "Traceback" not in result.out + result.err
    assert "email_events" not in warehouse.tables()

    parquet.write_table(pa.table({"event_id": ["e3"], "label": ["mended"]}), bucket / "bad.parquet")
    load()
    assert sorted(row["event_id"] for row in warehouse.rows("email_events")) == ["e1", "e2", "e3"]


def test_a_bad_file_is_skipped_where_it_may_be(bucket, load, warehouse, monkeypatch):
    """The others load."""
    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", "skip")
    write(bucket / "good.parquet", label=["x", "y"])
    write(bucket / "bad.parquet", label=NOT_UTF8)
    assert "skipped bad.parquet: column `label`" in load().out
    assert len(warehouse.rows("email_events")) == 2


def test_years_beyond_9999_load(bucket, load, warehouse):
    """With and without a column that has its type already."""
    instants = pa.array([datetime(2024, 2, 3), None], pa.timestamp("us", "UTC"))  # noqa: DTZ001
    far = pa.array([253_402_300_800_000_000, 0], pa.timestamp("us", "UTC"))
    write(bucket / "a.parquet", at=instants, other=pa.array([1, 2], pa.date32()))
    load()
    write(bucket / "b.parquet", at=far, other=pa.array([2_932_897, -719_163], pa.date32()))
    load()
    rows = warehouse.rows("email_events")
    texts = {row.get("at__v_text") for row in rows} - {None}
    assert texts == {"10000-01-01T00:00:00Z"}
    assert len(rows) == 4
    assert {row["other__v_text"] for row in rows} >= {"10000-01-01"}


def test_an_event_has_one_key_in_every_format(bucket, load, warehouse):
    """UUIDs, nested too."""
    ids = [uuid.UUID(int=1), uuid.UUID(int=2)]
    array = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([one.bytes for one in ids], pa.binary(16)))
    nested = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), array)
    write(bucket / "a.parquet", send_id=array, ids=nested)
    (bucket / "a.jsonl").write_text(
        "".join(f'{{"event_id":"e{one.int}","send_id":"{one}","ids":["{one}"]}}\n' for one in ids)
    )
    load()
    assert sorted(row["send_id"] for row in warehouse.rows("email_events")) == list(map(str, ids))


def test_an_empty_file_among_others_is_none_of_the_bad_ones(bucket, load, warehouse):
    """As an empty csv file."""
    (bucket / "empty.parquet").write_bytes(b"")
    write(bucket / "good.parquet")
    load()
    assert len(warehouse.rows("email_events")) == 2
