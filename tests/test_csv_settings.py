"""The settings of csv through the program: what a load does with them, and how `--describe` finds them."""

from __future__ import annotations

import codecs

import pytest

from ometria_source import ometria_source
from ometria_source.exceptions import InvalidSettingError

ROWS = [(f"e{n}", f"Zoë {n}; or, so", "open") for n in range(150)]


def content(delimiter: str, encoding: str, mark: bytes = b"") -> bytes:
    lines = [delimiter.join(("event_id", "näme", "event_type"))]
    lines += [delimiter.join(f'"{cell}"' for cell in row) for row in ROWS]
    return mark + "\r\n".join(lines).encode(encoding)


@pytest.fixture(autouse=True)
def file_glob(monkeypatch):
    """The folder may hold other files."""
    monkeypatch.setenv("SOURCES__OMETRIA__FILE_GLOB", "*.csv")


@pytest.mark.parametrize(
    ("delimiter", "encoding", "mark", "settings"),
    [
        pytest.param(";", "utf-8", b"", {"csv_delimiter": ";"}, marks=pytest.mark.slow),
        ("|", "utf-8", codecs.BOM_UTF8, {"csv_delimiter": "|"}),
        ("\t", "cp1252", b"", {"csv_delimiter": "\t", "csv_encoding": "cp1252"}),
        pytest.param(";", "utf-16", b"", {"csv_delimiter": ";", "csv_encoding": "utf-16"}, marks=pytest.mark.slow),
        (",", "utf-16-be", b"", {"csv_encoding": "utf-16-be"}),
        pytest.param(",", "utf-32", b"", {"csv_encoding": "utf-32"}, marks=pytest.mark.slow),
        pytest.param(",", "cp1252", b"", {"csv_encoding": "cp1252"}, marks=pytest.mark.slow),
    ],
)
def test_what_describe_prints_loads_the_file(
    bucket,
    run,
    load,
    warehouse,
    paste,
    delimiter,
    encoding,
    mark,
    settings,
):
    """Which a load without these lines refuses, in a sentence."""
    (bucket / "a.csv").write_bytes(content(delimiter, encoding, mark))
    refused = run()
    assert (refused.status, "a.csv, line 1" in refused.out) == (1, True)
    assert "email_events" not in warehouse.tables()
    described = run("--describe")
    assert (described.status, described.err) == (0, "")
    found = paste(described.out)
    assert {name: value for name, value in found.items() if name.startswith("csv_")} == settings
    assert found["email_events_key"] == ["event_id"]

    load()
    loaded = {(row["event_id"], row["n_me"], row["event_type"]) for row in warehouse.rows("email_events")}
    assert loaded == set(ROWS)


def test_describe_proposes_no_dialect_that_breaks_other_files(bucket, run):
    """Each file's own is printed, and that no setting holds for all."""
    (bucket / "a.csv").write_text("id;type\n1;open\n")
    (bucket / "b.csv").write_text("id,type\n1,open\n")
    result = run("--describe")
    assert "a.csv: its cells are delimited by `;`; the files differ in this" in result.out
    assert "csv_delimiter" not in result.out


def test_describe_calls_a_guess_a_guess(bucket, run):
    """Encodings of one byte a character cannot be told apart."""
    (bucket / "a.csv").write_bytes("id,näme\n1,2\n".encode("cp1252"))
    assert "a.csv: its text is cp1252, a guess" in run("--describe").out


@pytest.mark.parametrize("value", [";;", "", "a", "7", "_", '"', "'", "\n", "é", "\r"])
def test_what_cannot_delimit_is_refused(run, monkeypatch, value):
    """Before anything is read."""

    with pytest.raises(InvalidSettingError, match="`csv_delimiter` must be one ASCII character"):
        ometria_source(csv_delimiter=value)


@pytest.mark.parametrize("value", ["utf-9", "", "base64", "rot13", "idna", "unicode_escape", "undefined", "x\0", "hex"])
def test_what_is_no_encoding_is_refused(value):
    """Before anything is read."""

    with pytest.raises(InvalidSettingError, match="`csv_encoding` must be the name of an encoding"):
        ometria_source(csv_encoding=value)


def test_a_bad_setting_ends_the_program_before_it_reads(bucket, run, monkeypatch):
    """A load and a description alike."""
    monkeypatch.setenv("SOURCES__OMETRIA__CSV_ENCODING", "nothing")
    for flags in ((), ("--describe",)):
        result = run(*flags)
        assert (result.status, "`csv_encoding`" in result.err) == (2, True)


@pytest.mark.parametrize("on_bad_file", ["fail", "skip"])
def test_a_declared_column_that_no_file_has_is_reported(bucket, load, warehouse, monkeypatch, on_bad_file):
    """Once a run that reads a file, with the nearest name."""
    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", on_bad_file)
    monkeypatch.setenv("SOURCES__OMETRIA__EMAIL_EVENTS_COLUMNS", '{"event_tme": "timestamp", "clicks": "bigint"}')
    for name in "ab":
        (bucket / f"{name}.csv").write_text(f"id,event_time,clicks\n{name},2026-01-01,1\n")
    result = load()
    assert result.out.count("`event_tme`, a column that no file of this run has") == 1
    assert "is `event_time` meant?" in result.out
    assert "`clicks`" not in result.out
    assert "`event_tme`" not in load().out
    (bucket / "c.csv").write_text("id,event_time\nc,2026-01-01\n")
    result = load()
    assert result.out.count("`event_tme`") == 1
    # files of an earlier run had it
    assert "`clicks`" not in result.out
    assert {row["event_tme"] for row in warehouse.rows("email_events")} == {None}


def test_a_key_that_a_file_lacks_is_refused_with_the_nearest_name(bucket, run, monkeypatch):
    """But not with a cell of a file that has no header."""
    monkeypatch.setenv("SOURCES__OMETRIA__EMAIL_EVENTS_KEY", '["email_id"]')
    (bucket / "a.csv").write_text("Email_Id,type\n1,open\n")
    assert "`email_id` of `email_events_key` is missing; is `Email_Id` meant?" in run().out
    (bucket / "a.csv").write_text("email_id@shop.test,email12345\n1,open\n")
    result = run()
    assert "`email_events_key` is missing. " in result.out
    assert "shop.test" not in result.out + result.err


@pytest.mark.parametrize("on_bad_file", ["fail", "skip"])
def test_unnamed_columns_are_left_out_with_one_notice(bucket, load, warehouse, monkeypatch, on_bad_file):
    """And the rows load as if the columns were not there."""
    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", on_bad_file)
    for name in "ab":
        (bucket / f"{name}.csv").write_text(f"id,type,,\n{name},open,,\n")
    result = load()
    assert result.out.count("columns at the end without a name") == 1
    assert "left out of a.csv (files: 2)" in result.out
    assert {name for name in warehouse.types("email_events") if name[0] != "_"} == {"id", "type", "event_key"}


def test_data_in_an_unnamed_column_is_refused(bucket, run, warehouse, monkeypatch):
    """With its line; no event is loaded, or the file is skipped."""
    (bucket / "a.csv").write_text("id,type,\na,open,\nb,open,secret\n")
    result = run()
    assert (result.status, "a.csv, line 3: column 3 has no name" in result.out) == (1, True)
    monkeypatch.setenv("SOURCES__OMETRIA__ON_BAD_FILE", "skip")
    result = run()
    assert (result.status, "skipped a.csv, line 3" in result.out) == (0, True)
    assert "left out of" not in result.out
    assert "secret" not in result.out + result.err
