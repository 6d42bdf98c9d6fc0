"""What a file is, by its name."""

from __future__ import annotations

import pytest

from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.formats import format_of


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("events.csv", ("csv", None)),
        ("events.tsv", ("tsv", None)),
        ("events.tab", ("tsv", None)),
        ("events.jsonl", ("jsonl", None)),
        ("events.ndjson", ("jsonl", None)),
        ("events.json", ("jsonl", None)),
        ("events.parquet", ("parquet", None)),
        ("events.csv.gz", ("csv", "gzip")),
        ("events.jsonl.gz", ("jsonl", "gzip")),
        ("events.parquet.gz", ("parquet", "gzip")),
        ("EVENTS.CSV.GZ", ("csv", "gzip")),
        ("2024/02.jsonl/part-0.csv", ("csv", None)),  # only the last part counts
        ("a.b.c/events.2024-02-03.csv", ("csv", None)),
        ("ünïcode events.csv", ("csv", None)),
        (".csv", ("csv", None)),
    ],
)
def test_the_name_tells_format_and_compression(path, expected):
    assert format_of(path) == expected


@pytest.mark.parametrize(
    "path", ["events", "events.txt", "events.gz", "csv", "a.csv/events", "events.csv.bak", "", "x."]
)
def test_a_name_that_tells_nothing_is_refused_with_a_way_out(path):
    with pytest.raises(UnreadableFileError, match="set `file_format` to csv, tsv, jsonl or parquet") as caught:
        format_of(path)
    assert caught.value.path == path


@pytest.mark.parametrize("override", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("path", "compression"),
    [("events.csv", None), ("events.txt", None), ("events", None), ("events.gz", "gzip"), ("events.txt.GZ", "gzip")],
)
def test_the_setting_overrides_the_format_and_never_the_compression(path, override, compression):
    assert format_of(path, override) == (override, compression)
