"""What a file is, by its name."""

from __future__ import annotations

import pytest

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
        ("events.csv.zst", ("csv", "zstd")),
        ("events.csv.zstd", ("csv", "zstd")),
        ("events.csv.gzip", ("csv", "gzip")),
        ("events.csv.zip", ("csv", "zip")),
        ("export.zip", (None, "zip")),
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
    ("path", "compression"),
    [("events", None), ("events.txt", None), ("events.gz", "gzip"), ("csv", None), ("a.csv/events", None),
     ("events.csv.bak", None), ("", None), ("x.", None)],
)  # fmt: skip
def test_a_name_may_tell_no_format(path, compression):
    assert format_of(path) == (None, compression)


@pytest.mark.parametrize("override", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("path", "compression"),
    [("events.csv", None), ("events.txt", None), ("events", None), ("events.gz", "gzip"), ("events.txt.GZ", "gzip")],
)
def test_the_setting_overrides_the_format_and_never_the_compression(path, override, compression):
    assert format_of(path, override) == (override, compression)
