"""A sample is bounded, and says what it is a sample of."""

from __future__ import annotations

from datetime import timedelta

import pytest
from export_files import LONG_AGO, StoredFile, as_jsonl, gzipped, samples, zipped, zstandard
from fsspec.implementations.memory import MemoryFileSystem

from ometria_source.describe import sample as sampling
from ometria_source.describe.sample import sample_file, take_inventory
from ometria_source.export.retry import RetryBudget


def test_the_newest_files_are_picked_and_the_rest_is_counted():
    files = [StoredFile(f"{n}.csv", "a\n", LONG_AGO + timedelta(hours=n % 20)) for n in range(40)]
    files += [StoredFile("empty.csv", "", LONG_AGO - timedelta(days=1)), StoredFile("_x/y.csv", "a\n")]
    inventory = take_inventory(iter(files), most=3)
    assert (inventory.files, inventory.empty, inventory.hidden) == (40, 1, 1)
    assert (inventory.oldest, inventory.newest) == (LONG_AGO - timedelta(days=1), LONG_AGO + timedelta(hours=19))
    assert [file["relative_path"] for file in inventory.sample] == ["39.csv", "19.csv", "38.csv"]


@pytest.mark.parametrize("packed", [bytes, gzipped, zstandard, lambda content: zipped(content, "part.csv")])
def test_a_long_file_is_read_no_further_than_its_share(packed):
    content = b"id,text\n" + b"".join(b"%d,%s\n" % (number, b"x" * 100) for number in range(200_000))
    (sample,) = samples(packed(content), path="a.csv.zip" if packed(b"")[:2] == b"PK" else "a.csv")
    assert sample.problem is None
    assert sample.rows == sampling.ROWS_OF_A_FILE
    assert not sample.is_whole
    assert sum(table.nbytes for table in sample.tables) < sampling.BYTES_OF_A_FILE


def test_a_file_of_giant_rows_is_read_to_its_share_of_bytes_and_shows_one_row_at_least():
    (sample,) = samples("id,text\n" + "".join(f"{number},{'x' * 1_000_000}\n" for number in range(20)))
    assert 1 <= sample.rows < 10
    assert not sample.is_whole
    assert sum(table.nbytes for table in sample.tables) <= sampling.BYTES_OF_A_FILE + 1_000_100

    (sample,) = samples("id,text\n1," + "x" * (sampling.BYTES_OF_A_FILE + 1) + "\n2,\n")
    assert sample.rows == 1


@pytest.mark.parametrize("rows", [0, 1, sampling.ROWS_OF_A_FILE])
def test_a_file_that_ends_within_its_share_is_whole(rows):
    (sample,) = samples("id\n" + "1\n" * rows)
    assert (sample.rows, sample.is_whole) == (rows, True)


def test_json_stays_marked_where_only_part_of_a_table_is_kept():
    (sample,) = samples(as_jsonl(["a"], [[{"b": 1}]] * (sampling.ROWS_OF_A_FILE + 1)), path="a.jsonl")
    (table,) = sample.tables
    assert table.num_rows == sampling.ROWS_OF_A_FILE
    assert table.schema.field("a").metadata


@pytest.mark.parametrize(
    ("content", "tried"),
    [
        ("id,type\n1,open\n", "csv"),
        ("id\ttype, or so\n1\topen, once\n", "tsv"),
        ("one column\n1\n", None),
        ("id;type\n1;open\n", None),
        ("%PDF-1.4\n\0", None),
        ("id,type\n1,open,2\n", None),
    ],
)
def test_a_file_that_nothing_tells_the_format_of_is_tried(content, tried):
    (sample,) = samples(content, path="part-0")
    assert sample.tried == tried
    assert (sample.problem is None) == (tried is not None)
    assert tried or "file_format" in str(sample.problem)


@pytest.mark.parametrize(
    ("error", "sentence"), [(FileNotFoundError, "was deleted"), (PermissionError, "access is denied")]
)
def test_a_file_that_cannot_be_opened_is_told_in_a_sentence(monkeypatch, error, sentence):
    def refuse(self, *_, **__):
        raise error("/bucket/someone@shop.test")

    file = StoredFile("a.csv", "a\n")
    monkeypatch.setattr(MemoryFileSystem, "open", refuse)
    problem = sample_file(file, None, RetryBudget(0)).problem
    assert problem is not None
    assert sentence in problem
    assert "someone" not in problem
