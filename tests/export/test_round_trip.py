"""One table, written in every format: the same rows and the same keys come back."""

from __future__ import annotations

import pyarrow as pa
import pytest
from export_files import as_delimited, as_jsonl, as_parquet, gzipped, tables, zipped, zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ometria_source.export import compression
from ometria_source.export import csv as csv_reader
from ometria_source.export import jsonl as jsonl_reader
from ometria_source.export import parquet as parquet_reader
from ometria_source.export.csv import CsvDialect
from ometria_source.export.row_keys import row_keys

# What a destination takes as a column's name, and what a csv file can say: no NUL, no half of a surrogate pair.
NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name.isprintable() and name.strip())
TRICKY = st.text(alphabet=',;\t"\n\r \\\ufeffé日👩a0', max_size=8)
PLAIN = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
CELLS = st.one_of(st.none(), st.just(""), st.sampled_from(["007", "1e5", "NaN", "null", "2024-02-03"]), TRICKY, PLAIN)


@st.composite
def text_tables(draw):
    """Names of columns, and rows of cells."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    row = st.lists(CELLS, min_size=len(names), max_size=len(names))
    return names, draw(st.lists(row, min_size=1, max_size=8))


def written(names, cells, newline):
    """The table as a file in each format."""
    columns = {name: pa.array(values, pa.string()) for name, *values in zip(names, *cells, strict=True)}
    return {
        "events.csv": as_delimited(names, cells, ",", newline),
        "events.tsv": as_delimited(names, cells, "\t", newline),
        "events.jsonl": as_jsonl(names, cells),
        "events.parquet": as_parquet(pa.table(columns)),
    }


def read(content, path, dialect=None):
    """The rows of a file and their keys."""
    parts = tables(content, path, dialect=dialect)
    return [row for part in parts for row in part.to_pylist()], [
        key for part in parts for key in row_keys(part).to_pylist()
    ]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=text_tables(), newline=st.sampled_from(["\n", "\r\n", "\r"]), small=st.booleans())
def test_a_table_reads_equal_from_every_format_plain_and_compressed(table, newline, small):
    names, cells = table
    expected = [dict(zip(names, row, strict=True)) for row in cells]
    all_keys = []
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(csv_reader, "BLOCK_BYTES", 8)
            patch.setattr(jsonl_reader, "BATCH_LINES", 2)
            patch.setattr(parquet_reader, "BATCH_ROWS", 3)
            patch.setattr(compression, "PIECE_BYTES", 5)
        for path, content in written(names, cells, newline).items():
            # the name of an only column that holds a delimiter needs the setting
            dialect = CsvDialect("\t" if "tsv" in path else ",") if len(names) == 1 else None
            rows, keys = read(content, path, dialect)
            # A batch of JSON lines in which a field is always null may lack it.
            assert [{name: row.get(name) for name in names} for row in rows] == expected
            for suffix, pack in (("gz", gzipped), ("zst", zstandard), ("zip", zipped)):
                assert read(pack(content), f"{path}.{suffix}", dialect) == (rows, keys)
            all_keys.append(keys)
    assert all(keys == all_keys[0] for keys in all_keys)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_of_one_column_writes_null_as_an_empty_line(newline):
    cells = [["x"], [None], [""], [None], [None]]
    content = as_delimited(["a"], cells, ",", newline)
    assert content.decode() == newline.join(["a", "x", "", '""', "", "", ""])
    rows, keys = read(content, "events.csv")
    assert rows == [{"a": cell} for (cell,) in cells]
    assert keys == read(as_jsonl(["a"], cells), "events.jsonl")[1]
