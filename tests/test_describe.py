"""`--describe`: what it tells of an export, that what it says to set works, and that it shows nothing of anybody."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import sys
import zipfile
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pytest
from pasted_settings import settings_in
from pyarrow import parquet

from ometria_source.simulator import write_events

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NOW = datetime.now(timezone.utc).replace(microsecond=0)


def line_of(out: str, start: str) -> str:
    return next(line for line in out.splitlines() if line.strip().startswith(start))


def events(count: int, start: int = 0) -> list[dict[str, str | None]]:
    return [
        {
            "event_id": f"e{number}",
            "event_type": ("send", "open")[number % 2],
            "sent at": f"2024-02-03 04:05:{number % 60:02}+01",
            "profile_id": f"{number % 7:03}",
            "clicks": str(number % 3),
        }
        for number in range(start, start + count)
    ]


def test_the_simulated_export_is_described_and_what_is_pasted_loads_it(account, export, run, load, warehouse, paste):
    result = run("--describe")
    assert result.status == 0
    assert result.err == ""
    assert "csv (by its name) in gzip (by its name)" in result.out
    assert "bounce, click, open, send" in line_of(result.out, "event_type")
    assert re.search(r"^  email +profiles\.email +by name and by shape$", result.out, re.MULTILINE)
    assert paste(result.out) == {
        "email_events_key": ["event_id"],
        "email_events_columns": {"event_time": "timestamp"},
    }

    load()
    assert {row["event_id"] for row in warehouse.rows("email_events")} == {e["event_id"] for e in account.events}
    assert warehouse.types("email_events")["event_time"] == "TIMESTAMP WITH TIME ZONE"


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "part-0"])
def test_what_is_pasted_loads_each_format_and_a_name_with_a_space_is_quoted(bucket, run, load, warehouse, paste, name):
    if name == "part-0":
        write_events(bucket / "a.tsv", events(120), NOW).rename(bucket / name)
    else:
        write_events(bucket / name, events(120), NOW)
    result = run("--describe")
    assert result.status == 0
    settings = paste(result.out)
    assert settings.get("file_format") == ("tsv" if name == "part-0" else None)
    assert settings["email_events_key"] == ["event_id"]
    assert settings["email_events_columns"] == {"sent at": "timestamp", "clicks": "bigint"}

    load()
    rows = warehouse.rows("email_events")
    assert len(rows) == 120
    assert {row["profile_id"] for row in rows} == {f"{number:03}" for number in range(7)}
    assert min(row["sent_at"] for row in rows) == datetime(2024, 2, 3, 3, 5, tzinfo=timezone.utc)
    assert warehouse.types("email_events")["clicks"] == "BIGINT"


def test_what_is_pasted_loads_files_that_disagree_about_columns_and_types(bucket, run, load, warehouse, paste):
    (bucket / "a.jsonl").write_text('{"profile_id": 7, "event_key": "2024-01-01", "Sent At": "2024-02-03T04:05:06Z"}\n')
    (bucket / "b.jsonl").write_text('{"profile_id": "008", "sent_at": "2024-02-03", "price": 1}\n')
    (bucket / "c.jsonl").write_text('{"profile_id": 9, "price": 1.5, "odd.name": "true"}\n')
    settings = paste(run("--describe").out)
    assert settings == {"email_events_columns": {"profile_id": "text", "price": "double", "odd.name": "bool"}}

    load()
    rows = warehouse.rows("email_events")
    assert sorted(row["profile_id"] for row in rows) == ["008", "7", "9"]
    assert {row["price"] for row in rows} == {None, 1.0, 1.5}
    assert {row["event_key_3f923286"] for row in rows} == {None, "2024-01-01"}


def test_one_row_an_email_is_told_and_its_key_is_given(bucket, run, load, warehouse, paste):
    for day in range(3):
        rows = [
            {"email_id": f"m{n}", "email_opened": "false" if day < 2 else "true", "number_of_clicks": str(day)}
            for n in range(day * 10, day * 10 + 30)
        ]
        write_events(bucket / f"{day}.csv", rows, NOW - timedelta(days=3 - day))
    result = run("--describe")
    assert "A row here may be an e-mail" in result.out
    assert paste(result.out)["email_events_key"] == ["email_id"]

    load()
    assert len(warehouse.rows("email_events")) == 50


def test_a_key_that_may_be_chance_is_only_a_comment(bucket, run):
    write_events(bucket / "a.csv", [{"profile_id": str(n), "note": f"n{n}"} for n in range(5)], NOW)
    result = run("--describe")
    assert "email_events_key" not in tomllib.loads(settings_in(result.out))["sources"]["ometria"]
    assert '# email_events_key = ["note"]' in result.out
    assert "over the 5 different rows" in result.out


def test_a_column_that_a_file_lacks_is_no_key(bucket, run):
    write_events(bucket / "a.csv", events(120), NOW)
    (bucket / "b.csv").write_text("other,columns\n")
    result = run("--describe")
    assert "1/2" in line_of(result.out, "event_id")
    assert "no column, and no pair" in result.out


def test_only_the_newest_files_are_read_and_of_a_long_one_only_its_first_part(bucket, run):
    for number in range(12):
        write_events(bucket / f"{number:02}.csv", events(3, start=number * 10), NOW - timedelta(hours=number))
    (bucket / "11.csv").write_text("not,read\n1\n")
    os.utime(bucket / "11.csv", (0, 0))
    (bucket / "00.csv").write_bytes(b"event_id\n" + b"".join(b"e%d\n" % number for number in range(10_001)))
    (bucket / "empty.csv").write_text("")
    (bucket / "_SUCCESS").write_text("")
    result = run("--describe")
    assert result.status == 0
    assert "The export has 13 files." in result.out
    assert "1 file of no bytes" in result.out
    assert "1 file more skipped" in result.out
    assert "from 1970-01-01 00:00:00 to" in result.out
    assert "10,000 rows  only its first part was read" in line_of(result.out, "00.csv")
    assert "09.csv" in result.out
    assert "10.csv" not in result.out


def test_files_that_cannot_be_read_are_named_and_all_others_are_described(bucket, run):
    write_events(bucket / "good.csv", events(2), NOW)
    (bucket / "broken.csv").write_text("a,b\n1,2\nsomeone@shop.test,2,3\n")
    (bucket / "damaged.csv.gz").write_bytes(gzip.compress(b"a,b\n")[:-5])
    (bucket / "picture").write_bytes(bytes(range(256)))
    (bucket / "cut.zip").write_bytes(b"PK\x03\x04\x14\x00")
    zipfile.ZipFile(bucket / "nothing.zip", "w").close()
    result = run("--describe")
    assert result.status == 1
    assert "broken.csv, line 3: this record has 3 cells where the header has 2." in result.out
    assert "was loaded" not in result.out
    assert "damaged.csv.gz: " in result.out
    assert "cut.zip: is not a zip file, is damaged" in result.out
    assert "0 rows" in line_of(result.out, "nothing.zip")
    assert "picture: neither its name nor its first bytes tell its format" in result.out
    assert "event_id" in result.out
    assert "someone" not in result.out + result.err


def test_packed_files_and_the_files_in_a_zip_are_told(bucket, run):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("opens.csv", "event_id,opened_at\n1,2024-02-03\n")
        archive.writestr("sends.jsonl", '{"event_id": "2", "who": {"email": "ada@shop.test"}}\n')
    (bucket / "two.zip").write_bytes(sink.getvalue())
    (bucket / "none").write_bytes(gzip.compress(b'{"event_id": "3"}\n'))
    sink = io.BytesIO()
    parquet.write_table(pa.table({"event_id": ["4"], "amount": pa.array([1], pa.decimal128(9, 2))}), sink)
    (bucket / "x.parquet").write_bytes(sink.getvalue())
    result = run("--describe")
    assert result.status == 0
    assert "csv (by its name) in zip (by its name); jsonl (by its name) in zip (by its name)" in result.out
    assert "jsonl (by its first bytes) in gzip (by its first bytes)" in result.out
    assert "json" in line_of(result.out, "who")
    assert "decimal" in line_of(result.out, "amount")
    assert "ada" not in result.out


def test_a_file_format_that_would_break_other_files_is_not_suggested(bucket, run):
    write_events(bucket / "a.jsonl", events(3), NOW)
    (bucket / "noname").write_text("event_id,event_type\n1,open\n")
    result = run("--describe")
    assert "noname: a load refuses it" in result.out
    assert "file_format = " not in result.out


@pytest.mark.parametrize(
    "content",
    [
        "ada@shop.test,Ada Lovelace,open\nbob@shop.test,Bob Hopper,click\n",
        "Ada Lovelace,open,Spring\nBob Hopper,open,Spring\n",
        "e1,+44 7700 900123\ne2,+44 7700 900124\n",
        "e1,10.1.2.3\ne2,10.1.2.4\n",
    ],
)
def test_a_file_without_a_header_is_told_and_its_first_line_is_not_shown(bucket, run, content):
    (bucket / "a.csv").write_text(content)
    result = run("--describe")
    assert result.status == 0
    assert "a.csv: its first line looks like data" in result.out
    for text in ("ada", "Ada", "Lovelace", "7700", "10.1.2"):
        assert text not in result.out


def test_a_column_whose_name_is_data_is_not_named_and_one_that_a_terminal_obeys_is_escaped(bucket, run):
    (bucket / "a.jsonl").write_text(
        json.dumps({"ada@shop.test": "bob@shop.test", "red\x1b[31m\nline": "2024-01-01"}) + "\n"
    )
    result = run("--describe")
    assert "ada" not in result.out
    assert "bob" not in result.out
    assert "\x1b" not in result.out
    assert tomllib.loads(settings_in(result.out))["sources"]["ometria"] == {
        "email_events_columns": {"red\x1b[31m\nline": "date"}
    }


def test_cells_that_are_divided_by_something_else_than_is_set_are_told(bucket, run, monkeypatch):
    (bucket / "a.csv").write_text("event_id;event_type\n1;open\n")
    monkeypatch.setenv("SOURCES__OMETRIA__CSV_DELIMITER", ",")
    assert "a.csv: it has one column" in run("--describe").out


def test_it_writes_nothing(account, export, run, workspace, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert run("--describe", "--verbose").status == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert not list(workspace.iterdir())


def test_nothing_that_is_asked_of_it_in_vain_is_more_than_a_sentence(bucket, run, monkeypatch, tmp_path):
    result = run("--describe")
    assert (result.status, result.out) == (1, "")
    assert "No file of the export matches `file_glob`" in result.err

    monkeypatch.setenv("SOURCES__OMETRIA__BUCKET_URL", (tmp_path / "nowhere").as_uri())
    result = run("--describe")
    assert (result.status, result.out) == (1, "")
    assert "bucket_url" in result.err

    monkeypatch.setenv("SOURCES__OMETRIA__FILE_FORMAT", "xlsx")
    assert run("--describe").status == 2
    assert "file_format" in run("--describe").err


def test_without_a_bucket_it_fails_as_its_table_does(run):
    result = run("--describe")
    assert result.status == 1
    assert "SOURCES__OMETRIA__BUCKET_URL" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("flags", [("--tables", "email_events"), ("--full-refresh",), ("--demo",)])
def test_it_goes_with_no_other_flag(export, run, workspace, flags):
    result = run("--describe", *flags)
    assert result.status == 2
    assert "goes with no other flag but --verbose" in result.err
    assert not list(workspace.iterdir())
