"""Small Parquet files that unpack to gigabytes: each is read, or refused, in less than a gigabyte of memory."""

from __future__ import annotations

import pyarrow as pa
import pytest
from export_files import as_parquet, refusal, tables
from peak_memory import run_measured

MIB = 1 << 20

# More than decoding what is allowed takes (600 MiB, 200 of them Python and Arrow), and less than a small machine has.
# 1 GB
MOST_MIB = 953

# Reads each file of the folder argv[1] up to a number of rows, argv[2], and prints its rows and its refusal.
READER = """
import sys
from pathlib import Path
from ometria_source.exceptions import UnreadableFileError
from ometria_source.export.read import read_tables

for path in sorted(Path(sys.argv[1]).glob("*.parquet")):
    rows, problem = 0, ""
    with path.open("rb") as stream:
        try:
            for table in read_tables(path.name, stream):
                rows += table.num_rows
                if rows >= int(sys.argv[2]):
                    break
        except UnreadableFileError as error:
            problem = error.problem
    print(path.stem, rows, problem, sep="|")
"""

pytestmark = pytest.mark.slow


def repeated(text, times):
    """One text in each of many rows, which takes a few bytes in a file."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([text]))


def in_lists(array, length):
    """Lists of this length."""
    return pa.ListArray.from_arrays(pa.array(range(0, len(array) + 1, length), pa.int32()), array)


def read(tmp_path, rows, files):
    """How one process reads files, each of them small: the rows and the refusal of each, by name."""
    for name, (columns, settings) in files.items():
        path = tmp_path / f"{name}.parquet"
        written = {"compression": "zstd", "dictionary_pagesize_limit": 1 << 30, "store_schema": False, **settings}
        path.write_bytes(as_parquet(pa.table(columns), **written))
        assert path.stat().st_size < 20_000
    _, lines, peak = run_measured(READER, str(tmp_path), str(rows))
    assert peak < MOST_MIB
    return {name: (int(count), problem) for name, count, problem in (line.split("|") for line in lines)}


HUGE, LONG = "x" * (17 * MIB), "x" * MIB
PLAIN = {"use_dictionary": False}
DELTA = {**PLAIN, "column_encoding": {"a": "DELTA_BYTE_ARRAY"}}


def test_rows_beyond_the_limits_are_refused(tmp_path):
    """In a sentence with the column, before they are multiplied."""
    found = read(
        tmp_path,
        1_000_000,
        {
            "cell": ({"a": repeated(HUGE, 10_000)}, {}),
            "in list": ({"a": in_lists(repeated(HUGE, 10_000), 1)}, {}),
            "list of text": ({"a": in_lists(repeated(LONG, 100_000), 100_000)}, {}),
            "list of numbers": ({"a": in_lists(pa.repeat(0, 20_000_000), 20_000_000)}, {}),
            "many columns": ({f"a{number}": repeated(LONG, 2000) for number in range(40)}, {}),
            "plain": ({"a": pa.array([HUGE])}, PLAIN),
            "long page": ({"a": pa.array(["x" * (100 * MIB)])}, PLAIN),
            "delta": ({"a": pa.array([HUGE] * 10)}, DELTA),
            "fixed length": ({"a": pa.array([HUGE.encode()] * 10, pa.binary(len(HUGE)))}, {}),
            "longer page": ({"a": pa.array(["x" * (300 * MIB)])}, PLAIN),
        },
    )
    assert {name: rows for name, (rows, _) in found.items() if rows} == {}
    assert "column `a` has a page of more than 256 MiB" in found.pop("longer page")[1]
    assert len(found) == 9
    for name, (_, problem) in found.items():
        assert "a row is longer than 16 MiB, most of it in column `a" in problem, name


def test_long_rows_are_read(tmp_path):
    """Up to a hundred GiB of them in a file of a few hundred bytes; some are enough here."""
    found = read(
        tmp_path,
        100,
        {
            "cells": ({"a": repeated(LONG, 100_000)}, {}),
            "in lists": ({"a": in_lists(repeated(LONG, 100_000), 1)}, {}),
            "lists": ({"a": in_lists(repeated("x" * 1000, 1_000_000), 10_000)}, {}),
            "columns": ({f"a{number}": repeated(LONG, 2000) for number in range(15)}, {}),
            "delta": ({"a": pa.array([LONG] * 200)}, DELTA),
            "fixed length": ({"a": pa.array([LONG.encode()] * 500, pa.binary(MIB))}, {}),
        },
    )
    assert {name: (rows >= 100, problem) for name, (rows, problem) in found.items()} == dict.fromkeys(found, (True, ""))
    assert len(found) == 6


def test_long_cells_behind_many_short_ones_are_read(tmp_path):
    """By then batches have grown to thousands of rows."""
    texts = pa.DictionaryArray.from_arrays(pa.array([1] * 50_000 + [0] * 50_000, pa.int32()), pa.array([LONG, "y"]))
    rows, problem = read(tmp_path, 50_500, {"late": ({"a": texts}, {})})["late"]
    assert (rows >= 50_500, problem) == (True, "")


def test_a_limit_leaves_what_is_just_below_it():
    """Fifteen MiB are a row, in one cell or in many."""
    for array in (pa.array(["x" * (15 * MIB)]), pa.array([["x" * MIB] * 15]), pa.array([[0] * (7 * MIB)])):
        (table,) = tables(as_parquet(pa.table({"a": array})), "events.parquet")
        assert table.num_rows == 1
    assert "16 MiB" in str(refusal(as_parquet(pa.table({"a": ["x" * (16 * MIB + 1)]})), "events.parquet"))


def test_many_columns_of_long_cells(tmp_path):
    """The pages of all columns are added up: 1,500 columns of a megabyte are refused in bounded memory."""
    cells = [f"{number}" + "x" * 100_000 for number in range(10)]
    content = as_parquet(pa.table({f"c{number}": cells for number in range(1_500)}), compression="zstd")
    assert len(content) < MIB
    (tmp_path / "wide.parquet").write_bytes(content)
    _, (line,), peak = run_measured(READER, str(tmp_path), "10")
    assert "MiB for one page of each column" in line
    assert peak < MOST_MIB
